"""VectorCache: exact vector search in memory, with guilds loaded when searched and evicted when memory is full."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np

from bot.logging import get_logger
from bot.monitoring.metrics import INDEX_LOAD_SECONDS, INDEX_SEARCH_SECONDS
from bot.protocols import ImageIds, IndexedEmbedding
from bot.store.embeddings import EmbeddingPage
from clipcore.index.vector_index import VectorIndex
from clipcore.relevance import Scored
from clipcore.types import Vectors

log = get_logger(__name__)

T = TypeVar("T")
ReadVectors = Callable[[int, str], AsyncIterator[EmbeddingPage]]
"""`ImageStore.embeddings`: a guild's stored embeddings by one model, page by page."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in memory: guilds, their images, and the bytes that these take."""

    guilds: int
    rows: int
    bytes: int


class VectorCache:
    """VectorSearch in memory, over the embeddings of one model.

    The guilds take at most `max_bytes` together: the least recently searched are evicted, and loaded again by their
    next search. The most recently searched guild stays, however large it is. While memory is full, guilds are loaded
    one after the other, so that at most one of them exceeds the limit.
    """

    def __init__(
        self, read_vectors: ReadVectors, model_key: str, dimension: int, *, max_bytes: int = sys.maxsize
    ) -> None:
        self._read_vectors = read_vectors
        self._model_key = model_key
        self._dimension = dimension
        self._max_bytes = max_bytes
        self._guilds: dict[int, GuildVectors] = {}  # least recently searched first
        self._loads: dict[GuildVectors, asyncio.Task[None]] = {}
        self._searches: Counter[GuildVectors] = Counter()  # waiting or running
        self._over_limit = asyncio.Lock()
        self._too_large: set[int] = set()

    async def search(
        self, guild_id: int, embedding: Vectors, channels: Iterable[int], k: int, only: ImageIds | None = None
    ) -> Scored:
        """See VectorSearch. The first search of a guild loads it; others share that load."""
        groups = frozenset(channels)
        if not groups or k < 1 or (only is not None and not len(only)):
            return Scored([], None)

        async def search(guild: GuildVectors) -> Scored | None:
            began = perf_counter()
            found = await guild.search(embedding, groups, k, only)
            if found is not None:
                INDEX_SEARCH_SECONDS.observe(perf_counter() - began)
            return found

        return await self._in_memory(guild_id, search)

    async def vectors(self, guild_id: int, image_ids: Sequence[int]) -> Vectors:
        return await self._in_memory(guild_id, lambda guild: guild.vectors(image_ids))

    async def add(self, guild_id: int, rows: Sequence[IndexedEmbedding]) -> None:
        """See VectorSearch. A guild that is not in memory will read these rows from the store."""
        guild = self._guilds.get(guild_id)
        if guild is not None and rows:
            await self._change(guild, {row.image_id: row for row in rows})
            self._evict()

    async def discard(self, image_ids: Iterable[int]) -> None:
        gone = dict.fromkeys(image_ids)
        if gone:
            await asyncio.gather(*(self._change(guild, gone) for guild in self._guilds.values()))

    def drop(self, guild_id: int) -> None:
        if (guild := self._guilds.get(guild_id)) is not None:
            self._retire(guild)

    def usage(self) -> Usage:
        return Usage(len(self._guilds), sum(map(len, self._guilds.values())), self._bytes())

    async def close(self) -> None:
        loads = list(self._loads.values())  # those of dropped guilds too
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        for guild_id in list(self._guilds):
            self.drop(guild_id)

    def _most_recent(self, guild_id: int) -> GuildVectors:
        """The guild, now the last to be evicted. Its load is started where it is not in memory."""
        guild = self._guilds.pop(guild_id, None)
        if guild is None or guild.retired:
            guild = GuildVectors(guild_id, self._dimension)
            self._loads[guild] = asyncio.create_task(self._load(guild), name=f"load vectors of guild {guild_id}")
        self._guilds[guild_id] = guild
        return guild

    async def _in_memory(self, guild_id: int, work: Callable[[GuildVectors], Awaitable[T | None]]) -> T:
        """What `work` gives, on a guild that has been loaded."""
        while (found := await self._use(self._most_recent(guild_id), work)) is None:
            pass  # evicted or half changed before it was this search's turn: load it again
        return found

    async def _use(self, guild: GuildVectors, work: Callable[[GuildVectors], Awaitable[T | None]]) -> T | None:
        self._searches[guild] += 1
        try:
            if (load := self._loads.get(guild)) is not None:
                await asyncio.shield(load)  # a caller that gives up must not cancel it for the others
            return await work(guild)
        finally:
            self._searches[guild] -= 1
            if not self._searches[guild]:
                del self._searches[guild]
            self._evict()

    async def _load(self, guild: GuildVectors) -> None:
        """Adds each page while the next one is read, which takes about as long."""
        began = perf_counter()
        adding: asyncio.Task[None] | None = None
        waits = False
        try:
            async with AsyncExitStack() as turn:
                async for page in self._read_vectors(guild.guild_id, self._model_key):
                    if adding is not None:
                        await adding
                        self._evict()
                        if self._bytes() > self._max_bytes and not waits:
                            waits = True
                            await turn.enter_async_context(self._over_limit)
                    if guild.retired:
                        return
                    adding = asyncio.create_task(guild.load(page))
                if adding is not None:
                    await adding
                await guild.finish_load()
            INDEX_LOAD_SECONDS.observe(perf_counter() - began)
        except BaseException:
            self._retire(guild)  # the next search starts afresh
            if adding is not None:
                await asyncio.gather(adding, return_exceptions=True)
            raise
        finally:
            del self._loads[guild]

    async def _change(self, guild: GuildVectors, changes: Mapping[int, IndexedEmbedding | None]) -> None:
        """A change that fails in memory fails nobody's upload or deletion: the store has it already."""
        try:
            await guild.change(changes)
        except Exception:
            log.exception("embeddings could not be changed in memory and will be loaded again", guild_id=guild.guild_id)
            self._retire(guild)

    def _retire(self, guild: GuildVectors) -> None:
        guild.retired = True
        if self._guilds.get(guild.guild_id) is guild:
            del self._guilds[guild.guild_id]

    def _bytes(self) -> int:
        return sum(guild.nbytes for guild in self._guilds.values())

    def _evict(self) -> None:
        sizes = {guild_id: guild.nbytes for guild_id, guild in self._guilds.items()}
        busy = [id_ for id_, guild in self._guilds.items() if guild in self._loads or guild in self._searches]
        for guild_id in to_evict(sizes, busy, self._max_bytes):
            self.drop(guild_id)
            log.info("vectors evicted from memory until the next search", guild_id=guild_id)
        for guild_id, guild in self._guilds.items():
            if guild.nbytes > self._max_bytes and guild_id not in self._too_large:
                self._too_large.add(guild_id)
                log.warning(
                    "the vectors of one guild exceed INDEX_MEMORY_MIB and stay in memory all the same; raise it if "
                    "searches in other guilds become slow",
                    guild_id=guild_id,
                    limit_mib=self._max_bytes >> 20,
                )


def to_evict(sizes: Mapping[int, int], busy: Collection[int], max_bytes: int) -> list[int]:
    """The guilds to evict so that the others take at most `max_bytes`.

    sizes: bytes of each guild in memory, the least recently searched first. busy: guilds being loaded or searched now.
    These stay, and so does the most recently searched one, however large: its next search is the likeliest.
    """
    excess = sum(sizes.values()) - max_bytes
    evicted = []
    for guild_id in [*sizes][:-1]:
        if excess <= 0:
            break
        if guild_id not in busy:
            evicted.append(guild_id)
            excess -= sizes[guild_id]
    return evicted


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

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        return self._index.nbytes

    async def load(self, page: EmbeddingPage) -> None:
        await self._run(partial(self._index.add, page.embeddings, page.ids, page.channel_ids, page.frames))

    async def finish_load(self) -> None:
        while self._recorded:  # more changes may arrive while these are applied
            recorded, self._recorded = self._recorded, {}
            await self._run(partial(self._apply, recorded))
        self._recorded = None

    async def change(self, changes: Mapping[int, IndexedEmbedding | None]) -> None:
        """Adds images by their id; None: removes it."""
        if self._recorded is not None:
            self._recorded.update(changes)
        else:
            await self._run(partial(self._apply, changes))

    async def search(
        self, embedding: Vectors, channels: Iterable[int], k: int, only: ImageIds | None = None
    ) -> Scored | None:
        """As VectorSearch.search; None where the vectors were retired before it was this search's turn."""
        return await self._run(partial(self._index.rank, embedding, k, channels, only), changes=False)

    async def vectors(self, image_ids: Sequence[int]) -> Vectors | None:
        """As VectorSearch.vectors; None as in `search`."""
        return await self._run(lambda: self._index.vectors(image_ids).astype(np.float32), changes=False)

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

    def _apply(self, changes: Mapping[int, IndexedEmbedding | None]) -> None:
        self._index.discard([image_id for image_id, row in changes.items() if row is None])
        rows = [
            (row.image_id, row.channel_id, frame, embedding)
            for row in changes.values()
            if row is not None
            for frame, embedding in enumerate((row.embedding, *row.more))
        ]
        if rows:
            ids, channel_ids, frames, embeddings = zip(*rows, strict=True)
            self._index.add(np.stack(embeddings).astype(np.float16), ids, channel_ids, frames)
