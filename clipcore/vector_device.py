"""Rows on a device of torch's, such as a GPU. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from clipcore.types import Vectors
from clipcore.vector_rows import Halves, Keys, Ledger, Slots, places_of
from clipcore.vector_scores import fp16_precision

_PORTION = 4096


class DeviceRows:
    """One arena on the device: rows and a slot for each. Keys stay in main memory.

    To the device go: rows and slots when they are put, places when some are removed, and for each search the query and
    a flag for each slot. Back come the rows that could be among the best, and where they lie. A search reads the whole
    arena and masks what it may not see: reading all costs the device less than picking. Growing copies the arena on
    the device, so there must be room for both.
    """

    def __init__(self, dimension: int, device: str) -> None:
        self._device = torch.device(device)
        self._slot_names = Slots()
        self._ledger = Ledger()
        self._rows = torch.zeros((self._ledger.capacity, dimension), dtype=torch.float16, device=self._device)
        self._slots = torch.zeros(self._ledger.capacity, dtype=torch.int32, device=self._device)

    def __len__(self) -> int:
        return len(self._ledger)

    @property
    def capacity(self) -> int:
        return self._ledger.capacity

    @property
    def nbytes(self) -> int:
        return len(self) * (2 * self._rows.shape[1] + 16)

    def put(self, keys: Keys, groups: Keys, rows: Halves) -> None:
        slots = self._slot_names.of(groups)
        new = self._ledger.append(keys, slots)
        self._fit(new.start)
        self._rows[new] = torch.tensor(rows, device=self._device)
        self._slots[new] = torch.tensor(slots, device=self._device)

    def remove(self, keys: Keys) -> int:
        places = places_of(keys, self._ledger.keys)
        closing = self._ledger.remove(places)
        gaps, sources = self._send(closing.gaps), self._send(closing.sources)
        for arena in (self._rows, self._slots):
            arena[gaps] = arena[sources]
            arena[closing.cleared] = 0
        if self._ledger.shrink():
            self._fit(len(self))
        return len(places)

    def holds(self, key: int) -> bool:
        return len(places_of(np.array([key], np.int64), self._ledger.keys)) > 0

    def candidates(self, query: Vectors, k: int, groups: Collection[int] | None) -> Iterator[tuple[Keys, Halves]]:
        rounded = torch.tensor(query).half()
        precision = fp16_precision(query, rounded.float().numpy())
        with _sums_in_fp32():
            scores = torch.mv(self._rows[: len(self)], rounded.to(self._device))
        allowed = self._send(self._slot_names.allowed(groups))
        scores.masked_fill_(~allowed[self._slots[: len(self)]], -torch.inf)
        least = precision.least(float(scores.topk(min(k, len(self))).values[-1]))
        places = ((scores >= least) & (scores > -torch.inf)).nonzero()[:, 0]
        for start in range(0, len(places), _PORTION):
            some = places[start : start + _PORTION]
            yield self._ledger.keys[some.cpu().numpy()], self._rows[some].cpu().numpy()

    def everything(self) -> Iterator[tuple[Keys, Keys, Halves]]:
        yield self._ledger.keys, self._slot_names.groups()[self._ledger.slots], self._rows[: len(self)].cpu().numpy()

    def _send(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, device=self._device)

    def _fit(self, used: int) -> None:
        """Follows the ledger's capacity."""
        if len(self._rows) != self.capacity:
            rows, slots = self._rows.new_zeros(self.capacity, self._rows.shape[1]), self._slots.new_zeros(self.capacity)
            rows[:used], slots[:used] = self._rows[:used], self._slots[:used]
            self._rows, self._slots = rows, slots


@contextmanager
def _sums_in_fp32() -> Iterator[None]:
    """cuBLAS may add partial sums up in fp16 unless told not to, and then errs by more than `fp16_precision` says
    (https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html). The setting is the whole process's; what
    others compute meanwhile is more exact for it.
    """
    settings = torch.backends.cuda.matmul
    before = settings.allow_fp16_reduced_precision_reduction
    settings.allow_fp16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.allow_fp16_reduced_precision_reduction = before
