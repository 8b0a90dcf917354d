"""VectorCache: exact vector search in memory, with guilds loaded when searched and evicted when memory is full."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter

from bot.logging import get_logger
from bot.monitoring.metrics import INDEX_LOAD_SECONDS, INDEX_SEARCH_SECONDS
from bot.protocols import IndexedEmbedding
from bot.search.guild_vectors import GuildVectors
from bot.store.embeddings import EmbeddingChunk
from clipcore.types import SearchHit, Vectors

log = get_logger(__name__)

ReadVectors = Callable[[int, str], AsyncIterator[EmbeddingChunk]]
"""`ImageStore.embeddings`: a guild's stored embeddings by one model, in chunks."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in memory: guilds, their images, and the bytes that these take."""

    servers: int
    rows: int
    bytes: int


class VectorCache:
    """VectorSearch in memory, over the embeddings of one model.

    The guilds take at most `max_bytes` together: the least recently searched are evicted, and loaded again by their
    next search. The most recently searched guild stays, however large it is. While memory is full, guilds are loaded
    one after the other, so that at most one of them exceeds the limit.
    """

    def __init__(
        self,
        read_vectors: ReadVectors,
        model_key: str,
        dimension: int,
        *,
        max_bytes: int | None = None,
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

    async def search(self, guild_id: int, embedding: Vectors, channels: Iterable[int], k: int) -> list[SearchHit]:
        """See VectorSearch. The first search of a guild loads it; others share that load."""
        groups = frozenset(channels)
        if not groups or k < 1:
            return []
        while (hits := await self._search(self._most_recent(guild_id), embedding, groups, k)) is None:
            pass  # evicted or half changed before it was this search's turn: load it again
        return hits

    async def add(self, guild_id: int, rows: Sequence[IndexedEmbedding]) -> None:
        """See VectorSearch. A guild that is not in memory will read these rows from the store."""
        guild = self._guilds.get(guild_id)
        if guild is not None and rows:
            await self._change(guild, guild.add(rows))
            self._evict()

    async def discard(self, image_ids: Iterable[int]) -> None:
        """See VectorSearch."""
        gone = list(image_ids)
        if gone:
            await asyncio.gather(*(self._change(guild, guild.discard(gone)) for guild in self._guilds.values()))

    def drop(self, guild_id: int) -> None:
        """See VectorSearch."""
        guild = self._guilds.pop(guild_id, None)
        if guild is not None:
            guild.retired = True

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

    async def _search(
        self, guild: GuildVectors, embedding: Vectors, groups: frozenset[int], k: int
    ) -> list[SearchHit] | None:
        self._searches[guild] += 1
        try:
            if (load := self._loads.get(guild)) is not None:
                await asyncio.shield(load)  # a caller that gives up must not cancel it for the others
            began = perf_counter()
            hits = await guild.search(embedding, groups, k)
            if hits is not None:
                INDEX_SEARCH_SECONDS.observe(perf_counter() - began)
            return hits
        finally:
            self._searches[guild] -= 1
            if not self._searches[guild]:
                del self._searches[guild]
            self._evict()

    async def _load(self, guild: GuildVectors) -> None:
        """Adds each chunk while the next one is read, which takes about as long."""
        began = perf_counter()
        adding: asyncio.Task[None] | None = None
        waits = False
        try:
            async with AsyncExitStack() as turn:
                async for chunk in self._read_vectors(guild.guild_id, self._model_key):
                    if adding is not None:
                        await adding
                        self._evict()
                        if self._is_full() and not waits:
                            waits = True
                            await turn.enter_async_context(self._over_limit)
                    if guild.retired:
                        return
                    adding = asyncio.create_task(guild.load(chunk))
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

    async def _change(self, guild: GuildVectors, change: Awaitable[None]) -> None:
        """A change that fails in memory fails nobody's upload or deletion: the store has it already."""
        try:
            await change
        except Exception:
            log.exception("embeddings could not be changed in memory and will be loaded again", guild_id=guild.guild_id)
            self._retire(guild)

    def _retire(self, guild: GuildVectors) -> None:
        guild.retired = True
        if self._guilds.get(guild.guild_id) is guild:
            del self._guilds[guild.guild_id]

    def _bytes(self) -> int:
        return sum(guild.nbytes for guild in self._guilds.values())

    def _is_full(self) -> bool:
        return self._max_bytes is not None and self._bytes() > self._max_bytes

    def _evict(self) -> None:
        if self._max_bytes is None or not self._is_full():
            return
        residents = [
            Resident(guild_id, guild.nbytes, busy=not guild.loaded or guild in self._searches)
            for guild_id, guild in self._guilds.items()
        ]
        for guild_id in to_evict(residents, self._max_bytes):
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


@dataclass(frozen=True, slots=True)
class Resident:
    """A guild in memory. bytes: what it takes. busy: being loaded or searched now."""

    guild_id: int
    bytes: int
    busy: bool


def to_evict(residents: Sequence[Resident], max_bytes: int) -> list[int]:
    """The guilds to evict so that the others take at most `max_bytes`. residents: least recently searched first.

    Busy guilds stay, and so does the most recently searched one, however large: its next search is the likeliest.
    """
    excess = sum(one.bytes for one in residents) - max_bytes
    evicted = []
    for one in residents[:-1]:
        if excess <= 0:
            break
        if not one.busy:
            evicted.append(one.guild_id)
            excess -= one.bytes
    return evicted
