"""Deletes what the bot itself said about a picture once the picture is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import aiohttp
import discord

from bot.index.seams import Sleep
from bot.index.waker import Waker
from bot.messages import means_deleted
from bot.records import Place
from bot.store.replies import Reply, ReplyStore

log = logging.getLogger(__name__)

PAGE = 100
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0


class ReplyCleaner:
    """Owns one task, which deletes one message at a time: discord.py waits out Discord's limits by itself.

    What is to be deleted is in the store, so a restart loses nothing of it. What Discord refuses for now is tried
    again after growing pauses.
    """

    def __init__(self, client: discord.Client, store: ReplyStore, *, sleep: Sleep = asyncio.sleep) -> None:
        self._client = client
        self._store = store
        self._waker = Waker(sleep)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins with what an earlier run left over. The client has logged in."""
        self._task = asyncio.create_task(self._run(), name="reply cleaner")

    async def remember(self, place: Place, message_id: int, picture_ids: Sequence[int]) -> None:
        """This message, just sent by the bot, describes these pictures. One may have been forgotten meanwhile."""
        await self._store.remember(place, message_id, picture_ids)
        self.wake()

    def wake(self) -> None:
        """Pictures were forgotten: there may be something to delete."""
        self._waker.wake()

    async def close(self) -> None:
        """Stops. What is left waits for the next start. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._waker.reset()
            if await self._sweep():
                pause = FIRST_PAUSE_S
                await self._waker.nap(LONGEST_PAUSE_S)
            else:
                await self._waker.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _sweep(self) -> bool:
        """Looks at every orphan once. False where something is left to try again."""
        try:
            return await self._delete_all()
        except Exception:  # the store may be locked; the orphans are safe in it
            log.exception("replies about forgotten pictures could not be looked through")
            return False

    async def _delete_all(self) -> bool:
        complete, after = True, 0
        while orphans := await self._store.orphans(PAGE, after):
            for reply in orphans:
                if await self._is_gone(reply):
                    await self._store.drop(reply.message_id)
                else:
                    complete = False
            after = orphans[-1].message_id
        return complete

    async def _is_gone(self, reply: Reply) -> bool:
        """Deletes the message. True when it is gone, or out of the bot's reach; False when to try again."""
        message = self._client.get_partial_messageable(reply.channel_id).get_partial_message(reply.message_id)
        ids = {"channel_id": reply.channel_id, "message_id": reply.message_id}
        try:
            await message.delete()
        except discord.NotFound as error:
            return means_deleted(error)
        except discord.Forbidden:
            log.warning("a reply about a forgotten picture is out of reach and stays", extra=ids)
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("a reply about a forgotten picture waits for another try: %s", type(error).__name__, extra=ids)
            return False
        return True
