"""Our own kernels (_scan.c) over fp16 rows in main memory. Importing this fails where they are not, or cannot run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import numpy as np

from clipcore._scan import INTERFACE, MOST_THREADS, score
from clipcore.runtime.cores import usable_cores
from clipcore.types import Vectors
from clipcore.vector_scores import Part, Scores, fp32_precision

if INTERFACE != 1:
    raise ImportError("clipcore._scan was built from another version's source; install Magpie again")


class CompiledScorer:
    kernels = "compiled kernels"

    def __init__(self, query: Vectors) -> None:
        self._query = np.ascontiguousarray(query, np.float32)
        self.precision = fp32_precision(query)

    def score(self, parts: Sequence[Part]) -> list[tuple[Scores, Vectors]]:
        found = [
            (np.empty((len(part.chosen), part.slab.shape[2]), np.float32), np.empty(len(part.chosen), np.float32))
            for part in parts
        ]
        score(tuple((*part, *own) for part, own in zip(parts, found, strict=True)), self._query, _threads())
        return [*found]


@cache
def _threads() -> int:
    """OMP_NUM_THREADS is somebody's word, of which the first number is for what is not within something else;
    otherwise the cores decide.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(said) if said.isdecimal() and int(said) else usable_cores(), MOST_THREADS)
