"""Approximate scores of many rows at the memory's speed, how far off they can be, and so which rows may be the best."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clipcore.types import Vectors
from clipcore.vector_rows import Halves, Places

Scores = npt.NDArray[np.float16] | npt.NDArray[np.float32]

# fp16 rows of unit vectors are longer than 1 by rounding alone, at most by half a unit in the last place.
LONGEST = 1 + 2.0**-11
# Scores are compared rounded to this many decimals, so that equal images tie whatever their rows' neighbours are.
DECIMALS = 6
_TILES_AT_ONCE = 64
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Precision:
    """An approximate score lies within `absolute` + `relative` x |score| of the true one."""

    absolute: float
    relative: float

    def least(self, kth: float) -> float:
        """What the approximate score of each of the k best is at least, where k rows have one of `kth` or more.

        Those k are truly no worse than `kth` less its error; what is truly as good may seem worse by its own error.
        """
        if kth == -np.inf:
            return kth
        truly = kth - self._error(kth) - 10.0**-DECIMALS
        return truly - self._error(truly)

    def _error(self, score: float) -> float:
        return self.absolute + self.relative * abs(score)


def fp16_precision(query: Vectors, rounded: Vectors) -> Precision:
    """Of products of fp16 rows with a query rounded to fp16, summed in fp32 in any order and rounded to fp16.

    Cauchy-Schwarz bounds what rounding the query does; products of two fp16 numbers are exact in fp32, and a sum of n
    terms is off by at most n x 2^-24 of the sum of their sizes (Higham 2002, §4.2); fp16 keeps 11 bits, and numbers
    below 2^-14 to 2^-25.
    """
    off = float(np.linalg.norm(query.astype(np.float64) - rounded))
    return Precision(_generous(off + _sum_error(rounded) + 2.0**-25), _generous(2.0**-11))


def fp32_precision(query: Vectors) -> Precision:
    """The same in fp32 throughout; its products are rounded, too."""
    return Precision(_generous(_sum_error(query)), 0.0)


def _sum_error(query: Vectors) -> float:
    return (len(query) + 1) * 2.0**-24 * float(np.linalg.norm(query)) * LONGEST


def _generous(error: float) -> float:
    """Room for terms of second order, and for rows' length."""
    return 1.01 * error


class Part(NamedTuple):
    """slab: [tiles, dim, rows of a tile]. chosen: [n], tiles. Both contiguous. Rows one after the other are tiles of
    one row.
    """

    slab: Halves
    chosen: Places


class Scorer(Protocol):
    """Scores rows against the one query that it was made with. kernels: what computes, in words."""

    kernels: str

    def __init__(self, query: Vectors) -> None: ...

    @property
    def precision(self) -> Precision: ...

    def score(self, parts: Sequence[Part]) -> list[tuple[Scores, Vectors]]:
        """Of each part the scores of the chosen tiles [n, rows of a tile], and each tile's best [n]."""


def scorer_for(query: Vectors) -> Scorer:
    return quickest_scorer()(query)


def quickest_scorer() -> type[Scorer]:
    """Our own kernels where they were built, and torch's where the process has torch anyway, as the bot has. Importing
    it takes seconds, numpy's detour over fp32 a tenth of a second for 100,000 rows: who searches a folder once is
    served sooner without.
    """
    if (compiled := _compiled()) and keeps_its_precision(compiled):
        return compiled
    if "torch" in sys.modules:
        from clipcore.vector_torch import TorchScorer

        if keeps_its_precision(TorchScorer):
            return TorchScorer
    return NumpyScorer


@cache
def keeps_its_precision(make: type[Scorer]) -> bool:
    """Whether these kernels, as they were built, err by no more than they say. torch does not promise to sum fp16 in
    fp32 (`allow_fp16_reduction_cpu`).

    Numbers of one sign show it at once: a sum kept in fp16 goes astray by several times what is allowed.
    """
    random = np.random.default_rng(0)
    rows = random.random((256, 512), np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    query = rows.mean(0, dtype=np.float32)
    scorer = make(query)
    truly = rows.astype(np.float64) @ query
    tiles = np.ascontiguousarray(rows.reshape(2, 128, 512).transpose(0, 2, 1))
    found = scorer.score([Part(rows[:, :, None], np.arange(len(rows))), Part(tiles, np.arange(2))])
    allowed = scorer.precision.absolute + scorer.precision.relative * np.abs(truly)
    return all(bool((np.abs(scores.reshape(-1) - truly) <= allowed).all()) for scores, _ in found)


@cache
def _compiled() -> type[Scorer] | None:
    try:
        from clipcore.vector_compiled import CompiledScorer
    except ImportError:  # not built, or not for this processor
        return None
    return CompiledScorer


class NumpyScorer:
    kernels = "numpy"

    def __init__(self, query: Vectors) -> None:
        self._query = query
        self.precision = fp32_precision(query)

    def score(self, parts: Sequence[Part]) -> list[tuple[Scores, Vectors]]:
        scores = [self._rows(part) if part.slab.shape[2] == 1 else self._tiles(part) for part in parts]
        return [(own, own.max(1)) for own in scores]

    def _tiles(self, part: Part) -> Vectors:
        scores = np.empty((len(part.chosen), part.slab.shape[2]), np.float32)
        for start in range(0, len(part.chosen), _TILES_AT_ONCE):
            some = slice(start, start + _TILES_AT_ONCE)
            scores[some] = self._query @ part.slab[part.chosen[some]].astype(np.float32)
        return scores

    def _rows(self, part: Part) -> Vectors:
        scores = np.empty((len(part.chosen), 1), np.float32)
        for start in range(0, len(part.chosen), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            scores[some, 0] = part.slab[part.chosen[some], :, 0].astype(np.float32) @ self._query
        return scores


def kth_greatest(values: Vectors, k: int) -> float:
    """-inf where there are fewer than k."""
    return float(np.partition(values, len(values) - k)[len(values) - k]) if len(values) >= k else -np.inf
