"""Rows of all groups mixed, one after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipcore.vector_rows import Flags, Halves, Keys, Ledger, Places, SlotNumbers, places_of


class Heap:
    def __init__(self, dimension: int) -> None:
        self._ledger = Ledger()
        self._rows: Halves = np.zeros((self._ledger.capacity, dimension), np.float16)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._ledger)

    @property
    def capacity(self) -> int:
        return self._ledger.capacity

    @property
    def keys(self) -> Keys:
        return self._ledger.keys

    @property
    def slots(self) -> SlotNumbers:
        return self._ledger.slots

    @property
    def rows(self) -> Halves:
        return self._rows[: len(self._ledger)]

    @property
    def tiles(self) -> Halves:
        """The rows as tiles of one."""
        return self.rows[:, :, None]

    def put(self, keys: Keys, slots: SlotNumbers, rows: Halves, many: int) -> list[int]:
        """Returns those of these slots that have as many rows here as that, or more."""
        new = self._ledger.append(keys, slots)
        self._fit(new.start)
        self._rows[new] = rows
        touched = np.unique(slots)
        if len(touched) and touched[-1] >= len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(touched[-1] + 1, np.int64)])
        np.add.at(self._counts, slots, 1)
        full: list[int] = touched[self._counts[touched] >= many].tolist()
        return full

    def remove(self, places: Places) -> None:
        if not len(places):
            return
        np.subtract.at(self._counts, self.slots[places], 1)
        closing = self._ledger.remove(places)
        self._rows[closing.gaps] = self._rows[closing.sources]
        self._rows[closing.cleared] = 0
        if self._ledger.shrink():
            self._fit(len(self._ledger))

    def places_in(self, slot: int) -> Places:
        return np.flatnonzero(self.slots == slot)

    def places_of(self, keys: Keys) -> Places:
        return places_of(keys, self.keys)

    def fetch(self, first: Places, _second: Places | None = None) -> tuple[Keys, Halves]:
        return self.keys[first], self._rows[first]

    def chosen(self, allowed: Flags) -> Places:
        return np.flatnonzero(allowed[self.slots])

    def gaps(self, _places: Places) -> tuple[Places, Places]:
        """None: what is removed here is closed up."""
        return np.empty(0, np.intp), np.empty(0, np.intp)

    def _fit(self, used: int) -> None:
        """Follows the ledger's capacity. Most of new memory is not taken from the system before it is written to."""
        if len(self._rows) != self.capacity:
            rows = np.zeros((self.capacity, self._rows.shape[1]), np.float16)
            rows[:used] = self._rows[:used]
            self._rows = rows
