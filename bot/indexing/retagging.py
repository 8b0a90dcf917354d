"""Retagger: tags a guild's images again, from their stored embeddings, after its labels have changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from bot.indexing.tagger import Tagger
from bot.logging import get_logger, outline
from bot.models import ChannelRef, Tag, TaggingMode
from bot.store.retagging import RetaggingStore, RetagPage
from bot.store.schema import Embeddings
from clipcore.batching import batches_of

log = get_logger(__name__)

PAGE = 256
"""Images that one transaction tags again."""
AT_ONCE = 4
"""Guilds whose images are tagged again at the same time: the labels of one may take minutes to prepare."""

_LONGEST_PAUSE_S = 600.0
_TOGETHER = 64  # images of one matrix product; numpy starts a thread that spins for larger ones


class Retagger:
    """Runs in the background, from `start` to `close`. What is left is in the store, so a restart goes on where this
    one stopped. Nothing is downloaded or encoded, but for labels that are new.

    look_again_s: how often it looks for images that were tagged while the labels changed, and committed later.
    yield_to_queries: waits while a query runs; before every page. pause_s: after the store or the engine failed, and
    twice as long after each further failure.
    """

    def __init__(
        self,
        store: RetaggingStore,
        tagger: Tagger,
        model_key: str,
        yield_to_queries: Callable[[], Awaitable[None]],
        *,
        page: int = PAGE,
        pause_s: float = 5.0,
        look_again_s: float = 60.0,
    ) -> None:
        self._store = store
        self._tagger = tagger
        self._model_key = model_key
        self._yield_to_queries = yield_to_queries
        self._page = page
        self._pause_s = pause_s
        self._look_again_s = look_again_s
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._guilds: dict[int, asyncio.Task[None]] = {}
        self._running: asyncio.Task[None] | None = None

    def use(self, tagger: Tagger, model_key: str) -> None:
        """From the next start on."""
        self._tagger, self._model_key = tagger, model_key

    def start(self) -> None:
        """Goes on with what an earlier run left."""
        self._running = asyncio.create_task(self._run(), name="tag again")

    async def close(self) -> None:
        """Stops. What is left is done after the next start. Idempotent."""
        tasks = [task for task in (self._running, *self._guilds.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def labels_changed(self, guild_id: int) -> None:
        """Call it once a change of a guild's labels, or of a channel's tagging mode, is committed."""
        await self._tagger.invalidate(guild_id)
        self.wake()

    def wake(self) -> None:
        """There may be images to tag again."""
        self._idle.clear()
        self._woken.set()

    async def settled(self) -> None:
        """Waits until no image is left to be tagged again."""
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                waiting = [id_ for id_ in await self._store.guild_ids() if id_ not in self._guilds]
            except Exception as error:  # the store may be locked; what is to be done is safe in it
                log.warning("cannot read which images are to be tagged again", error=outline(error))
                await asyncio.sleep(self._pause_s)
                continue
            for guild_id in waiting[: AT_ONCE - len(self._guilds)]:
                self._guilds[guild_id] = task = asyncio.create_task(self._retag(guild_id), name=f"tag again {guild_id}")
                task.add_done_callback(partial(self._end, guild_id))
            if not self._guilds and not self._woken.is_set():
                self._idle.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_again_s):
                    await self._woken.wait()

    def _end(self, guild_id: int, _: asyncio.Task[None]) -> None:
        del self._guilds[guild_id]
        self._woken.set()

    async def _retag(self, guild_id: int) -> None:
        done, pause_s = 0, self._pause_s
        while True:
            await self._yield_to_queries()
            try:
                page = await self._store.page(guild_id, self._model_key, self._page)
                if page is None:
                    break
                scored = await self._score(page)
                if scored is not None and await self._store.retag(page, scored):
                    done += len(page.images)
                    pause_s = self._pause_s
            except Exception as error:  # the other guilds go on, and this one tries again
                log.warning("images cannot be tagged again yet", guild_id=guild_id, error=outline(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if done:
            log.info("images tagged again by other labels", guild_id=guild_id, images=done)

    async def _score(self, page: RetagPage) -> dict[int, Sequence[Tag]] | None:
        """What the labels give to these images; those in channels without tagging are left out. None where the labels
        have changed since.
        """
        by_channel: defaultdict[ChannelRef, list[tuple[int, Embeddings]]] = defaultdict(list)
        for image_id, channel, embedding in page.images:
            by_channel[channel].append((image_id, embedding))
        scored: dict[int, Sequence[Tag]] = {}
        for channel, images in by_channel.items():
            for some in batches_of(images, _TOGETHER):
                tagged = await self._tagger.tags_of(channel, np.stack([embedding for _, embedding in some]))
                if tagged.labels_version != page.version:
                    await self._tagger.invalidate(page.guild_id)
                    return None
                if tagged.mode is not TaggingMode.OFF:
                    scored.update(zip((image_id for image_id, _ in some), tagged.tags, strict=True))
        return scored
