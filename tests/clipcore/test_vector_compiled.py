"""What is the kernels in C's own. What they compute is tested beside the others, in test_vector_index_exactness."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.vector_rows import Halves
from tests.clipcore.kernels import needs_compiled

DIMENSION, WIDTH, TILES = 5, 3, 4


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows' compiler knows no GNU C")
@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64", "arm64"}, reason="no kernels for this processor")
def test_the_kernels_were_built_where_there_is_a_compiler():
    assert "clipcore.vector_compiled" in chosen("import clipcore.vector_compiled")


def chosen(first: str) -> str:
    """Which scorer a new process takes after this statement."""
    code = f"{first}\nimport numpy, clipcore.vector_scores as s; print(type(s.scorer_for(numpy.ones(2, 'f'))))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_without_kernels_of_our_own_torch_scores_where_it_is_there_anyway_and_else_numpy():
    not_built = "import sys; sys.modules['clipcore._scan'] = None"
    assert "NumpyScorer" in chosen(not_built)
    assert "TorchScorer" in chosen(f"{not_built}; import torch")


@needs_compiled
@pytest.mark.parametrize(
    "wrong",
    [
        {"chosen": [-1]},
        {"chosen": [TILES]},
        {"scores": np.empty((1, WIDTH - 1), np.float32)},
        {"heads": np.empty(2, np.float32)},
        {"query": np.ones(DIMENSION + 1, np.float32), "slab": np.ones((1, DIMENSION, WIDTH), np.float16)},
        {"query": np.empty(0, np.float32)},
        {"width": 0},
        {"width": -WIDTH},
    ],
    ids=lambda wrong: ", ".join(wrong),
)
def test_what_does_not_fit_together_is_refused_before_anything_is_read(wrong):
    from clipcore._scan import score

    said = {
        "slab": np.ones((TILES, DIMENSION, WIDTH), np.float16),
        "chosen": [TILES - 1],
        "scores": np.empty((1, WIDTH), np.float32),
        "heads": np.empty(1, np.float32),
        "width": WIDTH,
        "query": np.ones(DIMENSION, np.float32),
        **wrong,
    }
    part = (said["slab"], np.array(said["chosen"], np.int64), said["scores"], said["heads"], said["width"])
    with pytest.raises(ValueError, match="do not fit together"):
        score([part], said["query"], 2)


@needs_compiled
def test_a_part_that_is_refused_leaves_the_memory_of_all_parts_free():
    """A buffer that is not released could never be resized again."""
    from clipcore._scan import score

    slab, memory = np.ones((1, DIMENSION, 1), np.float16), bytearray(4)
    good = (slab, np.zeros(1, np.int64), memory, np.empty(1, np.float32), 1)
    bad = (slab, np.ones(1, np.int64), bytearray(4), np.empty(1, np.float32), 1)
    with pytest.raises(ValueError, match="do not fit together"):
        score([good, bad], np.ones(DIMENSION, np.float32), 1)
    memory.extend(b"more")


@needs_compiled
@given(
    dimension=st.integers(1, 70),
    width=st.sampled_from([1, 3, 8, 17, 128]),
    tiles=st.integers(1, 40),
    threads=st.integers(-1, 80),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_tiles_of_any_shape_are_scored_alike_by_any_number_of_threads(dimension, width, tiles, threads, seed):
    from clipcore._scan import score

    random = np.random.default_rng(seed)
    slab: Halves = random.normal(size=(tiles, dimension, width)).astype(np.float16)
    chosen, query = random.integers(0, tiles, 50), random.normal(size=dimension).astype(np.float32)
    scores, heads = np.full((50, width), np.nan, np.float32), np.full(50, np.nan, np.float32)
    score([(slab, chosen, scores, heads, width)], query, threads)
    truly = np.einsum("d,ndw->nw", query.astype(np.float64), slab[chosen].astype(np.float64))
    assert np.allclose(scores, truly, rtol=0, atol=1e-5 * dimension)
    assert (heads == scores.max(1)).all()


@needs_compiled
@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("", None), ("4,2", None), ("0", None)])
def test_omp_num_threads_is_somebodys_word(said, threads):
    code = "import clipcore.cores as c, clipcore.vector_compiled as v; print(v._threads(), c.usable_cores())"
    environment = {**os.environ, "OMP_NUM_THREADS": said}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    ours, cores = map(int, done.stdout.split())
    assert ours == (threads or cores)
