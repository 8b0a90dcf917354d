"""Servers leave memory when it is full, and nobody can tell from the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.search.protocols import IndexedEmbedding
from bot.search.vector_cache import GuildIndex, Resident, to_drop
from bot.store.embeddings import EmbeddingChunk
from tests.indexing.support import DIMENSION, axis, direction, until

residents = st.lists(
    st.builds(Resident, st.integers(1, 99), st.integers(0, 100), st.integers(0, 1000), st.booleans()),
    unique_by=(lambda one: one.guild_id, lambda one: one.searched),
)


@given(residents, st.integers(0, 400))
def test_no_more_leave_than_must_the_longest_unsearched_first_and_none_that_is_busy(there, ceiling):
    dropped = to_drop(there, ceiling)
    kept = [one for one in there if one.guild_id not in dropped]
    by_id = {one.guild_id: one for one in there}
    last = max(there, key=lambda one: one.searched, default=None)
    left = sum(one.bytes for one in kept)
    assert not any(by_id[id_].busy for id_ in dropped)
    assert last is None or last.guild_id not in dropped
    assert left <= ceiling or all(one.busy or one is last for one in kept)
    if dropped:
        assert left + by_id[dropped[-1]].bytes > ceiling
        idle_and_older = [one for one in kept if not one.busy and one.searched < by_id[dropped[-1]].searched]
        assert idle_and_older == []


class Shelves:
    """A VectorSource of several servers that gives one row at a time, as they are at that moment."""

    def __init__(self, **guilds: set[int]) -> None:
        self.guilds = {int(name.removeprefix("g")): ids for name, ids in guilds.items()}
        self.reads: list[int] = []
        self.held: dict[int, asyncio.Event] = {}

    async def embeddings(self, guild_id: int, model_key: str) -> AsyncIterator[EmbeddingChunk]:
        self.reads.append(guild_id)
        after = 0
        while rest := sorted(id_ for id_ in self.guilds[guild_id] if id_ > after):
            after = rest[0]
            row = direction(str(after)).astype(np.float16)[np.newaxis]
            await asyncio.sleep(0)
            yield EmbeddingChunk(np.array([after]), np.array([1]), row)
            if guild_id in self.held:
                await self.held[guild_id].wait()


def row(key: int) -> IndexedEmbedding:
    return IndexedEmbedding(key, 1, direction(str(key)))


async def found(index: GuildIndex, guild: int) -> set[int]:
    return {hit.key for hit in await index.search(guild, axis(0), (1,), 1000)}


async def bytes_of(shelves: Shelves) -> int:
    index = GuildIndex(shelves, "m", DIMENSION)
    for guild in shelves.guilds:
        await found(index, guild)
    taken = index.held().bytes
    await index.close()
    return taken


async def test_the_server_not_searched_for_the_longest_time_makes_room() -> None:
    shelves = Shelves(g1={1}, g2={2}, g3={3})
    index = GuildIndex(shelves, "m", DIMENSION, ceiling=2 * await bytes_of(Shelves(g1={1})))
    for guild in (1, 2, 1, 3):
        assert await found(index, guild) == {guild}
    assert index.held().servers == 2
    assert await found(index, 1) == {1}
    assert shelves.reads == [1, 2, 3]
    assert await found(index, 2) == {2}
    assert shelves.reads == [1, 2, 3, 2]
    await index.close()


async def test_a_server_that_is_being_read_or_searched_stays() -> None:
    shelves = Shelves(g1={1}, g2={2})
    shelves.held[1] = asyncio.Event()
    index = GuildIndex(shelves, "m", DIMENSION, ceiling=1)
    slow = asyncio.create_task(found(index, 1))
    await until(lambda: index.held().rows == 1)
    quick = asyncio.create_task(found(index, 2))
    await until(lambda: index.held().rows == 2)
    shelves.held[1].set()
    assert (await slow, await quick) == ({1}, {2})
    assert shelves.reads == [1, 2]
    await index.close()


async def test_a_search_does_not_wait_for_another_servers_read() -> None:
    shelves = Shelves(g1={1, 2}, g2={3})
    shelves.held[1] = asyncio.Event()
    index = GuildIndex(shelves, "m", DIMENSION)
    slow = asyncio.create_task(found(index, 1))
    await until(lambda: index.held().rows == 1)
    assert await found(index, 2) == {3}
    assert not slow.done()
    shelves.held[1].set()
    assert await slow == {1, 2}
    await index.close()


async def test_where_memory_is_full_servers_are_read_one_after_the_other() -> None:
    shelves = Shelves(g1={1, 2}, g2=set(range(100, 140)))
    shelves.held[1] = asyncio.Event()
    index = GuildIndex(shelves, "m", DIMENSION, ceiling=1)
    first = asyncio.create_task(found(index, 1))
    await until(lambda: index.held().rows == 1)
    second = asyncio.create_task(found(index, 2))
    await until(lambda: index.held().rows == 2)
    for _ in range(200):
        await asyncio.sleep(0)
    assert index.held().rows == 2, "the second read went no further than its first chunk"
    shelves.held[1].set()
    assert await first == {1, 2}
    assert await second == shelves.guilds[2]
    await index.close()


async def test_a_read_that_waits_for_room_goes_on_when_the_first_fails_or_is_dropped() -> None:
    shelves = Shelves(g1={1, 2}, g2={3, 4})
    shelves.held[1] = asyncio.Event()
    index = GuildIndex(shelves, "m", DIMENSION, ceiling=1)
    first = asyncio.create_task(found(index, 1))
    await until(lambda: index.held().rows == 1)
    second = asyncio.create_task(found(index, 2))
    await until(lambda: index.held().rows == 2)
    index.drop(1)
    assert await second == {3, 4}
    shelves.held[1].set()
    await first
    await index.close()


async def test_a_server_larger_than_all_memory_allowed_is_searched_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelves = Shelves(g1=set(range(1, 30)), g2={100})
    index = GuildIndex(shelves, "m", DIMENSION, ceiling=1)
    with caplog.at_level(logging.WARNING):
        for guild in (1, 1, 2, 1):
            assert await found(index, guild) == shelves.guilds[guild]
            assert index.held().servers == 1
    assert sum("server 1 alone" in line for line in caplog.messages) == 1
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
async def test_answers_are_those_of_unlimited_memory_whatever_comes_and_goes(changes, ceiling) -> None:
    shelves = Shelves(g1={11, 12}, g2={21}, g3=set())
    index = GuildIndex(shelves, "m", DIMENSION, ceiling=ceiling)
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
