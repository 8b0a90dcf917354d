"""The two scans, their error bound, and which of them is chosen."""

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

from clipcore.index.scan import _sum_error, _to_float32, keeps_error_bound, scan_numpy
from tests.clipcore.index.support import SCANS, needs_compiled

DIMENSION, ROWS, CHUNKS = 5, 3, 4
each_scan = pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS.keys())


def kernel_can_be_built() -> bool:
    if shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return False
    features = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and features.is_file() and {"avx2", "fma"} <= {*features.read_text().split()}


def chosen_after(statement: str) -> str:
    """The scan that a new process chooses after this statement."""
    code = f"{statement}\nimport clipcore.index.scan as s; print(s.scan.__name__, s.KERNEL)"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not kernel_can_be_built(), reason="no C compiler, no Python.h, or a processor without AVX2")
def test_the_compiled_kernel_is_built_and_chosen_where_it_can_be():
    assert chosen_after("pass") == "scan_compiled compiled"


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        ("None", "is not built"),
        ("SimpleNamespace(MAX_THREADS=1, score=lambda *arrays: None)", "computes nonsense"),
        ("SimpleNamespace(MAX_THREADS=1, score=lambda slabs: None)", "takes other arguments"),
        ("SimpleNamespace(score=None)", "is of another version"),
    ],
    ids=lambda value: value.replace(" ", "_"),
)
def test_numpy_scans_where_the_kernel(kernel, reason):
    code = f"import sys; from types import *; sys.modules['clipcore.index._scan'] = {kernel}"
    assert chosen_after(code) == "scan_numpy numpy"


@each_scan
def test_this_build_keeps_its_error_bound(scan):
    assert keeps_error_bound(scan)


def test_a_scan_that_sums_in_fp16_does_not_keep_its_error_bound():
    def sloppy(slabs, chunks, used, query):
        scores, _ = scan_numpy(slabs, chunks, used, query)
        return scores.astype(np.float16), _sum_error(query)

    assert not keeps_error_bound(sloppy)


@given(seed=st.integers(0, 2**32 - 1), sign=st.sampled_from([-1.0, 1.0]), skew=st.floats(0, 6))
@settings(max_examples=60, deadline=None)
@each_scan
def test_no_score_is_further_off_than_stated(scan, seed, sign, skew):
    """Even where a few numbers outweigh all others, and where all have one sign, so that errors add up."""
    random = np.random.default_rng(seed)
    query = unit(np.abs(random.normal(size=512)) ** (1 + skew))
    rows = unit(sign * np.abs(random.normal(size=(256, 512))) ** (1 + skew)).astype(np.float16)
    scores, error = scan([rows.reshape(32, 8, 512)], np.arange(32), np.full(32, 8, np.uint8), query)
    assert (np.abs(scores.reshape(-1) - rows.astype(np.float64) @ query.astype(np.float64)) <= error).all()


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@given(
    dimension=st.integers(1, 70),
    rows=st.integers(1, 9),
    slab_chunks=st.integers(1, 40),
    slabs=st.integers(1, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
@each_scan
def test_chunks_of_any_shape_are_scored(scan, dimension, rows, slab_chunks, slabs, share, seed):
    random = np.random.default_rng(seed)
    arena = random.normal(size=(slabs * slab_chunks, rows, dimension)).astype(np.float16)
    chunks = np.flatnonzero(random.random(len(arena)) <= share)
    used = random.integers(0, rows + 1, len(arena)).astype(np.uint8)
    query = random.normal(size=dimension).astype(np.float32)
    scores, _ = scan([*arena.reshape(slabs, slab_chunks, rows, dimension)], chunks, used, query)
    exact = np.where(np.arange(rows) < used[:, None], arena.astype(np.float64) @ query.astype(np.float64), -np.inf)
    assert scores.dtype == np.float32
    assert np.allclose(scores, exact[chunks], rtol=0, atol=1e-5 * dimension)


def test_the_bound_covers_one_long_sum_whose_roundings_all_go_one_way():
    """The worst order there is; its error comes within a quarter of the bound."""
    worst = 0.0
    for seed in range(100):
        random = np.random.default_rng(seed)
        row = unit(np.full(512, random.uniform(0.5, 1))).astype(np.float16)
        query = np.full(512, 512**-0.5 * random.uniform(0.9, 1), np.float32)
        score = np.add.accumulate(row.astype(np.float32) * query, dtype=np.float32)[-1]
        exact = float(row.astype(np.float64) @ query.astype(np.float64))
        worst = max(worst, abs(float(score) - exact) / _sum_error(query))
    assert 0.2 < worst <= 1


def test_every_finite_float16_converts_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    assert (_to_float32(halves) == halves.astype(np.float32)).all()
    assert (np.signbit(_to_float32(halves)) == np.signbit(halves)).all()


def test_the_bound_of_numpy_covers_a_processor_that_flushes_subnormal_numbers():
    """As it does in any process that has loaded a library built with -ffast-math."""
    rows = np.full((1, 1, 512), 2.0**-14 - 2.0**-24, np.float16)
    query = np.full(512, 512**-0.5, np.float32)
    _, error = scan_numpy([rows], np.arange(1), np.ones(1, np.uint8), query)
    assert float((rows[0, 0].astype(np.float64) * query).sum()) <= error


def arguments(threads: int = 2, **changed: Any) -> tuple[Any, ...]:
    """A scan of the last of some chunks."""
    usual = {
        "slab": np.ones((CHUNKS, ROWS, DIMENSION), np.float16),
        "chunks": np.array([CHUNKS - 1]),
        "used": np.full(CHUNKS, ROWS, np.uint8),
        "query": np.ones(DIMENSION, np.float32),
        "scores": np.empty((1, ROWS), np.float32),
    }
    slab, *others = {**usual, **changed}.values()
    return (slab,), *others, threads


@needs_compiled
@pytest.mark.parametrize(
    "wrong",
    [
        {"chunks": np.array([-1])},
        {"chunks": np.array([CHUNKS])},
        {"chunks": np.array([0], np.int32)},
        {"chunks": np.array([[0]])},
        {"used": np.full(CHUNKS, ROWS + 1, np.uint8)},
        {"used": np.full(CHUNKS - 1, ROWS, np.uint8)},
        {"used": np.full(CHUNKS + 1, ROWS, np.uint8)},
        {"used": np.full(CHUNKS, ROWS)},
        {"slab": np.ones((CHUNKS, ROWS, DIMENSION), np.float32)},
        {"slab": np.ones((CHUNKS, ROWS, DIMENSION + 1), np.float16)},
        {"slab": np.ones((CHUNKS, DIMENSION, ROWS), np.float16).transpose(0, 2, 1)},
        {"slab": np.ones((CHUNKS, ROWS * DIMENSION), np.float16)},
        {"query": np.ones(DIMENSION + 1, np.float32)},
        {"query": np.ones(DIMENSION)},
        {"scores": np.empty((1, ROWS - 1), np.float32)},
        {"scores": np.empty((2, ROWS), np.float32)},
        {"scores": np.empty((1, ROWS))},
        {"scores": np.frombuffer(bytes(4 * ROWS), np.float32)[None]},
    ],
    ids=lambda wrong: f"{[*wrong][0]} {[*wrong.values()][0].shape} {[*wrong.values()][0].dtype}",
)
def test_the_kernel_refuses_arrays_that_do_not_fit_before_it_reads_them(wrong):
    from clipcore.index._scan import score

    score(*arguments())
    with pytest.raises(ValueError, match=r"expected|fit together|does not exist|contiguous|read-only"):
        score(*arguments(**wrong))


@needs_compiled
def test_the_kernel_refuses_slabs_of_different_shapes_and_no_slabs():
    from clipcore.index._scan import score

    _, *others = arguments(used=np.zeros(0, np.uint8), chunks=np.zeros(0, np.int64))
    first = np.ones((CHUNKS, ROWS, DIMENSION), np.float16)
    with pytest.raises(ValueError, match="differ in shape"):
        score((first, first[:1]), *others)
    with pytest.raises(ValueError, match="at least one slab"):
        score((), *others)
    with pytest.raises(TypeError):
        score([first], *others)


@needs_compiled
@pytest.mark.parametrize("wrong", [{}, {"chunks": np.array([CHUNKS])}, {"scores": np.empty(1)}])
def test_the_kernel_releases_every_array_whether_it_refuses_them_or_not(wrong):
    """Memory that is still exported cannot be released by its owner."""
    from clipcore.index._scan import score

    used, scores = bytearray(b"\3" * CHUNKS), memoryview(bytearray(4 * ROWS)).cast("B").cast("f", (1, ROWS))
    exported = memoryview(used)
    with suppress(ValueError):
        score(*arguments(**{"used": exported, "scores": scores, **wrong}))
    for memory in (exported, scores):
        memory.release()
    used.append(0)


@needs_compiled
@pytest.mark.parametrize("threads", [-1, 0, 1, 2, 80])
def test_any_number_of_threads_scores_every_chunk(threads):
    from clipcore.index._scan import score

    random = np.random.default_rng(0)
    slab = random.normal(size=(64, ROWS, 512)).astype(np.float16)
    chunks = random.integers(0, 64, 5000)  # 15 MB, so more than one portion
    scores = np.full((len(chunks), ROWS), np.nan, np.float32)
    query = random.normal(size=512).astype(np.float32)
    score((slab,), chunks, np.full(64, ROWS, np.uint8), query, scores, threads)
    assert np.allclose(scores, (slab.astype(np.float64) @ query)[chunks], rtol=0, atol=1e-2)


@needs_compiled
def test_a_large_scan_is_shared_among_threads():
    """Seen by the processor time that threads other than the caller's take."""
    from clipcore.index._scan import score

    slab, chunks = np.ones((1000, 8, 512), np.float16), np.tile(np.arange(1000), 400)
    scores, query = np.empty((len(chunks), 8), np.float32), np.ones(512, np.float32)
    elsewhere = []
    for threads in (1, 4):
        of_all, of_this = process_time(), thread_time()
        score((slab,), chunks, np.full(1000, 8, np.uint8), query, scores, threads)
        elsewhere.append((process_time() - of_all) - (thread_time() - of_this))
    assert elsewhere[1] > 2 * abs(elsewhere[0])


@needs_compiled
@pytest.mark.parametrize(
    ("value", "threads"), [("3", 3), (" 4,2", 4), ("", None), ("0", None), ("many", None), ("9" * 30, 64)]
)
def test_omp_num_threads_sets_the_number_of_threads(value, threads):
    code = "from clipcore.index.scan import THREADS, usable_cores; print(THREADS, usable_cores())"
    environment = {**os.environ, "OMP_NUM_THREADS": value}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    ours, cores = map(int, done.stdout.split())
    assert ours == (threads or cores)
