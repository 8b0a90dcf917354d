"""Answers are those of exact arithmetic, whichever kernels score and wherever the rows lie."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.types import SearchHit, Vectors
from clipcore.vector_device import DeviceRows
from clipcore.vector_index import VectorIndex
from clipcore.vector_rows import Halves, Rows
from clipcore.vector_scores import NumpyScorer, Part, Scorer, keeps_its_precision
from clipcore.vector_tiles import HostRows
from tests.clipcore.kernels import SCORERS

DIMENSION = 64
GROUPS = 3


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def near_ties(random: np.random.Generator, count: int, spread: float) -> tuple[Vectors, Halves]:
    """A query, and fp16 rows whose scores lie about as close together as `spread`: what approximate scores mix up."""
    query = unit(random.normal(size=DIMENSION))
    side = random.normal(size=(count, DIMENSION))
    side = unit(side - np.outer(side @ query, query))
    cosines = random.uniform(-0.8, 0.8) + spread * random.random((count, 1))
    return query, unit(cosines * query + np.sqrt(1 - cosines**2) * side).astype(np.float16)


def exactly(query: Vectors, rows: Halves, groups: np.ndarray, k: int, allowed: set[int] | None) -> list[SearchHit]:
    scores = np.round(rows.astype(np.float64) @ query.astype(np.float64), 6)
    hits = [
        SearchHit(key, float(score))
        for key, (group, score) in enumerate(zip(groups.tolist(), scores, strict=True))
        if allowed is None or group in allowed
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.key))[:k]


# The processor stands in for a GPU: the same code runs on either.
PLACES: dict[str, Callable[[], Rows]] = {
    **{f"tiles by {name}": partial(HostRows, DIMENSION, 8, scorer) for name, scorer in SCORERS.items()},
    **{f"one heap by {name}": partial(HostRows, DIMENSION, 10_000, scorer) for name, scorer in SCORERS.items()},
    "device": lambda: DeviceRows(DIMENSION, "cpu"),
}


@pytest.fixture(params=PLACES.values(), ids=PLACES.keys())
def index(request: pytest.FixtureRequest) -> VectorIndex:
    return VectorIndex(DIMENSION, rows=request.param())


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-4, 1e-3, 1e-1])
@pytest.mark.parametrize("seed", range(6))
def test_near_ties_come_in_their_exact_order(index, seed, spread):
    random = np.random.default_rng(seed)
    query, rows = near_ties(random, 400, spread)
    groups = random.integers(0, GROUPS, len(rows))
    index.add(np.arange(len(rows)), groups, rows)
    for k in (1, 7, 60, 500):
        for allowed in (None, {0}, {0, 2}, {9}):
            assert index.search(query, k, allowed) == exactly(query, rows, groups, k, allowed)


def test_what_is_added_replaced_and_discarded_is_found_as_it_is_now(index):
    random = np.random.default_rng(1)
    query, rows = near_ties(random, 600, 0.5)
    groups = random.integers(0, GROUPS, len(rows))
    index.add(np.arange(600), groups, rows)
    moved = random.permutation(600)[:150]
    groups[moved] = (groups[moved] + 1) % GROUPS
    rows[moved] = rows[moved[::-1]]
    index.add(moved, groups[moved], rows[moved])
    gone = random.permutation(600)[:250]
    assert index.discard(gone.tolist()) == 250
    assert len(index) == 350
    left = np.setdiff1d(np.arange(600), gone)
    expected = [
        SearchHit(int(left[hit.key]), hit.score) for hit in exactly(query, rows[left], groups[left], 40, {0, 1})
    ]
    assert index.search(query, 40, {0, 1}) == expected
    assert all(key in index for key in left.tolist())
    assert not any(key in index for key in gone.tolist())


def test_images_that_all_point_away_are_found_all_the_same(index):
    """What a discarded row leaves scores nothing, which is more than they do."""
    query = unit(np.ones(DIMENSION))
    rows = unit(-query + np.random.default_rng(0).normal(scale=0.01, size=(100, DIMENSION))).astype(np.float16)
    index.add(np.arange(100), np.zeros(100, np.int64), rows)
    index.discard([3, 50, 97])
    assert {hit.key for hit in index.search(query, 97)} == set(range(100)) - {3, 50, 97}


@pytest.mark.parametrize("gone", [[5], [49], range(50)])
def test_a_discarded_vector_is_overwritten(index, gone):
    rows = unit(np.random.default_rng(0).normal(size=(50, DIMENSION))).astype(np.float16)
    index.add(np.arange(50), np.zeros(50, np.int64), rows)
    assert all(rows[key].tobytes() in b"".join(memories(index)) for key in gone)
    index.discard(gone)
    assert not any(rows[key].tobytes() in memory for memory in memories(index) for key in gone)


def memories(index: VectorIndex) -> list[bytes]:
    rows = index._rows
    if isinstance(rows, DeviceRows):
        return [rows._rows.numpy().tobytes()]
    slabs = [slab.tiles.transpose(0, 2, 1).tobytes() for slab in rows._slabs]
    return [*slabs, rows._heap._rows.tobytes()]


@given(seed=st.integers(0, 2**32 - 1), sign=st.sampled_from([-1.0, 1.0]), skew=st.floats(0, 6))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("make", SCORERS.values(), ids=SCORERS.keys())
def test_no_approximate_score_is_further_off_than_it_says(make, seed, sign, skew):
    """Also where a few numbers outweigh all others, and where all have one sign, so that errors add up."""
    random = np.random.default_rng(seed)
    query = unit(np.abs(random.normal(size=512)) ** (1 + skew))
    rows = unit(sign * np.abs(random.normal(size=(256, 512))) ** (1 + skew)).astype(np.float16)
    scorer: Scorer = make(query)
    truly = rows.astype(np.float64) @ query.astype(np.float64)
    allowed = scorer.precision.absolute + scorer.precision.relative * np.abs(truly)
    tiles = np.ascontiguousarray(rows.reshape(2, 128, 512).transpose(0, 2, 1))
    one_by_one = rows[:, :, None]
    some = np.array([3, 4, 200])
    parts = [Part(tiles, np.arange(2)), Part(one_by_one, np.arange(256)), Part(one_by_one, some), Part(tiles, some[:0])]
    by_tile, by_row, by_few, by_none = scorer.score(parts)
    assert (np.abs(by_tile[0].reshape(-1) - truly) <= allowed).all()
    assert (by_tile[1] == by_tile[0].max(1)).all()
    assert (np.abs(by_row[0][:, 0] - truly) <= allowed).all()
    assert (np.abs(by_few[1] - truly[some]) <= allowed[some]).all()
    assert by_none[0].shape == (0, 128)


@pytest.mark.parametrize("make", SCORERS.values(), ids=SCORERS.keys())
def test_these_builds_sum_as_exactly_as_is_assumed_of_them(make):
    assert keeps_its_precision(make)


def test_kernels_that_err_by_more_than_they_say_are_not_taken():
    class Sloppy(NumpyScorer):
        def score(self, parts):
            return [(scores.astype(np.float16), heads) for scores, heads in super().score(parts)]

    assert not keeps_its_precision(Sloppy)


@pytest.mark.parametrize("allowed", [True, False])
def test_what_a_search_on_a_device_sets_for_the_whole_process_is_set_back(allowed):
    index = VectorIndex(DIMENSION, rows=DeviceRows(DIMENSION, "cpu"))
    index.add([1], [1], unit(np.ones((1, DIMENSION))))
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = allowed
    try:
        index.search(unit(np.ones(DIMENSION)), 1)
        assert torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction is allowed
    finally:
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True


def test_a_read_only_query_is_taken():
    index = VectorIndex(DIMENSION)
    rows = unit(np.ones((1, DIMENSION)))
    index.add([1], [1], rows)
    query = np.frombuffer(rows.tobytes(), np.float32)
    assert [hit.key for hit in index.search(query, 1)] == [1]
