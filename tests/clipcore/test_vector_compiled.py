"""What is the kernels in C's own. What they compute is tested beside the others, in test_vector_index_exactness."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from time import process_time, thread_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.vector_rows import Halves
from tests.clipcore.kernels import needs_compiled

DIMENSION, WIDTH, TILES = 5, 3, 4


def could_be_built() -> bool:
    """Where kernels that are missing have been forgotten, and not been given up for a reason."""
    if shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return False
    features = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and features.is_file() and {"avx2", "fma"} <= {*features.read_text().split()}


@pytest.mark.skipif(not could_be_built(), reason="no C compiler, no Python.h, or a processor without AVX2")
def test_the_kernels_were_built_where_they_can_be():
    assert taken("pass") == "CompiledScorer"


def taken(first: str) -> str:
    """Which scorer a new process takes after this statement."""
    code = f"{first}\nimport clipcore.vector_scores as s; print(s.quickest_scorer().__name__)"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_without_kernels_of_our_own_torch_scores_where_it_is_there_anyway_and_else_numpy():
    not_built = "import sys; sys.modules['clipcore._scan'] = None"
    assert taken(not_built) == "NumpyScorer"
    assert taken(f"{not_built}; import torch") == "TorchScorer"


@pytest.mark.parametrize("interface", [0, 1], ids=["of another version", "that compute nonsense"])
def test_kernels_are_not_taken(interface):
    kernels = f"SimpleNamespace(INTERFACE={interface}, MOST_THREADS=1, score=lambda parts, query, threads: None)"
    assert taken(f"import sys; from types import *; sys.modules['clipcore._scan'] = {kernels}") == "NumpyScorer"


def a_part(**other: Any) -> tuple[Any, ...]:
    """The last of some tiles, and where its scores go."""
    part = {
        "slab": np.ones((TILES, DIMENSION, WIDTH), np.float16),
        "chosen": np.array([TILES - 1]),
        "scores": np.empty((1, WIDTH), np.float32),
        "heads": np.empty(1, np.float32),
    }
    return tuple({**part, **other}.values())


@needs_compiled
@pytest.mark.parametrize(
    "wrong",
    [
        {"chosen": np.array([-1])},
        {"chosen": np.array([TILES])},
        {"chosen": np.array([0], np.int32)},
        {"chosen": np.array([[0]])},
        {"slab": np.ones((TILES, DIMENSION, WIDTH), np.float32)},
        {"slab": np.ones((TILES, DIMENSION + 1, WIDTH), np.float16)},
        {"slab": np.ones((TILES, WIDTH, DIMENSION), np.float16).transpose(0, 2, 1)},
        {"slab": np.ones((TILES, DIMENSION * WIDTH), np.float16)},
        {"scores": np.empty((1, WIDTH - 1), np.float32)},
        {"scores": np.empty((2, WIDTH), np.float32)},
        {"scores": np.frombuffer(bytes(4 * WIDTH), np.float32)[None]},
        {"heads": np.empty(2, np.float32)},
        {"heads": np.empty(1)},
    ],
    ids=lambda wrong: f"{[*wrong][0]} {[*wrong.values()][0].shape} {[*wrong.values()][0].dtype}",
)
def test_what_does_not_fit_together_is_refused_before_anything_is_read(wrong):
    from clipcore._scan import score

    score((a_part(),), np.ones(DIMENSION, np.float32), 2)
    with pytest.raises(ValueError, match=r"expected|fit together|not among|contiguous|read-only"):
        score((a_part(**wrong),), np.ones(DIMENSION, np.float32), 2)


@needs_compiled
@pytest.mark.parametrize("part", [(), [*range(4)], (1, 2, 3, 4), None])
def test_what_is_no_part_is_refused(part):
    from clipcore._scan import score

    with pytest.raises(TypeError):
        score((part,), np.ones(DIMENSION, np.float32), 2)


@needs_compiled
@pytest.mark.parametrize("wrong", [{}, {"chosen": np.array([TILES])}, {"heads": np.empty(1)}])
def test_what_was_taken_is_given_back_whether_it_was_refused_or_not(wrong):
    """Memory that somebody still holds cannot be let go by its owner."""
    from clipcore._scan import score

    held = [memoryview(bytearray(4 * WIDTH)).cast("B").cast("f", (1, WIDTH)) for _ in range(2)]
    with suppress(ValueError):
        score((a_part(scores=held[0]), a_part(scores=held[1], **wrong)), np.ones(DIMENSION, np.float32), 2)
    for memory in held:
        memory.release()


@needs_compiled
@given(
    dimension=st.integers(1, 70),
    widths=st.lists(st.sampled_from([1, 3, 8, 17, 128]), min_size=1, max_size=3),
    tiles=st.integers(1, 12),
    threads=st.integers(-1, 80),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_tiles_of_any_shape_are_scored_alike_by_any_number_of_threads(dimension, widths, tiles, threads, seed):
    """So many are chosen that many of the examples are shared among threads."""
    from clipcore._scan import score

    random = np.random.default_rng(seed)
    query = random.normal(size=dimension).astype(np.float32)
    parts, expected = [], []
    for width in widths:
        slab: Halves = random.normal(size=(tiles, dimension, width)).astype(np.float16)
        chosen = random.integers(0, tiles, 1000)
        scores, heads = np.full((1000, width), np.nan, np.float32), np.full(1000, np.nan, np.float32)
        parts.append((slab, chosen, scores, heads))
        expected.append(np.einsum("d,ndw->nw", query.astype(np.float64), slab.astype(np.float64))[chosen])
    score(tuple(parts), query, threads)
    for (_, _, scores, heads), truly in zip(parts, expected, strict=True):
        assert np.allclose(scores, truly, rtol=0, atol=1e-5 * dimension)
        assert (heads == scores.max(1)).all()


@needs_compiled
def test_a_search_large_enough_is_shared_among_threads():
    """Seen by the processor time that threads other than the one that asks have taken."""
    from clipcore._scan import score

    slab = np.ones((64, 512, 128), np.float16)
    chosen = np.tile(np.arange(64), 400)
    part = (slab, chosen, np.empty((len(chosen), 128), np.float32), np.empty(len(chosen), np.float32))
    elsewhere = []
    for threads in (1, 4):
        of_all, of_this = process_time(), thread_time()
        score((part,), np.ones(512, np.float32), threads)
        elsewhere.append((process_time() - of_all) - (thread_time() - of_this))
    assert elsewhere[1] > 2 * abs(elsewhere[0])


@needs_compiled
@pytest.mark.parametrize(
    ("said", "threads"), [("3", 3), (" 4,2", 4), ("", None), ("0", None), ("many", None), ("9" * 30, 64)]
)
def test_omp_num_threads_is_somebodys_word(said, threads):
    code = "import clipcore.runtime.cores as c, clipcore.vector_compiled as v; print(v._threads(), c.usable_cores())"
    environment = {**os.environ, "OMP_NUM_THREADS": said}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    ours, cores = map(int, done.stdout.split())
    assert ours == (threads or cores)
