"""One guild's embeddings in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from bot.logging import get_logger
from bot.protocols import IndexedEmbedding
from bot.store.embeddings import EmbeddingChunk
from clipcore.index.vector_index import VectorIndex
from clipcore.types import SearchHit, Vectors

log = get_logger(__name__)

T = TypeVar("T")


class GuildVectors:
    """A VectorIndex with the embeddings of one guild, kept in step with the store.

    While it is being loaded, changes are recorded, the last one for each image, and applied by `finish_load`. Every
    operation runs in a worker thread and holds a lock there: the event loop is never blocked, no search sees half a
    change, and a cancelled caller leaves nothing half done.

    retired: not to be used any more, since it was evicted or a change failed half-way.
    """

    def __init__(self, guild_id: int, dimension: int) -> None:
        self.guild_id = guild_id
        self.retired = False
        self._index = VectorIndex(dimension)
        self._lock = threading.Lock()
        self._recorded: dict[int, IndexedEmbedding | None] | None = {}  # None for a deleted image; no dict once loaded
        self._damaged = 0

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        return self._index.nbytes

    @property
    def loaded(self) -> bool:
        return self._recorded is None

    async def load(self, chunk: EmbeddingChunk) -> None:
        """Adds rows that were read from the store."""
        self._damaged += await self._run(partial(_add, self._index, chunk)) or 0

    async def finish_load(self) -> None:
        while self._recorded:  # more changes may arrive while these are applied
            recorded, self._recorded = self._recorded, {}
            self._damaged += await self._run(partial(_apply, self._index, recorded)) or 0
        self._recorded = None
        self._warn_of_damaged()

    async def add(self, rows: Sequence[IndexedEmbedding]) -> None:
        await self._change({row.image_id: row for row in rows})

    async def discard(self, image_ids: Iterable[int]) -> None:
        await self._change(dict.fromkeys(image_ids))

    async def search(self, embedding: Vectors, channels: Iterable[int], k: int) -> list[SearchHit] | None:
        """As VectorSearch.search; None where the vectors were retired before it was this search's turn."""
        return await self._run(partial(self._index.search, embedding, k, channels), changes=False)

    async def _change(self, changes: Mapping[int, IndexedEmbedding | None]) -> None:
        if self._recorded is not None:
            self._recorded.update(changes)
        else:
            self._damaged = await self._run(partial(_apply, self._index, changes)) or 0
            self._warn_of_damaged()

    async def _run(self, work: Callable[[], T], *, changes: bool = True) -> T | None:
        """None where retired. A change that fails retires the vectors, since half of it may have been made."""

        def locked() -> T | None:
            with self._lock:
                if self.retired:
                    return None
                try:
                    return work()
                except BaseException:
                    self.retired |= changes
                    raise

        return await asyncio.to_thread(locked)

    def _warn_of_damaged(self) -> None:
        if self._damaged:
            log.warning(
                "damaged embeddings are left out of searches; restore the database from a backup if there are many",
                guild_id=self.guild_id,
                embeddings=self._damaged,
            )


def _apply(index: VectorIndex, changes: Mapping[int, IndexedEmbedding | None]) -> int:
    """Gives how many rows were damaged, as `_add` does."""
    index.discard([image_id for image_id, row in changes.items() if row is None])
    rows = [row for row in changes.values() if row is not None]
    if not rows:
        return 0
    ids, channel_ids = np.array([(row.image_id, row.channel_id) for row in rows], np.int64).T
    return _add(index, EmbeddingChunk(ids, channel_ids, np.stack([row.embedding for row in rows]).astype(np.float16)))


def _add(index: VectorIndex, chunk: EmbeddingChunk) -> int:
    """Adds all rows but those that are not finite, as a damaged database may hold. Gives how many were left out."""
    try:
        index.add(chunk.embeddings, chunk.ids, chunk.channel_ids)
        return 0
    except ValueError:
        finite = np.isfinite(chunk.embeddings).all(axis=1)
        index.add(chunk.embeddings[finite], chunk.ids[finite], chunk.channel_ids[finite])
        return int((~finite).sum())
