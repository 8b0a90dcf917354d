"""What every place that holds a vector index's rows can do, and what all such places keep of keys and groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clipcore.types import Vectors

Keys = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
SlotNumbers = npt.NDArray[np.int32]

_SMALLEST = 256


class Rows(Protocol):
    """fp16 rows of at most unit length by key, each in one group. Not thread-safe."""

    def __len__(self) -> int: ...

    @property
    def capacity(self) -> int:
        """Rows that memory is set aside for. What was never written to takes none yet."""

    @property
    def nbytes(self) -> int:
        """Bytes of rows and keys written to."""

    def put(self, keys: Keys, groups: Keys, rows: Halves) -> None:
        """Takes a copy. keys: [n], different, none of them held. rows: [n, dim]."""

    def remove(self, keys: Keys) -> int:
        """Overwrites the rows of these keys, rising and different. Returns how many of them were held."""

    def holds(self, key: int) -> bool: ...

    def candidates(self, query: Vectors, k: int, groups: Collection[int] | None) -> Iterator[tuple[Keys, Halves]]:
        """Among them each of the k best of these groups, and whatever ties with the k-th; few others. In portions."""

    def everything(self) -> Iterator[tuple[Keys, Keys, Halves]]:
        """Keys, groups and rows, in portions, in any order."""


class Slots:
    """A small number for each group, so that rows name their group in four bytes and a filter is a table of flags."""

    def __init__(self) -> None:
        self._groups: Keys = np.empty(0, np.int64)
        self._rising: Keys = self._groups
        self._slots_of_rising: SlotNumbers = np.empty(0, np.int32)

    def of(self, groups: Keys) -> SlotNumbers:
        different, where = np.unique(groups, return_inverse=True)
        new = different[self._find(different) < 0]
        if len(new):
            self._groups = np.concatenate([self._groups, new])
            self._slots_of_rising = np.argsort(self._groups).astype(np.int32)
            self._rising = self._groups[self._slots_of_rising]
        return self._find(different)[where]

    def groups(self) -> Keys:
        """[slots]: the group of each slot."""
        return self._groups

    def allowed(self, groups: Collection[int] | None) -> Flags:
        """[slots + 1]: whether a slot's group is among these; None means all. The last, for slot -1, is always off."""
        flags = np.full(len(self._groups) + 1, groups is None)
        if groups is not None:
            # Rising, so that one is found near where the last one was: half the time for 50,000, sorting included.
            flags[self._find(np.sort(np.fromiter(groups, np.int64, len(groups))))] = True
        flags[-1] = False
        return flags

    def _find(self, groups: Keys) -> SlotNumbers:
        """[n]: the slot of each, -1 where it has none."""
        if not len(self._rising):
            return np.full(len(groups), -1, np.int32)
        places = np.searchsorted(self._rising, groups).clip(max=len(self._rising) - 1)
        return np.where(self._rising[places] == groups, self._slots_of_rising[places], np.int32(-1))


@dataclass(frozen=True, slots=True)
class Closing:
    """How rows close up: what lies at `sources` goes to `gaps`, then `cleared` holds nothing and is overwritten."""

    gaps: Places
    sources: Places
    cleared: slice


class Ledger:
    """Keys and slots of rows that lie one after the other without gaps, wherever the rows themselves are."""

    def __init__(self) -> None:
        self._keys: Keys = np.empty(_SMALLEST, np.int64)
        self._slots: SlotNumbers = np.empty(_SMALLEST, np.int32)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def capacity(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> Keys:
        return self._keys[: self._used]

    @property
    def slots(self) -> SlotNumbers:
        return self._slots[: self._used]

    def append(self, keys: Keys, slots: SlotNumbers) -> slice:
        """Where the rows of these keys belong. The capacity may have grown."""
        new = slice(self._used, self._used + len(keys))
        if new.stop > self.capacity:
            self._resize(max(new.stop, self.capacity + self.capacity // 2))
        self._keys[new], self._slots[new] = keys, slots
        self._used = new.stop
        return new

    def remove(self, places: Places) -> Closing:
        """The rows at these different places go; the last ones move into the gaps."""
        left = self._used - len(places)
        gone = np.zeros(self._used, np.bool_)
        gone[places] = True
        closing = Closing(np.flatnonzero(gone[:left]), left + np.flatnonzero(~gone[left:]), slice(left, self._used))
        self._keys[closing.gaps], self._slots[closing.gaps] = self._keys[closing.sources], self._slots[closing.sources]
        self._used = left
        return closing

    def shrink(self) -> bool:
        """Gives back what a great removal has left empty. Returns whether the capacity is another now."""
        wanted = max(_SMALLEST, 2 * self._used)
        if wanted >= self.capacity // 2:
            return False
        self._resize(wanted)
        return True

    def _resize(self, capacity: int) -> None:
        keys, slots = np.empty(capacity, np.int64), np.empty(capacity, np.int32)
        keys[: self._used], slots[: self._used] = self.keys, self.slots
        self._keys, self._slots = keys, slots


def places_of(wanted: Keys, keys: Keys) -> Places:
    """Where in `keys` those wanted lie. wanted: rising.

    A pass over all keys, which are a hundredth of what a search reads: an index over them would take more memory than
    it is worth.
    """
    near = np.flatnonzero((keys >= wanted[0]) & (keys <= wanted[-1]))
    return near[np.isin(keys[near], wanted)]
