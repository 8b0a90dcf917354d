"""The bot's public replies: deleted once an image that they describe is forgotten, or is a spoiler all of a sudden."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import discord
from cachetools import TTLCache
from discord.ext import tasks

from bot.discord_io.messages import NETWORK_ERRORS, means_deleted
from bot.logging import get_logger
from bot.models import ChannelRef, PublicReply
from bot.store.guilds import NO_IMAGE, Reply, ReplyStore

log = get_logger(__name__)

PAGE = 100

_COVERED_S = 120.0  # longer than an answer takes between looking an image up and being sent


class PublicReplies:
    """The store knows which replies to delete, so a restart loses none. Failed deletions are retried after a pause,
    which doubles from `first_pause_s` to `max_pause_s`. One reply is deleted at a time: discord.py waits as Discord's
    rate limits demand.
    """

    def __init__(
        self, client: discord.Client, store: ReplyStore, *, first_pause_s: float = 5.0, max_pause_s: float = 300.0
    ) -> None:
        self._client = client
        self._store = store
        self._first_pause_s = self._pause_s = first_pause_s
        self._max_pause_s = max_pause_s
        self._woken = asyncio.Event()
        self._just_covered: TTLCache[int, None] = TTLCache(4096, _COVERED_S)

    def start(self) -> None:
        """Begins with what an earlier run left. Call it after the login."""
        self._delete_orphans.start()

    async def close(self) -> None:
        """Stops. What is left is deleted after the next start. Idempotent."""
        task = self._delete_orphans.get_task()
        self._delete_orphans.cancel()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    async def remember(
        self,
        channel: ChannelRef,
        message_id: int,
        image_ids: Sequence[int],
        covered: Collection[int] = (),
        *,
        besides: bool = False,
    ) -> None:
        """The bot has just sent this message about these images, some of which may have been forgotten or become
        spoilers meanwhile. covered: those that it describes as spoilers. besides: it shows another page of an answer;
        what the earlier pages showed stays noted.
        """
        late = self._just_covered.keys() - covered
        known = [NO_IMAGE if id_ in late else id_ for id_ in image_ids]
        await self._store.remember(channel, message_id, known, besides=besides)
        self.wake()

    async def cover(self, image_ids: Sequence[int]) -> None:
        """These images have become spoilers: deletes the replies that describe them."""
        self._just_covered.update(dict.fromkeys(image_ids))
        await self._store.orphan(image_ids)
        self.wake()

    async def about(self, image_ids: Collection[int]) -> dict[int, list[int]]:
        """The replies that describe any of these images, by message id: the ids of the images that each describes."""
        return await self._store.about(image_ids)

    async def withdraw(self, message_id: int) -> None:
        """Deletes a reply that has nothing true left to say."""
        await self._store.orphan_reply(message_id)
        self.wake()

    async def found(self, channel: ChannelRef, replies: Mapping[int, PublicReply]) -> None:
        """These messages were seen in a channel. Those that are known already are ignored."""
        await self._store.find(channel, replies)
        self.wake()

    def wake(self) -> None:
        """Call it after images were forgotten: there may be replies to delete."""
        self._woken.set()

    @tasks.loop()
    async def _delete_orphans(self) -> None:
        self._woken.clear()
        if await self._delete_all():
            self._pause_s = self._first_pause_s
            with suppress(TimeoutError):
                async with asyncio.timeout(self._max_pause_s):
                    await self._woken.wait()
        else:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, self._max_pause_s)

    async def _delete_all(self) -> bool:
        """Tries each orphaned reply once. False where some are left to retry."""
        complete, after = True, 0
        try:
            while orphans := await self._store.orphans(PAGE, after):
                for reply in orphans:
                    if await self._delete(reply):
                        await self._store.drop(reply.message_id)
                    else:
                        complete = False
                after = orphans[-1].message_id
        except Exception:  # the store may be locked; the orphans are safe in it
            log.exception("could not read which replies to delete")
            return False
        return complete

    async def _delete(self, reply: Reply) -> bool:
        """True when the message is deleted, or cannot be by this bot. False: retry later."""
        ids = {"channel_id": reply.channel_id, "message_id": reply.message_id}
        message = self._client.get_partial_messageable(reply.channel_id).get_partial_message(reply.message_id)
        try:
            await message.delete()
        except discord.NotFound as error:
            return means_deleted(error)
        except discord.Forbidden:
            log.warning("no permission to delete a reply about a forgotten image; it stays", **ids)
        except NETWORK_ERRORS as error:
            log.warning("could not delete a reply; it is retried later", error=type(error).__name__, **ids)
            return False
        return True
