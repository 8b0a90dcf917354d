"""Tiles: blocks of rows of one group, stored dimension by dimension."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress

import numpy as np

from clipcore.vector_rows import Flags, Halves, Keys, Places, SlotNumbers, places_of

_NOBODY = -1
_SPACING = 32


class Slab:
    """A run of tiles, filled as they are needed. Memory that no tile was put into is not taken from the system yet."""

    def __init__(self, tiles: int, dimension: int, tile_rows: int) -> None:
        self._rows: Halves = _pages(2 * tiles * dimension * tile_rows).reshape(tiles, dimension, tile_rows)
        self._keys: Keys = np.empty((tiles, tile_rows), np.int64)
        self._held: Flags = np.zeros((tiles, tile_rows), np.bool_)
        self._slots: SlotNumbers = np.full(tiles, _NOBODY, np.int32)
        self._gaps = np.zeros(tiles, np.intp)
        self.free = tiles

    def __len__(self) -> int:
        """Tiles, used or not."""
        return len(self._slots)

    @property
    def tiles(self) -> Halves:
        """[tiles, dim, rows of a tile]"""
        return self._rows

    def put(self, slot: int, keys: Keys, rows: Halves) -> None:
        """Fills a free tile. keys: as many as a tile has rows."""
        tile = int(np.argmin(self._slots))
        # Rows a power of two of bytes apart share few lines of the cache; reading down their columns would evict them.
        spaced = np.empty((len(rows), rows.shape[1] + _SPACING), np.float16)[:, : rows.shape[1]]
        spaced[:] = rows
        self._rows[tile], self._keys[tile], self._held[tile], self._slots[tile] = spaced.T, keys, True, slot
        self.free -= 1

    def used(self) -> Places:
        return np.flatnonzero(self._slots != _NOBODY)

    def chosen(self, allowed: Flags) -> Places:
        return np.flatnonzero(allowed[self._slots])

    def gaps(self, tiles: Places) -> tuple[Places, Places]:
        """Tile (among these) and row of whatever has been removed."""
        among = np.flatnonzero(self._gaps[tiles])
        which, columns = np.nonzero(~self._held[tiles[among]])
        return among[which], columns

    def fetch(self, tiles: Places, columns: Places) -> tuple[Keys, Halves]:
        return self._keys[tiles, columns], self._rows[tiles, :, columns]

    def places_of(self, keys: Keys) -> tuple[Places, Places]:
        places = places_of(keys, self._keys.reshape(-1))
        tiles, columns = np.divmod(places, self._keys.shape[1])
        held = self._held[tiles, columns]
        return tiles[held], columns[held]

    def clear(self, tiles: Places, columns: Places) -> Places:
        """Overwrites these rows. Returns the tiles that have lost so many that they had better be taken out."""
        self._rows[tiles, :, columns] = 0
        self._held[tiles, columns] = False
        np.add.at(self._gaps, tiles, 1)
        touched: Places = np.unique(tiles)
        losing: Flags = 8 * self._gaps[touched] > self._keys.shape[1]
        return touched[losing]

    def take(self, tile: int) -> tuple[int, Keys, Halves]:
        """Slot, keys and rows (a copy) of a tile, which is overwritten and free from now on."""
        slot, keys, rows = self.read(tile)
        self._rows[tile], self._held[tile], self._slots[tile], self._gaps[tile] = 0, False, _NOBODY, 0
        self.free += 1
        return slot, keys, rows

    def read(self, tile: int) -> tuple[int, Keys, Halves]:
        """Slot, keys and rows (a copy) of a tile."""
        held = self._held[tile]
        return int(self._slots[tile]), self._keys[tile, held], self._rows[tile][:, held].T


def _pages(size: int) -> Halves:
    """Memory that goes back to the system with the array: glibc would keep what malloc gave, and an index that is
    dropped must make room. In huge pages, as numpy asks for by itself: scanning needs them. Private, since Linux gives
    none to memory that processes share, which is what `mmap` makes unless told otherwise, and takes that on reading.
    """
    if sys.platform == "win32":
        return np.frombuffer(mmap.mmap(-1, size), np.float16)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    if sys.platform == "linux":
        with suppress(OSError):  # a kernel built without huge pages refuses
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.float16)
