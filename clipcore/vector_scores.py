"""Approximate scores of many rows at the memory's speed, how far off they can be, and so which rows may be the best."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clipcore.types import Vectors
from clipcore.vector_rows import Halves, Places

Scores = npt.NDArray[np.float16] | npt.NDArray[np.float32]

# fp16 rows of unit vectors are longer than 1 by rounding alone, at most by half a unit in the last place.
LONGEST = 1 + 2.0**-11
# Scores are compared rounded to this many decimals, so that equal pictures tie whatever their rows' neighbours are.
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


class Scorer(Protocol):
    """Scores rows against the one query that it was made with."""

    @property
    def precision(self) -> Precision: ...

    def tiles(self, slab: Halves, chosen: Places, gaps: tuple[Places, Places]) -> tuple[Scores, Vectors]:
        """Scores [n, rows of a tile] of the chosen tiles, -inf at the gaps (tile among the chosen, row), and each
        tile's best [n]. slab: [tiles, dim, rows of a tile].
        """

    def rows(self, rows: Halves, chosen: Places) -> Vectors:
        """Scores [chosen] of the chosen among these rows [n, dim]."""


def scorer_for(query: Vectors) -> Scorer:
    """torch's kernels where the process has torch anyway, as the bot has. Importing it takes seconds, numpy's detour
    over fp32 a tenth of a second for 100,000 rows: who searches a folder once is served sooner without.
    """
    if "torch" in sys.modules:
        from clipcore.vector_torch import TorchScorer, keeps_its_precision

        if keeps_its_precision():
            return TorchScorer(query)
    return NumpyScorer(query)


class NumpyScorer:
    def __init__(self, query: Vectors) -> None:
        self._query = query
        self.precision = fp32_precision(query)

    def tiles(self, slab: Halves, chosen: Places, gaps: tuple[Places, Places]) -> tuple[Scores, Vectors]:
        scores = np.empty((len(chosen), slab.shape[2]), np.float32)
        for start in range(0, len(chosen), _TILES_AT_ONCE):
            some = slice(start, start + _TILES_AT_ONCE)
            scores[some] = self._query @ slab[chosen[some]].astype(np.float32)
        scores[gaps] = -np.inf
        return scores, scores.max(1)

    def rows(self, rows: Halves, chosen: Places) -> Vectors:
        scores = np.empty(len(chosen), np.float32)
        for start in range(0, len(chosen), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            scores[some] = rows[chosen[some]].astype(np.float32) @ self._query
        return scores


def kth_greatest(values: Vectors, k: int) -> float:
    """-inf where there are fewer than k."""
    return float(np.partition(values, len(values) - k)[len(values) - k]) if len(values) >= k else -np.inf
