"""Approximate scores of many fp16 rows at memory speed, with a bound on their error.

Two implementations of `Scan`: the compiled kernel (_scan.c), and numpy where that was not built or does not run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clipcore.runtime.cores import usable_cores
from clipcore.types import Vectors

Float16 = npt.NDArray[np.float16]
Chunks = npt.NDArray[np.int64]
Used = npt.NDArray[np.uint8]

# fp16 rows of unit vectors exceed unit length by rounding alone: at most half a unit in the last place.
_MAX_LENGTH = 1 + 2.0**-11
_ROWS_AT_ONCE = 512


class Scan(Protocol):
    def __call__(self, slabs: Sequence[Float16], chunks: Chunks, used: Used, query: Vectors) -> tuple[Vectors, float]:
        """Scores of the rows in these chunks, float32 [n, rows of a chunk], and the most that one can be off.

        slabs: [chunks, rows of a chunk, dim] each, all of one shape. chunks: int64 [n], rising, numbered through all
        slabs. used: uint8 [chunks], how many rows of a chunk hold a vector; the others score -inf. query: [dim].
        """


def scan_numpy(slabs: Sequence[Float16], chunks: Chunks, used: Used, query: Vectors) -> tuple[Vectors, float]:
    slab_chunks, chunk_rows, dimension = slabs[0].shape
    scores = np.empty((len(chunks), chunk_rows), np.float32)
    starts = np.searchsorted(chunks, slab_chunks * np.arange(len(slabs) + 1)).tolist()
    at_once = max(1, _ROWS_AT_ONCE // chunk_rows)
    for number, (slab, first, end) in enumerate(zip(slabs, starts, starts[1:], strict=False)):
        for start in range(first, end, at_once):
            some = slice(start, min(start + at_once, end))
            rows = _to_float32(slab[chunks[some] - number * slab_chunks])
            scores[some] = (rows.reshape(-1, dimension) @ query).reshape(-1, chunk_rows)
    scores[np.arange(chunk_rows) >= used[chunks, None]] = -np.inf
    # If a library has set the processor to flush subnormal numbers, `_to_float32` loses what is below 2^-14.
    return scores, _sum_error(query) + 2.0**-14 * float(np.abs(query).sum())


def scan_compiled(slabs: Sequence[Float16], chunks: Chunks, used: Used, query: Vectors) -> tuple[Vectors, float]:
    scores = np.empty((len(chunks), slabs[0].shape[1]), np.float32)
    score(tuple(slabs), chunks, used, query, scores, THREADS)
    return scores, _sum_error(query)


def keeps_error_bound(scan: Scan) -> bool:
    """Whether this build errs by no more than it states: a compiler may have been told to be careless, and an older
    build may lie where a newer one failed.

    All numbers are positive, so that errors add up: sums kept in fp16 would be off by several times the bound.
    """
    random = np.random.default_rng(0)
    rows = random.random((256, 512), np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    query = rows.mean(0, dtype=np.float32)
    used = np.array([8, 5] * 16, np.uint8)
    filled = np.arange(8) < used[:, None]
    exact = (rows.astype(np.float64) @ query).reshape(32, 8)
    try:
        scores, error = scan([*rows.reshape(2, 16, 8, 512)], np.arange(32), used, query)
    except (TypeError, ValueError):
        return False
    return bool((np.abs(scores - exact)[filled] <= error).all() and np.isneginf(scores[~filled]).all())


def _sum_error(query: Vectors) -> float:
    """Products and sums in fp32, in any order, are off by at most (n + 1) x 2^-24 of the sum of their sizes (Higham
    2002, §4.2), which Cauchy-Schwarz bounds. A hundredth more covers the terms of second order.
    """
    return 1.01 * (len(query) + 1) * 2.0**-24 * float(np.linalg.norm(query)) * _MAX_LENGTH


def _to_float32(halves: Float16) -> Vectors:
    """As `astype` converts finite numbers, in an eighth of its time: sign and the other bits are moved to their place
    in a float32, whose exponent is 112 too small then.
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x7000_2000)  # 0x8FFF_E000: the sign was extended through the bits in between
    numbers: Vectors = bits.view(np.float32)
    numbers *= np.float32(2.0**112)
    return numbers


def _thread_count() -> int:
    """The first number of OMP_NUM_THREADS, which is for the outermost level, or else one for each core."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(wanted) if wanted.isdecimal() and int(wanted) else usable_cores(), MAX_THREADS)


try:
    from clipcore.index._scan import MAX_THREADS, score
except ImportError:  # not built, or not for this processor
    _compiled = False
else:
    THREADS = _thread_count()
    _compiled = keeps_error_bound(scan_compiled)

scan: Scan = scan_compiled if _compiled else scan_numpy
KERNEL = "compiled" if _compiled else "numpy"
