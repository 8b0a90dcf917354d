"""What a slab takes from the system, and that it gives it back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from clipcore.vector_slab import Slab

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells in /proc what a process holds.")

DIMENSION, TILE_ROWS, TILES = 512, 128, 512
SIZE = 2 * DIMENSION * TILE_ROWS * TILES  # 64 MiB


def resident() -> int:
    """Bytes of memory that this process has been given."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_reading_what_was_never_written_takes_no_memory():
    before = resident()
    slab = Slab(TILES, DIMENSION, TILE_ROWS)
    assert not slab.tiles.view(np.uint64).any()
    assert resident() - before < SIZE / 4


def test_a_dropped_slab_gives_its_memory_back():
    before = resident()
    slab = Slab(TILES, DIMENSION, TILE_ROWS)
    rows = np.ones((TILE_ROWS, DIMENSION), np.float16)
    for tile in range(TILES):
        slab.put(0, np.arange(TILE_ROWS) + tile * TILE_ROWS, rows)
    assert resident() - before > SIZE * 0.9
    del slab
    assert resident() - before < SIZE / 4
