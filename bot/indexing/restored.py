"""Compares the images of a restored backup with Discord: what was deleted since the backup is never shown."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import RetryPolicy
from bot.logging import get_logger
from bot.models import ChannelRef, Image, ImageRef, RemoteImage, Source
from bot.store.images import ImageStore

log = get_logger(__name__)

Carried = frozenset[tuple[Source, int]]
"""The keys of a message's images."""

Page = Callable[[ChannelRef, int], Awaitable[Mapping[int, Carried | None]]]
"""page(channel, before): the newest PAGE_MESSAGES messages before this one, or fewer where there are no more; what they
carry by their id, None where Discord withholds it.

Raises ImageForbidden or ImageGone where the channel cannot be read, ImageUnreachable where not at the moment.
"""

LookUp = Callable[[ImageRef], Awaitable[Sequence[RemoteImage]]]
"""As in `bot.search.service`."""

PAGE_MESSAGES = 100
_NEWEST = (1 << 63) - 1


class RestoredImages:
    """Takes the images that a restore has marked as unverified, the newest first, a page of a channel's history with
    one request. An image that its message still carries becomes searchable; one that is gone is forgotten, once its
    message has been asked for by itself: an incomplete page deletes nothing.

    The store's marks are the progress, so a restart goes on. What cannot be read now stays hidden and is tried again,
    after pauses that grow up to an hour. pause_s: after each request.
    """

    def __init__(
        self,
        store: ImageStore,
        registry: ImageRegistry,
        page: Page,
        look_up: LookUp,
        *,
        pause_s: float = 1.0,
        backoff: RetryPolicy | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._page = page
        self._look_up = look_up
        self._pause_s = pause_s
        self._backoff = backoff or RetryPolicy(first_pause_s=5.0, longest_pause_s=3600.0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="compare restored images")

    async def close(self) -> None:
        """Stops; the next start goes on. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def finished(self) -> None:
        """Waits until every image of a restored backup is verified or forgotten."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        failures = total = 0
        while True:
            compared = 0
            try:
                if not await self._store.unverified(_NEWEST, (), 1):
                    if total:
                        log.info("every restored image was compared with Discord", images=total)
                    return
                compared = await self._compare_all()
                total += compared
            except Exception:  # the store failed; its marks stay
                log.exception("restored images could not be compared with Discord; trying again")
            if compared:
                failures = 0
            else:
                await asyncio.sleep(self._backoff.pause(failures, random.random()))  # noqa: S311 - spreads load
                failures += 1

    async def _compare_all(self) -> int:
        """Tries every image once. Returns how many are known to exist, or forgotten; the others stay hidden."""
        before, skipped, compared = _NEWEST, set[int](), 0
        while images := await self._store.unverified(before, skipped, PAGE_MESSAGES):
            channel = images[0].ref.channel
            try:
                compared += await self._compare(channel, images)
            except ImageGone:
                compared += len(await self._registry.forget_channel(channel.channel_id) or ())
            except (ImageForbidden, ImageUnreachable) as error:
                log.info("restored images stay hidden", channel_id=channel.channel_id, reason=str(error))
                skipped.add(channel.channel_id)
            before = images[0].ref.message_id
            await asyncio.sleep(self._pause_s)
        return compared

    async def _compare(self, channel: ChannelRef, images: Sequence[Image]) -> int:
        """images: of one channel, the newest first. Those that are older than the page are left to a later one."""
        page = await self._page(channel, images[0].ref.message_id + 1)
        oldest = min(page) if len(page) == PAGE_MESSAGES else 0
        compared = await self._settle([image for image in images if image.ref.message_id in page], page)
        missing = [one for one in images if one.ref.message_id > oldest and one.ref.message_id not in page]
        for message_id, group in groupby(missing, key=lambda image: image.ref.message_id):
            of_message = [*group]
            await asyncio.sleep(self._pause_s)
            try:
                remote = await self._look_up(of_message[0].ref)
            except ImageGone:
                compared += len(await self._registry.forget_messages([message_id]) or ())
            except ImageUnreachable:  # tried again later; it costs no other message its turn
                continue
            else:
                compared += await self._settle(of_message, {message_id: frozenset(one.key for one in remote)})
        return compared

    async def _settle(self, images: Sequence[Image], carried: Mapping[int, Carried | None]) -> int:
        """carried: what the messages of all these images carry."""
        known = [(image, keys) for image in images if (keys := carried[image.ref.message_id]) is not None]
        for image in (image for image, keys in known if image.ref.key not in keys):
            await self._registry.forget_attachments(image.ref.message_id, [image.ref.attachment_id])
        if existing := [image for image, keys in known if image.ref.key in keys]:
            await self._registry.verify(existing[0].ref.channel.guild_id, [image.id for image in existing])
        return len(known)
