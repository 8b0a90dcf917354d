"""Compares the images of a restored backup with Discord: what was deleted since the backup is never shown."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.comparison import PAGE_MESSAGES, MessageComparer
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import RetryPolicy
from bot.logging import get_logger
from bot.models import NEWEST, ChannelRef, Image
from bot.store.images import ImageStore

log = get_logger(__name__)


class RestoredImages:
    """Takes the images that a restore has marked as unverified, the newest first, a page of a channel's history with
    one request. An image that its message still carries becomes searchable.

    The store's marks are the progress, so a restart goes on. What cannot be read now stays hidden and is tried again,
    after pauses that grow up to an hour. pause_s: after each request.
    """

    def __init__(
        self,
        store: ImageStore,
        registry: ImageRegistry,
        comparer: MessageComparer,
        *,
        pause_s: float = 1.0,
        backoff: RetryPolicy | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._comparer = comparer
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
                if not await self._store.unverified(NEWEST, (), 1):
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
        before, skipped, compared = NEWEST, set[int](), 0
        while images := await self._store.unverified(before, skipped, PAGE_MESSAGES):
            channel = images[0].ref.channel
            try:
                compared += await self._compare(channel, images)
            except ImageGone:  # the channel is deleted, and forgotten
                compared += len(images)
            except (ImageForbidden, ImageUnreachable) as error:
                log.info("restored images stay hidden", channel_id=channel.channel_id, reason=str(error))
                skipped.add(channel.channel_id)
            before = images[0].ref.message_id
            await asyncio.sleep(self._pause_s)
        return compared

    async def _compare(self, channel: ChannelRef, images: Sequence[Image]) -> int:
        """images: of one channel, the newest first. Those that are older than the page are left to a later one."""
        page = await self._comparer.read(channel, before=images[0].ref.message_id + 1)
        carried = {message.message_id: message.carried for message in page.messages}
        reached = [one for one in images if one.ref.message_id > page.after and not self._registry.hides(one.ref)]
        judged = [(one, keys) for one in reached if (keys := carried.get(one.ref.message_id, frozenset())) is not None]
        if existing := [one.id for one, keys in judged if one.ref.key in keys]:
            await self._registry.verify(channel.guild_id, existing)
        return len(judged)
