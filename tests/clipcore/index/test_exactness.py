"""Answers are those of exact arithmetic, whichever scan runs and wherever the rows lie."""

from __future__ import annotations

import numpy as np
import pytest

from clipcore.index import vector_index
from clipcore.index.scan import Float16, scan_numpy
from clipcore.index.vector_index import VectorIndex
from clipcore.types import SearchHit, Vectors
from tests.clipcore.index.support import SCANS, small_index

DIMENSION = 64
GROUPS = 3


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def near_ties(random: np.random.Generator, count: int, spread: float) -> tuple[Vectors, Float16]:
    """A query, and fp16 rows whose scores lie about as close together as `spread`: what approximate scores mix up."""
    query = unit(random.normal(size=DIMENSION))
    side = random.normal(size=(count, DIMENSION))
    side = unit(side - np.outer(side @ query, query))
    cosines = random.uniform(-0.8, 0.8) + spread * random.random((count, 1))
    return query, unit(cosines * query + np.sqrt(1 - cosines**2) * side).astype(np.float16)


def exactly(query: Vectors, rows: Float16, groups: np.ndarray, k: int, allowed: set[int] | None) -> list[SearchHit]:
    scores = np.round(rows.astype(np.float64) @ query.astype(np.float64), 6)
    hits = [
        SearchHit(key, float(score))
        for key, (group, score) in enumerate(zip(groups.tolist(), scores, strict=True))
        if allowed is None or group in allowed
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.key))[:k]


@pytest.fixture(params=SCANS.values(), ids=SCANS.keys())
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "scan", request.param)


@pytest.fixture(params=[VectorIndex, small_index], ids=["usual slabs", "small slabs"])
def index(request: pytest.FixtureRequest, scan: None) -> VectorIndex:
    return request.param(DIMENSION)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-4, 1e-3, 1e-1])
@pytest.mark.parametrize("seed", range(6))
def test_near_ties_come_in_their_exact_order(index, seed, spread):
    random = np.random.default_rng(seed)
    query, rows = near_ties(random, 400, spread)
    groups = random.integers(0, GROUPS, len(rows))
    index.add(rows, np.arange(len(rows)), groups)
    for k in (1, 7, 60, 500):
        for allowed in (None, {0}, {0, 2}, {9}):
            assert index.search(query, k, allowed) == exactly(query, rows, groups, k, allowed)


@pytest.mark.parametrize("share", [0.002, 0.1, 0.9])
def test_a_search_of_some_keys_is_exact_among_them_and_full(index, share):
    """Keys that are unknown, or of other groups, are as if they were not given; those given twice count once."""
    random = np.random.default_rng(7)
    query, rows = near_ties(random, 500, 1e-3)
    groups = random.integers(0, GROUPS, len(rows))
    index.add(rows, np.arange(len(rows)), groups)
    some = random.permutation(500)[: max(1, int(share * 500))]
    given = np.concatenate([some, some[:3], [10_000, -5]]).astype(np.int64)
    for allowed in (None, {0, 2}):
        held = np.array(sorted(key for key in some.tolist() if allowed is None or groups[key] in allowed), int)
        for k in (1, 20, 600):
            hits = exactly(query, rows[held], groups[held], k, None)
            expected = [SearchHit(int(held[hit.key]), hit.score) for hit in hits]
            assert index.search(query, k, allowed, given) == expected
    assert index.search(query, 5, keys=np.empty(0, np.int64)) == []


def test_vectors_are_given_in_the_order_of_their_keys_and_zeros_for_what_is_unknown(index):
    random = np.random.default_rng(8)
    _, rows = near_ties(random, 300, 0.1)
    index.add(rows, np.arange(300), random.integers(0, GROUPS, 300))
    index.discard([17])
    wanted = [200, 3, 999, 17, 4, 250]
    zeros = np.zeros(DIMENSION, np.float16)
    expected = np.stack([rows[200], rows[3], zeros, zeros, rows[4], rows[250]])
    assert np.array_equal(index.vectors(wanted), expected)
    assert index.vectors([]).shape == (0, DIMENSION)


@pytest.mark.parametrize("error", [1e-5, 1e-3, 0.1])
def test_answers_are_exact_with_any_scan_that_keeps_its_bound(monkeypatch, error):
    """Each score is off by nearly the bound: good ones seem worse, bad ones better."""
    random = np.random.default_rng(5)
    query, rows = near_ties(random, 500, 2 * error)
    exact = rows.astype(np.float64) @ query.astype(np.float64)

    def scan(slabs, chunks, used, query):
        scores, exactly = scan_numpy(slabs, chunks, used, query)
        return scores - np.float32(error) * np.sign(scores - np.float32(np.median(exact))), error + exactly

    monkeypatch.setattr(vector_index, "scan", scan)
    index = VectorIndex(DIMENSION)
    index.add(rows)
    for k in (1, 20, 100):
        assert index.search(query, k) == exactly(query, rows, np.zeros(500, int), k, None)


def test_what_is_added_replaced_and_discarded_is_found_as_it_is_now(index):
    random = np.random.default_rng(1)
    query, rows = near_ties(random, 600, 0.5)
    groups = random.integers(0, GROUPS, len(rows))
    index.add(rows, np.arange(600), groups)
    moved = random.permutation(600)[:150]
    groups[moved] = (groups[moved] + 1) % GROUPS
    rows[moved] = rows[moved[::-1]]
    index.add(rows[moved], moved, groups[moved])
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


def test_images_that_all_point_away_from_the_query_are_found(index):
    """The zeros that a removed row leaves would score more than they do."""
    query = unit(np.ones(DIMENSION))
    rows = unit(-query + np.random.default_rng(0).normal(scale=0.01, size=(100, DIMENSION))).astype(np.float16)
    index.add(rows, np.arange(100))
    index.discard([3, 50, 97])
    assert {hit.key for hit in index.search(query, 97)} == set(range(100)) - {3, 50, 97}


def test_a_query_of_any_length_ranks_exactly(index):
    """The bound follows the query's length."""
    random = np.random.default_rng(3)
    query, rows = near_ties(random, 300, 1e-4)
    index.add(rows)
    for scale in (1e-3, 30.0):
        scaled = (scale * query).astype(np.float32)
        assert index.search(scaled, 40) == exactly(scaled, rows, np.zeros(300, int), 40, None)
