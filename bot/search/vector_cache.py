"""A server's vectors in memory: read from the store when it is searched, kept in step, let go when memory is short."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import perf_counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bot.indexing.protocols import VectorSource
from bot.monitoring.metrics import INDEX_LOAD_SECONDS, INDEX_SEARCH_SECONDS
from bot.search.protocols import IndexedEmbedding
from bot.store.embeddings import EmbeddingChunk
from clipcore.index.vector_index import VectorIndex
from clipcore.types import SearchHit


@dataclass(frozen=True, slots=True)
class Resident:
    """A server in memory. bytes: what its vectors take; searched: greater, the later its last search began; busy: being
    read or searched right now.
    """

    guild_id: int
    bytes: int
    searched: int
    busy: bool


def to_drop(residents: Iterable[Resident], ceiling: int) -> list[int]:
    """The servers to let go of until the rest takes at most `ceiling` bytes, the longest unsearched first.

    What is busy stays, and so does the server searched last, however large: its next search is the likeliest.
    """
    by_age = sorted(residents, key=lambda one: one.searched)
    excess = sum(one.bytes for one in by_age) - ceiling
    dropped = []
    for one in by_age[:-1]:
        if excess <= 0:
            break
        if not one.busy:
            dropped.append(one.guild_id)
            excess -= one.bytes
    return dropped


log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in memory: servers, their images, and the bytes that are kept for those."""

    servers: int
    rows: int
    bytes: int


@dataclass(slots=True)
class _Guild:
    """One server's index.

    late: what changed while it was being read, the last word on each image, None: forgotten; gone once all is read.
    damaged: rows that were left out. searches: those waiting or running; searched: when the last of them began, counted
    in searches.
    """

    vectors: VectorIndex
    late: dict[int, IndexedEmbedding | None] | None = field(default_factory=dict)
    loading: asyncio.Task[None] | None = None
    dropped: bool = False
    damaged: int = 0
    searches: int = 0
    searched: int = 0


class GuildIndex:
    """Exact search over each server's vectors of one model.

    One thread owns every VectorIndex: searches, additions and removals run on it one after the other, so that no search
    sees half a change, the event loop never waits for one, and a cancelled caller leaves nothing torn. The thread is
    idle between calls; `close` ends it.

    Together the servers take at most `ceiling` bytes: the longest unsearched are let go, and read again at their next
    search. A server that is larger by itself is searched all the same. Where several are read at once and memory is
    full, they are read one after the other, so that what is taken beyond the ceiling is one server at most.
    """

    def __init__(
        self,
        store: VectorSource,
        model_key: str,
        dimension: int,
        *,
        ceiling: int | None = None,
    ) -> None:
        self._store = store
        self._model_key = model_key
        self._dimension = dimension
        self._ceiling = ceiling
        self._guilds: dict[int, _Guild] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self._searches = count(1)
        self._room = asyncio.Event()
        self._too_large: set[int] = set()
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guild-index")

    async def search(
        self, guild_id: int, vector: npt.NDArray[np.float32], channels: Iterable[int], k: int
    ) -> list[SearchHit]:
        """The k best images among those of `channels`, best first; key: image id, score: cosine.

        vector: float32 [dim], unit length. The first search of a server reads its vectors; others share that read.
        """
        groups = frozenset(channels)
        if not groups or k < 1:
            return []
        while (hits := await self._searched(self._present(guild_id), vector, groups, k)) is None:
            pass  # it was let go meanwhile, half read or half changed perhaps, and is read again
        return hits

    async def add(self, guild_id: int, rows: Sequence[IndexedEmbedding]) -> None:
        """Takes in rows that the store has committed. A server that nobody has searched yet reads them from there."""
        guild = self._guilds.get(guild_id)
        if guild is None or not rows:
            return
        if guild.late is not None:
            guild.late.update({row.image_id: row for row in rows})
            return
        change = self._begin(guild, lambda: _put(guild.vectors, rows))
        _warn(guild_id, await self._settled(guild_id, guild, change))
        self._make_room()

    async def discard(self, image_ids: Iterable[int]) -> None:
        """Removes images that the store has forgotten, whatever server they were in."""
        gone = list(image_ids)
        if not gone:
            return
        changes = []
        for guild_id, guild in self._guilds.items():
            if guild.late is None:
                changes.append((guild_id, guild, self._begin(guild, partial(guild.vectors.discard, gone))))
            else:
                guild.late.update(dict.fromkeys(gone))
        await asyncio.gather(*(self._settled(*change) for change in changes))

    def held(self) -> Held:
        vectors = [guild.vectors for guild in self._guilds.values()]
        return Held(len(vectors), sum(map(len, vectors)), self._bytes())

    def drop(self, guild_id: int) -> None:
        """Lets go of a server's vectors; the next search reads what the store then has."""
        guild = self._guilds.pop(guild_id, None)
        if guild is not None:
            guild.dropped = True
            self._room.set()

    async def close(self) -> None:
        reads = list(self._reads)  # also of servers that were dropped meanwhile
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        self._guilds.clear()
        self._owner.shutdown(wait=True)

    def _present(self, guild_id: int) -> _Guild:
        guild = self._guilds.get(guild_id)
        if guild is None or guild.dropped:
            guild = self._guilds[guild_id] = _Guild(VectorIndex(self._dimension))
            guild.loading = asyncio.create_task(self._load(guild_id, guild), name=f"load vectors of {guild_id}")
            self._reads.add(guild.loading)
            guild.loading.add_done_callback(self._reads.discard)
        return guild

    async def _load(self, guild_id: int, guild: _Guild) -> None:
        began = perf_counter()
        try:
            await self._read(guild, self._store.embeddings(guild_id, self._model_key))
            _warn(guild_id, guild.damaged)
            INDEX_LOAD_SECONDS.observe(perf_counter() - began)
        except BaseException:
            # The next search starts afresh instead of trusting half a server.
            if self._guilds.get(guild_id) is guild:
                del self._guilds[guild_id]
            raise
        finally:
            self._room.set()

    async def _read(self, guild: _Guild, chunks: AsyncIterator[EmbeddingChunk]) -> None:
        taken_in: asyncio.Future[int] | None = None
        async for chunk in chunks:  # read while the one before it is taken in
            if taken_in is not None:
                guild.damaged += await taken_in
                self._make_room()
                await self._turn(guild)
            if guild.dropped:
                break
            taken_in = asyncio.ensure_future(self._on_owner(partial(_put_chunk, guild.vectors, chunk)))
        if taken_in is not None:
            guild.damaged += await taken_in
        self._make_room()
        late, guild.late, guild.loading = guild.late or {}, None, None
        # From here on changes go straight to the owner, and queue behind this one.
        guild.damaged += await self._on_owner(lambda: _apply(guild.vectors, late))

    async def _turn(self, guild: _Guild) -> None:
        """Waits while memory is full and a read that began earlier goes on."""
        while self._is_full() and not guild.dropped and guild is not self._first_read():
            self._room.clear()
            await self._room.wait()

    def _first_read(self) -> _Guild | None:
        return next((guild for guild in self._guilds.values() if guild.loading is not None), None)

    def _bytes(self) -> int:
        return sum(guild.vectors.nbytes for guild in self._guilds.values())

    def _is_full(self) -> bool:
        return self._ceiling is not None and self._bytes() > self._ceiling

    def _make_room(self) -> None:
        if self._ceiling is None or not self._is_full():
            return
        for guild_id in to_drop(map(_resident, self._guilds, self._guilds.values()), self._ceiling):
            self.drop(guild_id)
            log.info("the vectors of server %d leave memory until it is searched again", guild_id)
        for guild_id, guild in self._guilds.items():
            if guild.vectors.nbytes > self._ceiling and guild_id not in self._too_large:
                self._too_large.add(guild_id)
                log.warning(
                    "the vectors of server %d alone take more than the %d MiB of INDEX_MEMORY_MIB and are kept all the "
                    "same; raise it if other servers' searches become slow",
                    guild_id,
                    self._ceiling >> 20,
                )

    async def _searched(
        self, guild: _Guild, vector: npt.NDArray[np.float32], groups: frozenset[int], k: int
    ) -> list[SearchHit] | None:
        """None where the vectors have been let go by the time that it is this search's turn."""
        guild.searched = next(self._searches)
        guild.searches += 1
        try:
            await _loaded(guild)
            began = perf_counter()
            hits = await self._on_owner(lambda: None if guild.dropped else guild.vectors.search(vector, k, groups))
            if hits is not None:
                INDEX_SEARCH_SECONDS.observe(perf_counter() - began)
            return hits
        finally:
            guild.searches -= 1
            self._make_room()

    def _begin(self, guild: _Guild, work: Callable[[], int]) -> asyncio.Future[int]:
        """A change, before whatever is asked of the owner from now on."""

        def change() -> int:
            try:
                return work()
            except BaseException:
                guild.dropped = True  # here, before the searches that queue behind it
                raise

        return asyncio.get_running_loop().run_in_executor(self._owner, change)

    async def _settled(self, guild_id: int, guild: _Guild, change: asyncio.Future[int]) -> int:
        """What failed half-way, for want of memory say, is let go: the store, where the change is made already, is read
        again at the next search. 0 then; nobody's upload or deletion fails for it.
        """
        try:
            return await change
        except Exception:
            log.exception("the vectors of server %d could not be changed in memory and are read again", guild_id)
            if self._guilds.get(guild_id) is guild:
                self.drop(guild_id)
            return 0

    async def _on_owner(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._owner, work)


async def _loaded(guild: _Guild) -> None:
    if guild.loading is not None:
        # Shielded: the read belongs to everyone who waits for it, not to the first who gives up.
        await asyncio.shield(guild.loading)


def _resident(guild_id: int, guild: _Guild) -> Resident:
    busy = guild.searches > 0 or guild.loading is not None
    return Resident(guild_id, guild.vectors.nbytes, guild.searched, busy)


def _warn(guild_id: int, damaged: int) -> None:
    if damaged:
        log.warning(
            "%d vectors of server %d are damaged and left out of its searches; restore the database from a backup if "
            "there are many",
            damaged,
            guild_id,
        )


def _apply(vectors: VectorIndex, late: dict[int, IndexedEmbedding | None]) -> int:
    vectors.discard([image_id for image_id, row in late.items() if row is None])
    return _put(vectors, [row for row in late.values() if row is not None])


def _put(vectors: VectorIndex, rows: Sequence[IndexedEmbedding]) -> int:
    """A row that is there already, read from the store by a load that began after it was committed, is replaced."""
    if not rows:
        return 0
    ids, channel_ids = np.array([(row.image_id, row.channel_id) for row in rows]).T
    stacked = np.stack([row.vector for row in rows]).astype(np.float16)
    return _put_chunk(vectors, EmbeddingChunk(ids, channel_ids, stacked))


def _put_chunk(vectors: VectorIndex, chunk: EmbeddingChunk) -> int:
    """Adds all rows but those that hold an infinity or NaN, as a damaged database may, which the index refuses.

    Returns how many were left out.
    """
    try:
        vectors.add(chunk.embeddings, chunk.ids, chunk.channel_ids)
    except ValueError:
        finite = np.isfinite(chunk.embeddings).all(axis=1)
        vectors.add(chunk.embeddings[finite], chunk.ids[finite], chunk.channel_ids[finite])
        return int((~finite).sum())
    return 0
