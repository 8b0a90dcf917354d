"""A server's vectors in memory: read from the store at the first search, kept in step afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bot.events import IndexLoaded, IndexSearched, Tell, carefully, unheard
from bot.index.seams import VectorSource
from bot.store.pictures import VectorChunk
from clipcore.types import SearchHit
from clipcore.vector_index import VectorIndex

AnyVector = npt.NDArray[np.float16] | npt.NDArray[np.float32]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class IndexedVector:
    """vector: [dim], unit length."""

    picture_id: int
    channel_id: int
    vector: AnyVector


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in memory: servers, their pictures, and the bytes that are kept for those."""

    servers: int
    rows: int
    bytes: int


@dataclass(slots=True)
class _Guild:
    """One server's index.

    late: what changed while it was being read, the last word on each picture, None: forgotten; gone once all is read.
    """

    vectors: VectorIndex
    late: dict[int, IndexedVector | None] | None = field(default_factory=dict)
    loading: asyncio.Task[None] | None = None
    dropped: bool = False


class GuildIndex:
    """Exact search over each server's vectors of one model.

    One thread owns every VectorIndex: searches, additions and removals run on it one after the other, so that no search
    sees half a change, the event loop never waits for one, and a cancelled caller leaves nothing torn. The thread is
    idle between calls; `close` ends it.
    """

    def __init__(self, store: VectorSource, model_key: str, dimension: int, tell: Tell = unheard) -> None:
        self._store = store
        self._model_key = model_key
        self._dimension = dimension
        self._tell = carefully(tell)
        self._guilds: dict[int, _Guild] = {}
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guild-index")

    async def search(
        self, guild_id: int, vector: npt.NDArray[np.float32], channels: Iterable[int], k: int
    ) -> list[SearchHit]:
        """The k best pictures among those of `channels`, best first; key: picture id, score: cosine.

        vector: float32 [dim], unit length. The first search of a server reads its vectors; others share that read.
        """
        groups = frozenset(channels)
        if not groups or k < 1:
            return []
        guild = await self._loaded(guild_id)
        began = perf_counter()
        hits = await self._on_owner(lambda: guild.vectors.search(vector, k, groups))
        self._tell(IndexSearched(perf_counter() - began))
        return hits

    async def add(self, guild_id: int, rows: Sequence[IndexedVector]) -> None:
        """Takes in rows that the store has committed. A server that nobody has searched yet reads them from there."""
        guild = self._guilds.get(guild_id)
        if guild is None or not rows:
            return
        if guild.late is not None:
            guild.late.update({row.picture_id: row for row in rows})
            return
        await self._on_owner(lambda: _put(guild.vectors, rows))

    async def discard(self, picture_ids: Iterable[int]) -> None:
        """Removes pictures that the store has forgotten, whatever server they were in."""
        gone = list(picture_ids)
        if not gone:
            return
        ready = []
        for guild in self._guilds.values():
            if guild.late is None:
                ready.append(guild.vectors)
            else:
                guild.late.update(dict.fromkeys(gone))
        await self._on_owner(lambda: [vectors.discard(gone) for vectors in ready])

    def held(self) -> Held:
        vectors = [guild.vectors for guild in self._guilds.values()]
        row = 2 * self._dimension + 16  # the vector, its key and its group
        return Held(len(vectors), sum(map(len, vectors)), sum(index.capacity for index in vectors) * row)

    def drop(self, guild_id: int) -> None:
        """Lets go of a server's vectors; the next search reads what the store then has."""
        guild = self._guilds.pop(guild_id, None)
        if guild is not None:
            guild.dropped = True

    async def close(self) -> None:
        loading = [guild.loading for guild in self._guilds.values() if guild.loading is not None]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        self._guilds.clear()
        self._owner.shutdown(wait=True)

    async def _loaded(self, guild_id: int) -> _Guild:
        guild = self._guilds.get(guild_id)
        if guild is None:
            guild = self._guilds[guild_id] = _Guild(VectorIndex(self._dimension))
            guild.loading = asyncio.create_task(self._load(guild_id, guild), name=f"load vectors of {guild_id}")
        if guild.loading is not None:
            # Shielded: the read belongs to everyone who waits for it, not to the first who gives up.
            await asyncio.shield(guild.loading)
        return guild

    async def _load(self, guild_id: int, guild: _Guild) -> None:
        began = perf_counter()
        try:
            await self._read(guild, self._store.vectors(guild_id, self._model_key))
            self._tell(IndexLoaded(perf_counter() - began))
        except BaseException:
            # The next search starts afresh instead of trusting half a server.
            if self._guilds.get(guild_id) is guild:
                del self._guilds[guild_id]
            raise

    async def _read(self, guild: _Guild, chunks: AsyncIterator[VectorChunk]) -> None:
        async for chunk in chunks:
            if guild.dropped:
                break
            await self._on_owner(partial(_put_chunk, guild.vectors, chunk))
        late, guild.late, guild.loading = guild.late or {}, None, None
        # From here on changes go straight to the owner, and queue behind this one.
        await self._on_owner(lambda: _apply(guild.vectors, late))

    async def _on_owner(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._owner, work)


def _apply(vectors: VectorIndex, late: dict[int, IndexedVector | None]) -> None:
    vectors.discard([picture_id for picture_id, row in late.items() if row is None])
    _put(vectors, [row for row in late.values() if row is not None])


def _put_chunk(vectors: VectorIndex, chunk: VectorChunk) -> None:
    vectors.add(chunk.ids.tolist(), chunk.channel_ids.tolist(), chunk.vectors)


def _put(vectors: VectorIndex, rows: Sequence[IndexedVector]) -> None:
    """A row that is there already, read from the store by a load that began after it was committed, is replaced."""
    if rows:
        stacked = np.stack([row.vector for row in rows]).astype(np.float16)
        vectors.add([row.picture_id for row in rows], [row.channel_id for row in rows], stacked)
