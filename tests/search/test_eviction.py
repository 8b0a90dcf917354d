"""Guilds are evicted when memory is full, and no search result shows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.protocols import IndexedEmbedding
from bot.search.vector_cache import VectorCache, to_evict
from bot.store.embeddings import EmbeddingPage
from tests.indexing.support import DIMENSION, axis, direction, until

sizes = st.dictionaries(st.integers(1, 99), st.integers(0, 100))


@given(sizes, st.sets(st.integers(1, 99)), st.integers(0, 400))
def test_as_few_guilds_as_possible_are_evicted_the_least_recent_first_and_no_busy_one(sizes, busy, limit):
    evicted = to_evict(sizes, busy, limit)
    order = list(sizes)
    kept = [guild for guild in order if guild not in evicted]
    left = sum(sizes[guild] for guild in kept)
    assert busy.isdisjoint(evicted)
    assert not order or order[-1] in kept
    assert left <= limit or all(guild in busy or guild == order[-1] for guild in kept)
    if evicted:
        assert left + sizes[evicted[-1]] > limit
        assert all(guild in busy for guild in order[: order.index(evicted[-1])] if guild in kept)


class Shelves:
    """The stored vectors of several guilds, one row at a time, as they are at that moment."""

    def __init__(self, **guilds: set[int]) -> None:
        self.guilds = {int(name.removeprefix("g")): ids for name, ids in guilds.items()}
        self.reads: list[int] = []
        self.held: dict[int, asyncio.Semaphore] = {}
        self.error: Exception | None = None

    async def embeddings(self, guild_id: int, model_key: str) -> AsyncIterator[EmbeddingPage]:
        self.reads.append(guild_id)
        after = 0
        while rest := sorted(id_ for id_ in self.guilds[guild_id] if id_ > after):
            after = rest[0]
            row = direction(str(after)).astype(np.float16)[np.newaxis]
            await asyncio.sleep(0)
            yield EmbeddingPage(np.array([after]), np.array([1]), np.zeros(1, np.uint8), row)
            if guild_id in self.held:
                await self.held[guild_id].acquire()
                if self.error is not None:
                    raise self.error

    def let_go(self, guild_id: int) -> None:
        for _ in range(100):
            self.held[guild_id].release()


def row(key: int) -> IndexedEmbedding:
    return IndexedEmbedding(key, 1, direction(str(key)))


async def found(index: VectorCache, guild: int) -> set[int]:
    return {hit.key for hit in (await index.search(guild, axis(0), (1,), 1000)).hits}


async def bytes_of(shelves: Shelves) -> int:
    index = VectorCache(shelves.embeddings, "m", DIMENSION)
    for guild in shelves.guilds:
        await found(index, guild)
    taken = index.usage().bytes
    await index.close()
    return taken


async def test_the_least_recently_searched_guild_is_evicted() -> None:
    shelves = Shelves(g1={1}, g2={2}, g3={3})
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=2 * await bytes_of(Shelves(g1={1})))
    for guild in (1, 2, 1, 3):
        assert await found(index, guild) == {guild}
    assert index.usage().guilds == 2
    assert await found(index, 1) == {1}
    assert shelves.reads == [1, 2, 3]
    assert await found(index, 2) == {2}
    assert shelves.reads == [1, 2, 3, 2]
    await index.close()


async def test_a_guild_that_is_being_loaded_or_searched_is_not_evicted() -> None:
    shelves = Shelves(g1={1}, g2={2})
    shelves.held[1] = asyncio.Semaphore(0)
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=1)
    slow = asyncio.create_task(found(index, 1))
    await until(lambda: index.usage().rows == 1)
    quick = asyncio.create_task(found(index, 2))
    await until(lambda: index.usage().rows == 2)
    shelves.let_go(1)
    assert (await slow, await quick) == ({1}, {2})
    assert shelves.reads == [1, 2]
    await index.close()


async def test_a_search_does_not_wait_for_the_load_of_another_guild() -> None:
    shelves = Shelves(g1={1, 2}, g2={3})
    shelves.held[1] = asyncio.Semaphore(0)
    index = VectorCache(shelves.embeddings, "m", DIMENSION)
    slow = asyncio.create_task(found(index, 1))
    await until(lambda: index.usage().rows == 1)
    assert await found(index, 2) == {3}
    assert not slow.done()
    shelves.let_go(1)
    assert await slow == {1, 2}
    await index.close()


async def test_while_memory_is_full_guilds_are_loaded_one_after_the_other() -> None:
    shelves = Shelves(g1={1, 2, 3}, g2=set(range(100, 140)))
    shelves.held[1] = asyncio.Semaphore(1)
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=1)
    first = asyncio.create_task(found(index, 1))
    await until(lambda: index.usage().rows == 2)
    second = asyncio.create_task(found(index, 2))
    await until(lambda: index.usage().rows == 3)
    for _ in range(200):
        await asyncio.sleep(0)
    assert index.usage().rows == 3, "the second load went no further than its first page"
    shelves.let_go(1)
    assert await first == {1, 2, 3}
    assert await second == shelves.guilds[2]
    await index.close()


async def test_a_load_that_waits_for_memory_goes_on_when_the_first_guild_is_dropped() -> None:
    shelves = Shelves(g1={1, 2, 5}, g2={3, 4})
    shelves.held[1] = asyncio.Semaphore(1)
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=1)
    first = asyncio.create_task(found(index, 1))
    await until(lambda: index.usage().rows == 2)
    second = asyncio.create_task(found(index, 2))
    await until(lambda: index.usage().rows == 3)
    index.drop(1)
    shelves.let_go(1)
    assert await second == {3, 4}
    assert await first == {1, 2, 5}
    await index.close()


async def test_a_load_that_waits_for_memory_goes_on_when_the_first_fails() -> None:
    shelves = Shelves(g1={1, 2, 5}, g2={3, 4})
    shelves.held[1] = asyncio.Semaphore(1)
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=1)
    first = asyncio.create_task(found(index, 1))
    await until(lambda: index.usage().rows == 2)
    second = asyncio.create_task(found(index, 2))
    await until(lambda: index.usage().rows == 3)
    shelves.error = OSError("disk")
    shelves.let_go(1)
    with pytest.raises(OSError, match="disk"):
        await first
    shelves.error = None
    assert await second == {3, 4}
    await index.close()


async def test_a_guild_above_the_limit_is_searched_all_the_same_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelves = Shelves(g1=set(range(1, 30)), g2={100})
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=1)
    with caplog.at_level(logging.WARNING):
        for guild in (1, 1, 2, 1):
            assert await found(index, guild) == shelves.guilds[guild]
            assert index.usage().guilds == 1
    warned = [getattr(record, "guild_id", None) for record in caplog.records if "INDEX_MEMORY_MIB" in record.message]
    assert warned.count(1) == 1
    await index.close()


steps = st.lists(
    st.lists(
        st.one_of(
            st.tuples(st.just("search"), st.integers(1, 3), st.just(0)),
            st.tuples(st.just("add"), st.integers(1, 3), st.integers(1, 5)),
            st.tuples(st.just("discard"), st.integers(1, 3), st.integers(1, 5)),
        ),
        max_size=6,
    ),
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.sampled_from([1, 6_000, 12_000]))
async def test_eviction_never_changes_a_search_result(changes, ceiling) -> None:
    shelves = Shelves(g1={11, 12}, g2={21}, g3=set())
    index = VectorCache(shelves.embeddings, "m", DIMENSION, max_bytes=ceiling)
    memory = asyncio.Lock()  # as the writer holds it: store and index change together

    async def do(what: str, guild: int, number: int) -> None:
        key = 10 * guild + number
        if what == "search":
            await found(index, guild)
            return
        async with memory:
            if what == "add":
                shelves.guilds[guild].add(key)
                await index.add(guild, [row(key)])
            else:
                shelves.guilds[guild].discard(key)
                await index.discard([key])

    for step in changes:
        await asyncio.gather(*(do(*change) for change in step))
        for guild, ids in shelves.guilds.items():
            assert await found(index, guild) == ids
    await index.close()
