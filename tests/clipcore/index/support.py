"""What the tests of the index share: every scan that runs here, and a storage small enough to overflow often."""

from __future__ import annotations

import pytest

from clipcore.index.scan import Scan, scan_compiled, scan_numpy
from clipcore.index.storage import Storage
from clipcore.index.vector_index import VectorIndex

SCANS: dict[str, Scan] = {"numpy": scan_numpy}
try:
    import clipcore.index._scan  # noqa: F401
except ImportError:
    pass
else:
    SCANS["compiled"] = scan_compiled

needs_compiled = pytest.mark.skipif("compiled" not in SCANS, reason="the compiled kernel was not built")


class SmallStorage(Storage):
    """Slabs of 24 rows, the first of 12 at first; from 24 rows on, a group takes two chunks at once."""

    chunk_rows, run_chunks = 3, 2
    slab_chunks, first_slab_chunks = 8, 4


def small_index(dimension: int) -> VectorIndex:
    index = VectorIndex(dimension)
    index._storage = SmallStorage(dimension)
    return index
