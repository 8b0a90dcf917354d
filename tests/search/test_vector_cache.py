"""The vectors in memory stay in step with the store, also while they are loaded from it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.protocols import IndexedEmbedding
from bot.search.vector_cache import VectorCache
from bot.store.embeddings import EmbeddingPage
from tests.indexing.support import DIMENSION, axis, direction


class Shelf:
    """A guild's stored vectors. Each page waits until the test lets it go."""

    def __init__(self, *pages: list[int]) -> None:
        self.pages = list(pages)
        self.reads = 0
        self.reached = asyncio.Semaphore(0)
        self.let_go = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def embeddings(self, guild_id: int, model_key: str) -> AsyncIterator[EmbeddingPage]:
        self.reads += 1
        for ids in list(self.pages):
            rows = np.stack([direction(str(key)) for key in ids]).astype(np.float16)
            page = EmbeddingPage(
                np.array(ids, np.int64), np.ones(len(ids), np.int64), np.zeros(len(ids), np.uint8), rows
            )
            self.reached.release()
            await self.let_go.acquire()
            if self.error is not None:
                raise self.error
            yield page

    def open(self) -> None:
        for _ in range(100):
            self.let_go.release()


def row(key: int, channel: int = 1) -> IndexedEmbedding:
    return IndexedEmbedding(key, channel, direction(str(key)))


async def found(index: VectorCache, guild: int = 1, channels: tuple[int, ...] = (1,)) -> set[int]:
    return {hit.key for hit in (await index.search(guild, axis(0), channels, 100)).hits}


async def test_concurrent_searches_share_one_load() -> None:
    shelf = Shelf([1, 2], [3])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    searches = [asyncio.create_task(found(index)) for _ in range(5)]
    await shelf.reached.acquire()
    shelf.open()
    assert await asyncio.gather(*searches) == [{1, 2, 3}] * 5
    assert shelf.reads == 1
    await index.close()


async def test_an_image_forgotten_during_the_load_is_not_found() -> None:
    shelf = Shelf([1, 2])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    await shelf.reached.acquire()
    await index.discard([2])
    shelf.open()
    assert await search == {1}
    await index.close()


async def test_an_image_added_during_the_load_is_found_whether_or_not_the_load_read_it() -> None:
    shelf = Shelf([1], [2])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    await shelf.reached.acquire()
    await index.add(1, [row(2), row(9)])
    shelf.open()
    assert await search == {1, 2, 9}
    await index.close()


async def test_the_last_change_during_a_load_counts() -> None:
    shelf = Shelf([1])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    await shelf.reached.acquire()
    await index.add(1, [row(5), row(6)])
    await index.discard([5, 1])
    shelf.open()
    assert await search == {6}
    await index.close()


async def test_a_guild_that_was_not_searched_takes_no_memory() -> None:
    shelf = Shelf([1])
    shelf.open()
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    await index.add(1, [row(7)])
    assert shelf.reads == 0
    assert await found(index) == {1}, "what the store does not have was not kept"
    await index.close()


@pytest.mark.parametrize("fails", ["an addition", "a removal"])
async def test_a_change_that_fails_in_memory_raises_nothing_and_the_guild_is_loaded_again(fails, caplog) -> None:
    shelf = Shelf([1, 2])
    shelf.open()
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    assert await found(index) == {1, 2}
    shelf.pages = [[2, 3]]  # what the store has after the change
    if fails == "an addition":
        change = index.add(1, [IndexedEmbedding(3, 1, np.ones(DIMENSION + 1, np.float32))])
    else:
        change = index.discard([1, 2**70])
    _, meanwhile = await asyncio.gather(change, found(index))
    assert meanwhile in ({1, 2}, {2, 3}), "before or after the change, never half of it"
    assert await found(index) == {2, 3}
    assert "loaded again" in caplog.text
    await index.close()


async def test_a_search_that_waits_for_a_load_of_a_dropped_guild_gets_all_of_the_next_load() -> None:
    shelf = Shelf([1], [2, 3])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    await shelf.reached.acquire()
    shelf.let_go.release()
    await shelf.reached.acquire()
    index.drop(1)
    shelf.open()
    assert await search == {1, 2, 3}
    assert shelf.reads == 2
    await index.close()


async def test_other_channels_are_not_searched_and_take_no_places() -> None:
    shelf = Shelf()
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    await found(index)
    best = [IndexedEmbedding(key, 2, axis(0)) for key in range(100, 200)]
    await index.add(1, [*best, *(row(key) for key in range(10))])
    assert await found(index, channels=(1,)) == set(range(10))
    assert await found(index, channels=()) == set()
    assert await found(index, channels=(3,)) == set()
    await index.close()


async def test_a_load_that_fails_raises_in_every_waiting_search_and_the_next_one_loads_again() -> None:
    shelf = Shelf([1])
    shelf.error = OSError("disk")
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    searches = [asyncio.create_task(found(index)) for _ in range(3)]
    await shelf.reached.acquire()
    shelf.open()
    assert [type(error) for error in await asyncio.gather(*searches, return_exceptions=True)] == [OSError] * 3
    shelf.error = None
    assert await found(index) == {1}
    await index.close()


async def test_a_cancelled_search_does_not_cancel_the_load_for_the_others() -> None:
    shelf = Shelf([1])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    first, second = asyncio.create_task(found(index)), asyncio.create_task(found(index))
    await shelf.reached.acquire()
    first.cancel()
    shelf.open()
    assert await second == {1}
    assert first.cancelled()
    await index.close()


async def test_a_guild_dropped_during_its_load_is_loaded_again() -> None:
    shelf = Shelf([1], [2])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    await shelf.reached.acquire()
    index.drop(1)
    shelf.pages = []
    shelf.open()
    assert await search == set()
    assert await found(index) == set()
    assert shelf.reads == 2
    await index.close()


async def test_closing_cancels_the_load_of_a_dropped_guild() -> None:
    shelf = Shelf([1], [2])
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    await shelf.reached.acquire()
    index.drop(1)
    await asyncio.wait_for(index.close(), 60)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(search, 60)


async def test_searches_run_outside_the_event_loop() -> None:
    index = VectorCache(Shelf().embeddings, "m", DIMENSION)
    await found(index)
    await index.add(1, [row(1)])
    threads: list[str] = []

    class Watched:
        """A query that says on which thread it is read."""

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            threads.append(threading.current_thread().name)
            return axis(0)

    assert (await index.search(1, Watched(), (1,), 3)).hits
    assert threads
    assert threading.main_thread().name not in threads
    await index.close()


changes = st.lists(st.tuples(st.sampled_from(["add", "discard"]), st.integers(1, 6)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(stored=st.lists(st.integers(1, 6), unique=True), during=changes, after=changes)
async def test_after_any_changes_during_and_after_a_load_the_index_equals_a_plain_set(
    stored: list[int], during: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    shelf = Shelf(*([key] for key in stored))
    index = VectorCache(shelf.embeddings, "m", DIMENSION)
    search = asyncio.create_task(found(index))
    truth = set(stored)
    if stored:
        await shelf.reached.acquire()
    else:
        await search
    for at, batch in enumerate((during, after)):
        if at:
            shelf.open()
            await search
        for what, key in batch:
            if what == "add":
                truth.add(key)
                await index.add(1, [row(key)])
            else:
                truth.discard(key)
                await index.discard([key])
    assert await found(index) == truth
    await index.close()
