"""fp16 rows in memory, by key and group: chunks of a few rows, each of one group, in slabs that are never copied."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import prod

import numpy as np
import numpy.typing as npt

from clipcore.index.scan import Chunks, Float16, Used

Keys = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]

_ROWS_AT_ONCE = 16384
_FREE = -1


class Storage:
    """Rows by key and frame, each in one group. All rows of a key are removed together. Not thread-safe.

    Chunks are numbered through all slabs, and places, which hold one row each, through all chunks. A group has at most
    one partly filled chunk, and only a large group has empty ones. The last row of that chunk takes the place of a row
    that is removed; an emptied chunk is free for any group. Removed rows are overwritten with zeros.
    """

    # Few rows, so that a thread with one image wastes little memory. Longer contiguous runs are read faster, so a large
    # group takes 16 chunks at once (benchmarks/NOTES.md).
    chunk_rows, run_chunks = 4, 16
    # 8 MiB at 512 dimensions. The first slab starts small and doubles, which copies it.
    slab_chunks, first_slab_chunks = 2048, 64

    def __init__(self, dimension: int) -> None:
        self.slabs: list[Float16] = []  # [chunks, chunk_rows, dim] each, all of one shape
        self.used: Used = np.empty(0, np.uint8)  # [chunks]: rows that each holds, from its first place on
        self.frames: Frames = np.empty(0, np.uint8)  # by place; without meaning where it holds no row
        self._dimension = dimension
        self._keys: Keys = np.empty(0, np.int64)  # by place
        self._owners: Numbers = np.empty(0, np.int64)  # [chunks]: the number of the group, or _FREE
        self._free: list[int] = []  # chunks; the last one is taken first
        self._numbers: dict[int, int] = {}  # by group: from 0 in the order of arrival
        self._sizes: npt.NDArray[np.int64] = np.empty(0, np.int64)  # by number: rows of the group
        self._touched = 0  # chunks, from the first on, that memory has been provided for

    def __len__(self) -> int:
        return int(self._sizes.sum())

    @property
    def nbytes(self) -> int:
        """Bytes that memory has been provided for, keys included. May be read by another thread."""
        return self._touched * (self.chunk_rows * (2 * self._dimension + 9) + 9)

    def put(self, keys: Keys, frames: Frames, groups: Keys, rows: Float16) -> None:
        """Copies rows in. keys, groups: int64 [n], none of the keys held. frames: uint8 [n], different for one key.
        rows: float16 [n, dim].
        """
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            self._write(self._reserve(groups[some]), keys[some], frames[some], rows[some])

    def remove(self, keys: Keys) -> int:
        """Returns how many of these keys were held."""
        places = self.find(keys)
        held = len(np.unique(self._keys[places]))
        if held:
            self._empty(places)
            self._shrink()
        return held

    def find(self, wanted: Keys) -> Places:
        """The places of all rows of these keys, those that are held.

        A pass over all keys, a hundredth of what a search reads. A dict of them would take a tenth of the rows' memory.
        """
        marked = np.zeros(1 << 16, np.bool_)
        marked[_hash(wanted)] = True
        near = np.flatnonzero(marked[_hash(self._keys)])
        found = near[np.isin(self._keys[near], wanted)]
        return found[found % self.chunk_rows < self.used[found // self.chunk_rows]]

    def chunks_of(self, groups: Iterable[int] | None) -> Chunks:
        """The chunks of these groups, rising; None means all."""
        if groups is None:
            return np.flatnonzero(self._owners != _FREE)
        known = [number for group in groups if (number := self._numbers.get(group)) is not None]
        return np.flatnonzero(self._owned_by(np.array(known, np.int64)))

    def holding(self, chunks: Chunks, keys: Keys) -> tuple[Chunks, npt.NDArray[np.bool_]]:
        """Those of these chunks that hold a row of any of the keys, and which of their places do: [n, chunk_rows]."""
        marked = np.zeros((len(self.used), self.chunk_rows), np.bool_)
        marked.reshape(-1)[self.find(keys)] = True
        some = chunks[marked[chunks].any(1)]
        return some, marked[some]

    def read(self, places: Places) -> tuple[Keys, Float16]:
        """Keys and rows, a copy."""
        rows = np.empty((len(places), self._dimension), np.float16)
        for slab, some, inside in self._by_slab(places):
            rows[some] = slab[inside]
        return self._keys[places], rows

    def everything(self) -> tuple[Keys, Frames, Keys, Float16]:
        """Keys, frames, groups and rows, a copy."""
        chunks = np.flatnonzero(self.used)
        places = self._places_in(chunks)[np.arange(self.chunk_rows) < self.used[chunks, None]]
        groups = np.fromiter(self._numbers, np.int64)
        keys, rows = self.read(places)
        return keys, self.frames[places], groups[self._owners[places // self.chunk_rows]], rows

    def _reserve(self, groups: Keys) -> Places:
        """Takes a place for a row of each of these groups."""
        different, which = np.unique(groups, return_inverse=True)
        numbers = np.array([self._numbers.setdefault(group, len(self._numbers)) for group in different.tolist()])[which]
        counts = np.bincount(numbers, minlength=len(self._numbers))  # by number, as all that follows
        self._sizes = counts + np.pad(self._sizes, (0, len(counts) - len(self._sizes)))
        opened = np.flatnonzero(self._owned_by(numbers) & (self.used < self.chunk_rows))
        room = np.bincount(self._owners[opened], self.chunk_rows - self.used[opened], len(counts)).astype(np.int64)
        run = np.where(self._sizes < 4 * self.run_chunks * self.chunk_rows, 1, self.run_chunks)
        runs = -(-np.maximum(counts - room, 0) // (run * self.chunk_rows))
        new = self._take(int((runs * run).sum()))
        self._owners[new] = np.repeat(np.arange(len(counts)), runs * run)
        # The free places of each group, those of its partly filled chunk first; as many are taken as rows come.
        chunks = np.concatenate([opened, new])
        chunks = chunks[np.lexsort((self.used[chunks] == 0, self._owners[chunks]))]
        places = self._places_in(chunks)[np.arange(self.chunk_rows) >= self.used[chunks, None]]
        owners = self._owners[places // self.chunk_rows]
        places = places[_rank(owners) < counts[owners]]
        np.add.at(self.used, places // self.chunk_rows, 1)
        by_row = np.empty_like(places)
        by_row[np.argsort(numbers, kind="stable")] = places
        return by_row

    def _empty(self, places: Places) -> None:
        """Moves the last rows of each group into these places, and frees the chunks that end up empty."""
        numbers = self._owners[places // self.chunk_rows]
        self._sizes -= np.bincount(numbers, minlength=len(self._sizes))
        opened = np.flatnonzero(self._owned_by(numbers) & (self.used < self.chunk_rows))
        chunks = np.union1d(places // self.chunk_rows, opened)
        chunks = chunks[np.lexsort((self.chunk_rows - self.used[chunks], self._owners[chunks]))]  # the fullest first
        owners, all_places = self._owners[chunks], self._places_in(chunks)
        filled = np.arange(self.chunk_rows) < self.used[chunks, None]
        staying = filled & ~np.isin(all_places, places)
        left = np.bincount(owners, staying.sum(1))[owners] - self.chunk_rows * _rank(owners)
        kept = np.arange(self.chunk_rows) < left[:, None]
        self._move(all_places[staying & ~kept], all_places[kept & ~staying])
        for slab, _, inside in self._by_slab(all_places[filled & ~kept]):
            slab[inside] = 0
        self.used[chunks] = kept.sum(1)
        emptied = chunks[~kept[:, 0]]
        self._owners[emptied] = _FREE
        self._free += np.sort(emptied)[::-1].tolist()

    def _owned_by(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """[chunks]"""
        owning = np.zeros(len(self._numbers) + 1, np.bool_)  # the last stands for _FREE
        owning[numbers] = True
        return owning[self._owners]

    def _places_in(self, chunks: Chunks) -> Places:
        """[n, chunk_rows]"""
        return chunks[:, None] * self.chunk_rows + np.arange(self.chunk_rows)

    def _move(self, sources: Places, targets: Places) -> None:
        """The two have no place in common."""
        for start in range(0, len(sources), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            keys, rows = self.read(sources[some])
            self._write(targets[some], keys, self.frames[sources[some]], rows)

    def _write(self, places: Places, keys: Keys, frames: Frames, rows: Float16) -> None:
        self._keys[places] = keys
        self.frames[places] = frames
        for slab, some, inside in self._by_slab(places):
            slab[inside] = rows[some]

    def _by_slab(self, places: Places) -> Iterator[tuple[Float16, Places, Places]]:
        """For each slab that holds any of the places: its rows, which of the places these are, and where in it."""
        numbers, inside = np.divmod(places, self.chunk_rows * min(len(self.used), self.slab_chunks))
        for number in np.unique(numbers).tolist():
            some = np.flatnonzero(numbers == number)
            yield self.slabs[number].reshape(-1, self._dimension), some, inside[some]

    def _take(self, count: int) -> Chunks:
        """Free chunks, rising and contiguous where they were never used before."""
        while len(self._free) < count:
            self._grow()
        kept = len(self._free) - count
        taken = np.array(self._free[kept:][::-1], np.int64)
        del self._free[kept:]
        self._touched = max(self._touched, int(taken.max(initial=-1)) + 1)
        return taken

    def _grow(self) -> None:
        before = len(self.used)
        added = max(self.first_slab_chunks, min(before, self.slab_chunks))
        size = min(before + added, self.slab_chunks)
        shape = size, self.chunk_rows, self._dimension
        slab = _zeros(prod(shape), huge=size == self.slab_chunks).reshape(shape)
        if 0 < before < self.slab_chunks:
            slab[:before] = self.slabs.pop()
        self.slabs.append(slab)
        self._keys = np.concatenate([self._keys, np.zeros(added * self.chunk_rows, np.int64)])
        self.frames = np.concatenate([self.frames, np.zeros(added * self.chunk_rows, np.uint8)])
        self._owners = np.concatenate([self._owners, np.full(added, _FREE)])
        self.used = np.concatenate([self.used, np.zeros(added, np.uint8)])
        self._free = [*range(before + added - 1, before - 1, -1), *self._free]

    def _shrink(self) -> None:
        """Where two slabs' worth or more is free, gives back all but one: the last chunks move to free ones before."""
        chunks = len(self.used) - self.slab_chunks * (len(self._free) // self.slab_chunks - 1)
        if chunks >= len(self.used):
            return
        moved = chunks + np.flatnonzero(self._owners[chunks:] != _FREE)
        free = np.sort([chunk for chunk in self._free if chunk < chunks])
        targets, self._free = free[: len(moved)], free[len(moved) :][::-1].tolist()
        self._move(self._places_in(moved).reshape(-1), self._places_in(targets).reshape(-1))
        self.used[targets], self._owners[targets] = self.used[moved], self._owners[moved]
        self.used, self._owners = self.used[:chunks].copy(), self._owners[:chunks].copy()
        self._keys = self._keys[: chunks * self.chunk_rows].copy()
        self.frames = self.frames[: chunks * self.chunk_rows].copy()
        self._touched = min(max(self._touched, int(targets.max(initial=-1)) + 1), chunks)
        del self.slabs[chunks // self.slab_chunks :]


def _rank(values: Numbers) -> Places:
    """The place of each among its equals. values: rising."""
    return np.arange(len(values)) - np.searchsorted(values, values)


def _hash(keys: Keys) -> npt.NDArray[np.int64]:
    """16 bits each (Knuth's multiplicative hashing)."""
    return (keys.view(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15) >> np.uint64(48)).view(np.int64)


def _zeros(count: int, *, huge: bool) -> Float16:
    """Memory of its own, which the system provides page by page as it is written to, and gets back with the array:
    glibc would keep what malloc took. huge: in huge pages where Linux has them, which make a large scan faster; written
    to in one place, they are there whole. Private, because shared memory, `mmap`'s default, gets no huge pages.
    """
    if sys.platform == "win32":
        return np.frombuffer(mmap.mmap(-1, 2 * count), np.float16)
    memory = mmap.mmap(-1, 2 * count, flags=mmap.MAP_PRIVATE)
    if huge and sys.platform == "linux":
        with suppress(OSError):  # a kernel built without huge pages refuses
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.float16)
