"""The same search by others."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.measure import Step
from benchmarks.random_vectors import DIMENSION
from benchmarks.search_rows import Server
from clipcore.types import Vectors


def numpy_scan(server: Server, readable: frozenset[int], query: Vectors, hits: int) -> Step:
    inside = np.isin(server.channels, list(readable))
    rows = np.empty((int(inside.sum()), DIMENSION), np.float32)
    filled = 0
    for some, vectors in server.chunks():
        chosen = vectors[inside[some]]
        rows[filled : filled + len(chosen)] = chosen
        filled += len(chosen)

    def scan() -> object:
        scores = rows @ query
        best = np.argpartition(scores, -hits)[-hits:]
        return best[np.argsort(-scores[best])]

    return scan


def faiss_scan(server: Server, readable: frozenset[int], query: Vectors, hits: int) -> Step:
    """With faiss's quickest selector for many ids, a bitmap. It is made once, as the copy of the rows above is."""
    # Its own types do not know how its Python layer widens its constructors.
    faiss: Any = import_module("faiss")
    index = faiss.IndexScalarQuantizer(DIMENSION, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for _, vectors in server.chunks():
        index.add(vectors.astype(np.float32))
    bitmap = np.packbits(np.isin(server.channels, list(readable)), bitorder="little")
    selector = faiss.IDSelectorBitmap(bitmap)
    parameters = faiss.SearchParameters()
    parameters.sel = selector
    return lambda: index.search(query[None], hits, params=parameters)
