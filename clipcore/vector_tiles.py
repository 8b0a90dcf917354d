"""Rows in main memory: whole tiles of one group each, and an open heap of whatever fills none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np

from clipcore.types import Vectors
from clipcore.vector_heap import Heap
from clipcore.vector_rows import Halves, Keys, Places, SlotNumbers, Slots
from clipcore.vector_scores import Part, Scorer, scorer_for
from clipcore.vector_select import Scored, Source, best_of
from clipcore.vector_slab import Slab

# Four cache lines a dimension: narrower tiles scan slower, wider ones leave more in the heap (benchmarks/NOTES.md).
TILE_ROWS = 128
# Slabs triple in size: a small index takes little, and of a large one few slabs are asked for their share of a search.
# Were it four times, a new slab could leave so few tiles in use that the next removal shrank it away again.
_FIRST_SLAB, _GROWTH, _LARGEST_SLAB = 8, 3, 4096
_PORTION = 4096
_TILES_REOPENED_AT_ONCE = 64


class HostRows:
    """Rows enter the heap, where the groups lie mixed. As soon as a group has a tile's worth there, they move into a
    tile of its own, so the heap never holds as much of a group. A search reads the tiles of the groups it may see, and
    the heap. A tile that has lost an eighth of its rows goes back to the heap.
    """

    def __init__(
        self, dimension: int, tile_rows: int = TILE_ROWS, scorer: Callable[[Vectors], Scorer] = scorer_for
    ) -> None:
        self._scorer = scorer
        self._dimension = dimension
        self._tile_rows = tile_rows
        self._slots = Slots()
        self._heap = Heap(dimension)
        self._slabs: list[Slab] = []
        self._held = 0

    def __len__(self) -> int:
        return self._held

    @property
    def capacity(self) -> int:
        return self._heap.capacity + self._tile_rows * sum(len(slab) for slab in self._slabs)

    @property
    def nbytes(self) -> int:
        tiles = sum(len(slab) - slab.free for slab in self._slabs)
        return tiles * self._tile_rows * (2 * self._dimension + 9) + len(self._heap) * (2 * self._dimension + 12)

    def put(self, keys: Keys, groups: Keys, rows: Halves) -> None:
        self._held += len(keys)
        self._enter(keys, self._slots.of(groups), rows)

    def remove(self, keys: Keys) -> int:
        before = self._held
        places = self._heap.places_of(keys)
        self._heap.remove(places)
        self._held -= len(places)
        for slab in self._slabs:
            tiles, columns = slab.places_of(keys)
            self._held -= len(tiles)
            self._reopen(slab, slab.clear(tiles, columns))
        self._shrink()
        return before - self._held

    def holds(self, key: int) -> bool:
        wanted = np.array([key], np.int64)
        return len(self._heap.places_of(wanted)) > 0 or any(len(slab.places_of(wanted)[0]) for slab in self._slabs)

    def candidates(self, query: Vectors, k: int, groups: Collection[int] | None) -> Iterator[tuple[Keys, Halves]]:
        allowed, scorer = self._slots.allowed(groups), self._scorer(query)
        sources: list[Source] = [self._heap, *self._slabs]
        parts = [Part(source.tiles, source.chosen(allowed)) for source in sources]
        scored = [
            Scored.without_gaps(source, part.chosen, *scores)
            for source, part, scores in zip(sources, parts, scorer.score(parts), strict=True)
        ]
        for one, first, second in best_of(scored, k, scorer.precision):
            for start in range(0, len(first), _PORTION):
                some = slice(start, start + _PORTION)
                yield one.source.fetch(one.chosen[first[some]], second[some])

    def everything(self) -> Iterator[tuple[Keys, Keys, Halves]]:
        groups = self._slots.groups()
        yield self._heap.keys, groups[self._heap.slots], self._heap.rows
        for slab in self._slabs:
            for tile in slab.used():
                slot, keys, rows = slab.read(tile)
                yield keys, np.full(len(keys), groups[slot]), rows

    def _enter(self, keys: Keys, slots: SlotNumbers, rows: Halves) -> None:
        """Into the heap; then whatever makes whole tiles moves out of it."""
        size = self._tile_rows
        moved = [np.empty(0, np.intp)]
        for slot in self._heap.put(keys, slots, rows, size):
            places = self._heap.places_in(slot)
            moved.append(places[: len(places) // size * size])
            for some in moved[-1].reshape(-1, size):
                self._free_slab().put(slot, *self._heap.fetch(some))
        self._heap.remove(np.concatenate(moved))

    def _free_slab(self) -> Slab:
        for slab in self._slabs:
            if slab.free:
                return slab
        size = min(_FIRST_SLAB * _GROWTH ** len(self._slabs), _LARGEST_SLAB)
        self._slabs.append(Slab(size, self._dimension, self._tile_rows))
        return self._slabs[-1]

    def _reopen(self, slab: Slab, tiles: Places) -> None:
        for start in range(0, len(tiles), _TILES_REOPENED_AT_ONCE):
            taken = [slab.take(tile) for tile in tiles[start : start + _TILES_REOPENED_AT_ONCE]]
            slots, keys, rows = zip(*taken, strict=True)
            each = np.repeat(np.array(slots, np.int32), [len(some) for some in keys])
            self._enter(np.concatenate(keys), each, np.concatenate(rows))

    def _shrink(self) -> None:
        """Moves the tiles that are left closer together where a great removal has freed three of four. A lone slab is
        the smallest that there is, so it stays as long as it holds any.
        """
        tiles = sum(len(slab) for slab in self._slabs)
        used = tiles - sum(slab.free for slab in self._slabs)
        if 4 * used >= tiles or (used and len(self._slabs) == 1):
            return
        old, self._slabs = self._slabs, []
        for slab in old:
            for tile in slab.used():
                slot, keys, rows = slab.take(tile)
                if len(keys) == self._tile_rows:
                    self._free_slab().put(slot, keys, rows)
                else:
                    self._enter(keys, np.full(len(keys), slot, np.int32), rows)
