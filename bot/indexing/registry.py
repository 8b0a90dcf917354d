"""Commits indexed images, in batches, and forgets deleted ones, in the store and in the vector index alike."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec

from bot.errors import StoreError
from bot.indexing.tagger import Tagger
from bot.logging import get_logger
from bot.models import Image
from bot.monitoring.metrics import IMAGES_FORGOTTEN
from bot.protocols import IndexedEmbedding, VectorSearch
from bot.store.embeddings import Model
from bot.store.images import Finished, ImageStore

log = get_logger(__name__)

P = ParamSpec("P")


class ImageRegistry:
    """Holds one lock while the store and the vector index change, so that no image is added to the index after it was
    removed from it. A deletion therefore wins over work in progress, at whatever moment it comes.

    Every `forget_…` method returns the ids of the deleted images, and calls `on_forgotten` if there were any.
    """

    def __init__(
        self,
        store: ImageStore,
        index: VectorSearch,
        tagger: Tagger,
        model: Model,
        *,
        on_forgotten: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._tagger = tagger
        self._model = model
        self._on_forgotten = on_forgotten
        self._lock = asyncio.Lock()

    async def commit(self, batch: Sequence[tuple[Image, Finished]]) -> set[int]:
        """Makes these images ready and searchable. Returns their ids; the others were deleted meanwhile."""
        async with self._lock:
            taken = await self._store.finish([finished for _, finished in batch], self._model)
            rows: defaultdict[int, list[IndexedEmbedding]] = defaultdict(list)
            for image, finished in batch:
                if image.id in taken:
                    channel = image.ref.channel
                    rows[channel.guild_id].append(IndexedEmbedding(image.id, channel.channel_id, finished.embedding))
            for guild_id, added in rows.items():
                await self._index.add(guild_id, added)
            return taken

    async def verify(self, guild_id: int, image_ids: Sequence[int]) -> None:
        """These images of a restored backup exist in Discord: makes them searchable."""
        async with self._lock:
            page = await self._store.verify(image_ids, self._model.key)
            if page is not None:
                await self._index.add(
                    guild_id,
                    [
                        IndexedEmbedding(int(id_), int(channel_id), embedding)
                        for id_, channel_id, embedding in zip(*page, strict=True)
                    ],
                )

    async def forget_messages(self, message_ids: Sequence[int]) -> list[int]:
        return await self._forget(self._store.forget_messages, message_ids)

    async def forget_attachments(self, message_id: int, attachment_ids: Sequence[int]) -> list[int]:
        return await self._forget(self._store.forget_attachments, message_id, attachment_ids)

    async def forget_channel(self, channel_id: int) -> list[int]:
        """The channel and every thread under it."""
        return await self._forget(self._store.forget_channel, channel_id)

    async def forget_author(self, guild_id: int, author_id: int, *, up_to_message: int | None = None) -> list[int]:
        """All of a member's images in a guild. Nothing up to this message comes back; by default, up to now."""
        return await self._forget(self._store.forget_author, guild_id, author_id, up_to_message=up_to_message)

    async def forget_guild(self, guild_id: int) -> list[int]:
        async with self._lock:
            forgotten = await self._store.forget_guild(guild_id)
            self._index.drop(guild_id)
        await self._tagger.invalidate(guild_id)
        log.info("guild forgotten", guild_id=guild_id, images=len(forgotten))
        return self._report(forgotten)

    async def _forget(self, delete: Callable[P, Awaitable[list[int]]], *args: P.args, **kwargs: P.kwargs) -> list[int]:
        async with self._lock:
            forgotten = await delete(*args, **kwargs)
            await self._index.discard(forgotten)
        if forgotten:
            log.info("images forgotten", images=len(forgotten))
        return self._report(forgotten)

    def _report(self, forgotten: list[int]) -> list[int]:
        if forgotten:
            IMAGES_FORGOTTEN.inc(len(forgotten))
            if self._on_forgotten is not None:
                self._on_forgotten()
        return forgotten


MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class _Item:
    image: Image
    finished: Finished
    committed: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class BatchWriter:
    """Commits indexed images in batches: those that arrive during a commit form the next batch.

    capacity: images that may wait.
    """

    def __init__(self, registry: ImageRegistry, capacity: int) -> None:
        self._registry = registry
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(capacity)

    async def write(self, image: Image, finished: Finished) -> bool:
        """Whether the image was committed and is searchable; False where it was deleted meanwhile.

        Raises what its commit raised.
        """
        item = _Item(image, finished)
        await self._queue.put(item)
        return await item.committed

    async def run(self) -> None:
        """Commits until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._commit(batch)

    async def _commit(self, batch: Sequence[_Item]) -> None:
        try:
            taken = await self._registry.commit([(item.image, item.finished) for item in batch])
        except Exception as error:
            # A store that is locked or full fails every row. Any other error may be the fault of one row.
            if len(batch) == 1 or isinstance(error, StoreError):
                for item in batch:
                    if not item.committed.done():
                        item.committed.set_exception(error)
                return
            log.exception("a batch could not be committed; its images are committed one by one", images=len(batch))
            for item in batch:
                await self._commit([item])
            return
        for item in batch:
            if not item.committed.done():
                item.committed.set_result(item.image.id in taken)
