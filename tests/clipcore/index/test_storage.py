"""Where rows lie, and the memory that they take and give back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from clipcore.index import storage as module
from clipcore.index.storage import Storage, _zeros
from clipcore.index.vector_index import VectorIndex
from tests.clipcore.index.support import SmallStorage

DIMENSION = 512
CHUNK_BYTES = Storage.chunk_rows * (2 * DIMENSION + 9) + 9
FIRST = np.zeros(1 << 16, np.uint8)
linux = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux shows in /proc what memory a process holds.")


def rows_of(keys: np.ndarray, dimension: int = 8) -> np.ndarray:
    return np.repeat(keys[:, None], dimension, axis=1).astype(np.float16)


def filled(keys: np.ndarray, groups: np.ndarray, storage: Storage | None = None) -> Storage:
    storage = SmallStorage(8) if storage is None else storage
    storage.put(keys, FIRST[: len(keys)], groups, rows_of(keys))
    return storage


def contents(storage: Storage) -> dict[int, tuple[int, float]]:
    keys, _, groups, rows = (array.tolist() for array in storage.everything())
    return {key: (group, row[0]) for key, group, row in zip(keys, groups, rows, strict=True)}


def runs(storage: Storage, group: int) -> list[int]:
    """Lengths of the group's runs of contiguous chunks."""
    chunks = storage.chunks_of([group])
    return [len(run) for run in np.split(chunks, np.flatnonzero(np.diff(chunks) != 1) + 1)]


def test_every_row_keeps_its_key_and_group_while_others_come_and_go():
    random = np.random.default_rng(0)
    storage, expected = SmallStorage(8), {}
    for step in range(60):
        keys = np.arange(40 * step, 40 * step + 40)
        groups = random.integers(0, 5, 40) ** 2
        storage.put(keys, FIRST[:40], groups, rows_of(keys % 1000))
        expected |= {key: (group, float(key % 1000)) for key, group in zip(keys.tolist(), groups.tolist(), strict=True)}
        gone = random.choice(np.array([*expected]), random.integers(0, min(len(expected), 80)), replace=False)
        assert storage.remove(np.unique(gone)) == len(gone)
        for key in gone.tolist():
            del expected[key]
        assert contents(storage) == expected


def test_chunks_hold_one_group_each():
    storage = filled(np.arange(300), np.arange(300) % 7)
    for group in range(7):
        chunks = storage.chunks_of([group])
        keys, _ = storage.read(storage._places_in(chunks)[np.arange(3) < storage.used[chunks, None]])
        assert sorted(keys.tolist()) == list(range(group, 300, 7))


def test_a_small_group_takes_one_chunk():
    storage = Storage(DIMENSION)
    storage.put(np.arange(1000), FIRST[:1000], np.arange(1000), np.ones((1000, DIMENSION), np.float16))
    assert storage.nbytes == 1000 * CHUNK_BYTES


def test_a_large_group_lies_in_long_runs_even_if_its_rows_arrive_one_by_one():
    storage = Storage(8)
    for start in range(0, 4000, 2):
        storage.put(np.array([start, start + 1]), FIRST[:2], np.array([1, 2]), np.ones((2, 8), np.float16))
    lengths = np.array(runs(storage, 1))
    assert lengths[lengths >= Storage.run_chunks].sum() >= 0.8 * lengths.sum()
    assert len(storage.chunks_of(None)) * Storage.chunk_rows <= 4000 + 2 * Storage.run_chunks * Storage.chunk_rows


def test_a_group_fills_its_partly_filled_chunk_before_it_starts_another():
    """Of the two chunks that it takes at once, the second was freed first and comes first in memory."""
    storage = filled(np.arange(30), np.repeat([1, 2, 3], [3, 3, 24]))
    storage.remove(np.arange(3))
    storage.remove(np.arange(3, 6))
    for key, used in ((100, [0, 1]), (101, [0, 2])):
        filled(np.array([key]), np.array([3]), storage)
        assert storage.used[:2].tolist() == used


def test_freed_chunks_are_used_again_by_any_group():
    storage = filled(np.arange(300), np.zeros(300, np.int64))
    before = storage.nbytes
    storage.remove(np.arange(30))
    filled(np.arange(1000, 1020), np.arange(20) % 4, storage)
    assert storage.nbytes == before
    assert len(contents(storage)) == 290


def test_memory_follows_the_rows_both_ways():
    index = VectorIndex(DIMENSION)
    random = np.random.default_rng(0)
    vectors = random.normal(scale=DIMENSION**-0.5, size=(1000, DIMENSION)).astype(np.float16)
    for start in range(0, 60_000, 1000):
        index.add(vectors, range(start, start + 1000), start % 3)
    assert 60_000 * (2 * DIMENSION + 8) <= index.nbytes <= 60_200 * (2 * DIMENSION + 11)
    slabs = len(index._storage.slabs)
    index.discard(range(100, 60_000))
    assert len(index._storage.slabs) == 2 < slabs
    assert index.nbytes <= 2 * Storage.slab_chunks * CHUNK_BYTES
    assert {hit.key for hit in index.search(vectors[0].astype(np.float32), 100)} == set(range(100))


def test_memory_just_taken_is_not_given_back_with_the_next_removal():
    """Giving back copies rows; adding and removing one row must not do that again and again."""
    storage = SmallStorage(8)
    for key in range(200):
        before = len(storage.slabs)
        filled(np.array([key]), np.array([0]), storage)
        if len(storage.slabs) > max(before, 1):
            grown = len(storage.slabs)
            storage.remove(np.array([key]))
            assert len(storage.slabs) == grown
            filled(np.array([key]), np.array([0]), storage)
    assert len(storage.slabs) > 5


def test_rows_that_move_to_give_back_slabs_are_kept():
    keys = np.arange(900)
    storage = filled(keys, keys // 300)
    kept = np.array([*range(450, 530), *range(700, 720), 899])
    before = len(storage.slabs)
    assert storage.remove(np.setdiff1d(keys, kept)) == 900 - len(kept)
    assert len(storage.slabs) < before / 4
    assert contents(storage) == {key: (key // 300, float(key)) for key in kept.tolist()}


@pytest.mark.parametrize("gone", [[5], [49], range(50)])
@pytest.mark.parametrize("make", [SmallStorage, Storage])
def test_a_removed_vector_is_overwritten(make, gone):
    keys = np.arange(1, 51)
    storage = filled(keys, np.zeros(50, np.int64), make(8))
    rows = [row.tobytes() for row in rows_of(keys)]
    memory = b"".join(slab.tobytes() for slab in storage.slabs)
    assert all(rows[at] in memory for at in gone)
    storage.remove(keys[[*gone]])
    memory = b"".join(slab.tobytes() for slab in storage.slabs)
    assert not any(rows[at] in memory for at in gone)


def test_keys_with_the_same_hash_are_distinguished(monkeypatch):
    monkeypatch.setattr(module, "_hash", lambda keys: np.zeros(len(keys), np.int64))
    storage = filled(np.arange(50), np.zeros(50, np.int64))
    assert storage.remove(np.array([3, 60])) == 1
    assert not len(storage.find(np.array([3])))
    assert len(storage.find(np.array([4]))) == 1


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@linux
def test_a_slab_takes_memory_only_as_it_is_written_to():
    before, size = resident(), 64 << 20
    pages = _zeros(size // 2, huge=True)
    assert not pages.view(np.uint64).any()
    assert resident() - before < size / 4


@linux
def test_a_dropped_storage_gives_its_memory_back():
    before, count = resident(), 65_536
    storage = Storage(DIMENSION)
    storage.put(np.arange(count), FIRST[:count], np.zeros(count, np.int64), np.ones((count, DIMENSION), np.float16))
    size = storage.nbytes
    assert resident() - before > 0.9 * size
    del storage
    assert resident() - before < size / 2  # malloc keeps some of the temporary copies


@linux
@pytest.mark.parametrize(("count", "size"), [(100, 10), (50, 1100)])
def test_small_indices_take_about_the_memory_that_they_count(count, size):
    """A huge page for each would be 2 MiB."""
    vectors = np.ones((size, DIMENSION), np.float16)
    VectorIndex(DIMENSION).add(vectors)
    before = resident()
    indices = [VectorIndex(DIMENSION) for _ in range(count)]
    for index in indices:
        index.add(vectors)
    assert resident() - before < 1.5 * sum(index.nbytes for index in indices) + (4 << 20)
