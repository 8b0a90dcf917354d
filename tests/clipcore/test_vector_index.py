from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clipcore.types import SearchHit
from clipcore.vector_index import VectorIndex
from clipcore.vector_tiles import HostRows

DIMENSION = 6


def unit(seed: int) -> np.ndarray:
    """float32 [DIMENSION], unit length; some seeds share a vector, so that ties happen."""
    vector = np.random.default_rng(seed % 23).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def keys(hits: list[SearchHit]) -> list[int]:
    return [hit.key for hit in hits]


def axis(place: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.eye(DIMENSION, dtype=np.float32)[place]


def test_the_best_come_first_with_their_cosines():
    index = VectorIndex(DIMENSION)
    index.add([1, 2, 3], [0, 0, 0], np.stack([axis(0, 0.5), axis(0), axis(1)]))
    assert index.search(axis(0), 2) == [SearchHit(2, 1.0), SearchHit(1, 0.5)]


def test_ties_are_broken_by_key():
    index = VectorIndex(DIMENSION)
    index.add([5, 3, 9, 1], [0] * 4, np.stack([axis(0)] * 4))
    assert keys(index.search(axis(0), 3)) == [1, 3, 5]


def test_a_filter_never_shortens_the_answer():
    """A thousand better images in a channel that may not be seen leave the worse ones that may be."""
    index = VectorIndex(DIMENSION)
    index.add(range(1000), [7] * 1000, np.stack([axis(0)] * 1000))
    index.add([2000, 2001], [8, 9], np.stack([axis(0, 0.5), axis(0, 0.25)]))
    assert keys(index.search(axis(0), 5, groups={8, 9})) == [2000, 2001]


def test_no_groups_at_all_means_nothing_is_found():
    index = VectorIndex(DIMENSION)
    index.add([1], [7], axis(0)[None])
    assert index.search(axis(0), 5, groups=frozenset()) == []


def test_snowflakes_fit():
    index = VectorIndex(DIMENSION)
    big = 2**63 - 1
    index.add([big], [big - 1], axis(0)[None])
    assert keys(index.search(axis(0), 1, groups={big - 1})) == [big]


def test_a_known_key_is_replaced_group_included():
    index = VectorIndex(DIMENSION)
    index.add([1], [7], axis(0)[None])
    index.add([1], [8], axis(1)[None])
    assert len(index) == 1
    assert index.search(axis(0), 1, groups={7}) == []
    assert index.search(axis(1), 1, groups={8}) == [SearchHit(1, 1.0)]


def test_a_key_that_comes_twice_in_one_call_is_held_once():
    index = VectorIndex(DIMENSION)
    index.add([1, 1], [7, 8], np.stack([axis(0), axis(1)]))
    assert index.search(axis(1), 5) == [SearchHit(1, 1.0)]


def test_discard_says_how_many_were_known():
    index = VectorIndex(DIMENSION)
    index.add([1, 2, 3], [0] * 3, np.stack([axis(0)] * 3))
    assert index.discard([2, 2, 99]) == 1
    assert keys(index.search(axis(0), 5)) == [1, 3]
    assert 2 not in index


@pytest.mark.parametrize("k", [0, -1])
def test_nothing_is_found_where_nothing_is_asked_for(k):
    index = VectorIndex(DIMENSION)
    index.add([1], [0], axis(0)[None])
    assert index.search(axis(0), k) == []


def test_vectors_of_another_model_are_refused():
    with pytest.raises(ValueError, match="expected 1 keys"):
        VectorIndex(DIMENSION).add([1], [0], np.ones((1, DIMENSION + 1), np.float32))


@pytest.mark.parametrize("query", [np.ones(DIMENSION + 1), np.ones((1, DIMENSION)), np.full(DIMENSION, np.nan)])
def test_a_query_that_cannot_be_one_is_refused(query):
    index = VectorIndex(DIMENSION)
    index.add([1], [0], axis(0)[None])
    with pytest.raises(ValueError, match="expected a query of"):
        index.search(query, 1)


def test_adding_nothing_is_allowed():
    index = VectorIndex(DIMENSION)
    index.add([], [], np.empty((0, DIMENSION), np.float16))
    assert len(index) == 0
    assert index.search(axis(0), 3) == []


def test_memory_follows_the_rows_held_both_ways():
    index = VectorIndex(DIMENSION)
    everyone = range(20_000)
    for start in everyone[::100]:
        some = range(start, start + 100)
        index.add(some, [0] * 100, np.stack([unit(key) for key in some]))
    assert 20_000 <= index.capacity <= 3 * 20_000
    assert index.nbytes <= 20_000 * (2 * DIMENSION + 12)
    index.discard(range(19_900))
    assert index.capacity <= 1024
    assert keys(index.search(unit(19_950), 100)) == keys(
        brute_force(index_of(range(19_900, 20_000)), unit(19_950), 100)
    )


def test_memory_just_taken_is_not_given_back_with_the_next_removal():
    """Giving back moves every tile; one row more and one less must not do that again and again."""
    index = VectorIndex(DIMENSION, rows=HostRows(DIMENSION, tile_rows=2))
    grown = 0
    for key in range(800):
        before = index.capacity
        index.add([key], [0], unit(key)[None])
        if key > 16 and index.capacity > before:
            taken, grown = index.capacity, grown + 1
            index.discard([key])
            assert index.capacity == taken
            index.add([key], [0], unit(key)[None])
    assert grown >= 3


def index_of(some: range) -> dict[int, tuple[int, np.ndarray]]:
    return {key: (0, unit(key)) for key in some}


def test_rows_across_tiles_are_ranked_together():
    index = VectorIndex(DIMENSION, rows=HostRows(DIMENSION, tile_rows=7))
    index.add(range(50), [0] * 50, np.stack([unit(key) for key in range(50)]))
    assert keys(index.search(unit(4), 50)) == keys(brute_force(index_of(range(50)), unit(4), 50))


def test_tiles_that_move_closer_together_keep_their_rows():
    """Some are whole, some have a gap, and one was left so few rows that it is a tile no more."""
    index = VectorIndex(DIMENSION, rows=HostRows(DIMENSION, tile_rows=9))
    index.add(range(900), [0] * 900, np.stack([unit(key) for key in range(900)]))
    before = index.capacity
    kept = {*range(450, 530), *range(700, 720)} - {471}
    assert index.discard(set(range(900)) - kept) == 900 - len(kept)
    assert index.capacity < before / 2
    rows = {key: (0, unit(key)) for key in kept}
    assert keys(index.search(unit(4), 900)) == keys(brute_force(rows, unit(4), 900))


def brute_force(
    rows: dict[int, tuple[int, np.ndarray]], query: np.ndarray, k: int, groups: set[int] | None = None
) -> list[SearchHit]:
    """The same answer by the plainest means: score everything allowed, sort, cut."""
    scored = [
        SearchHit(key, round(float(np.float32(np.dot(vector.astype(np.float16).astype(np.float32), query))), 6))
        for key, (group, vector) in rows.items()
        if groups is None or group in groups
    ]
    return sorted(scored, key=lambda hit: (-hit.score, hit.key))[:k]


def agree(found: list[SearchHit], expected: list[SearchHit]) -> bool:
    """The same scores in the same order; keys may only differ where scores are within rounding of one another."""
    if len(found) != len(expected):
        return False
    same_scores = np.allclose([hit.score for hit in found], [hit.score for hit in expected], atol=3e-6)
    ordered = all(
        (-one.score, one.key) < (-other.score, other.key) for one, other in zip(found, found[1:], strict=False)
    )
    return bool(same_scores) and ordered


class IndexMachine(RuleBasedStateMachine):
    """Adds, replaces and discards at random, and compares each search with brute force over a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex(DIMENSION, rows=HostRows(DIMENSION, tile_rows=9))
        self.rows: dict[int, tuple[int, np.ndarray]] = {}

    @rule(some=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 60)), max_size=8))
    def add(self, some):
        vectors = np.stack([unit(seed) for *_, seed in some]) if some else np.empty((0, DIMENSION))
        self.index.add([key for key, *_ in some], [group for _, group, _ in some], vectors)
        self.rows.update({key: (group, unit(seed)) for key, group, seed in some})

    @rule(some=st.lists(st.integers(0, 40), max_size=12))
    def discard(self, some):
        assert self.index.discard(some) == len(set(some) & set(self.rows))
        for key in some:
            self.rows.pop(key, None)

    @rule(seed=st.integers(0, 60), k=st.integers(0, 50), groups=st.none() | st.sets(st.integers(0, 4)))
    def search(self, seed, k, groups):
        found = self.index.search(unit(seed), k, groups)
        assert agree(found, brute_force(self.rows, unit(seed), k, groups))
        assert all(groups is None or self.rows[hit.key][0] in groups for hit in found)

    @invariant()
    def holds_what_was_added(self):
        assert len(self.index) == len(self.rows)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_search_equals_brute_force_over_real_sizes(seed, k):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = random.integers(0, 5, 500).tolist()
    index = VectorIndex(64)
    index.add(range(500), groups, vectors)
    rows = {key: (groups[key], vectors[key]) for key in range(500)}
    assert agree(index.search(vectors[3], k, {1, 2}), brute_force(rows, vectors[3], k, {1, 2}))
