"""Our own kernels (_scan.c) over fp16 rows in main memory. Importing this fails where they were not built."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import numpy as np

from clipcore._scan import score
from clipcore.cores import usable_cores
from clipcore.types import Vectors
from clipcore.vector_scores import Part, Scores, fp32_precision


class CompiledScorer:
    kernels = "compiled kernels"

    def __init__(self, query: Vectors) -> None:
        self._query = np.ascontiguousarray(query, np.float32)
        self.precision = fp32_precision(query)

    def score(self, parts: Sequence[Part]) -> list[tuple[Scores, Vectors]]:
        scores = [np.empty((len(part.chosen), part.slab.shape[2]), np.float32) for part in parts]
        heads = [np.empty(len(part.chosen), np.float32) for part in parts]
        score(
            [
                (part.slab, part.chosen, *both, part.slab.shape[2])
                for part, *both in zip(parts, scores, heads, strict=True)
            ],
            self._query,
            _threads(),
        )
        return list(zip(scores, heads, strict=True))


@cache
def _threads() -> int:
    """As many as torch would take: OMP_NUM_THREADS is somebody's word, and otherwise the cores decide."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) > 0 else usable_cores()
