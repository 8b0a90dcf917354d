from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clipcore.index.vector_index import VectorIndex
from clipcore.types import SearchHit
from tests.clipcore.index.support import small_index

DIMENSION = 6


def unit(seed: int) -> np.ndarray:
    """float32 [DIMENSION], unit length; some seeds share a vector, so that ties occur."""
    vector = np.random.default_rng(seed % 23).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def units(seeds: range) -> np.ndarray:
    return np.stack([unit(seed) for seed in seeds])


def keys(hits: list[SearchHit]) -> list[int]:
    return [hit.key for hit in hits]


def axis(place: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.eye(DIMENSION, dtype=np.float32)[place]


def axes(*places: int) -> np.ndarray:
    return np.stack([axis(place) for place in places])


@pytest.fixture
def index() -> VectorIndex:
    return VectorIndex(DIMENSION)


def test_the_best_come_first_with_their_cosines(index):
    index.add(np.stack([axis(0, 0.5), axis(0), axis(1)]), [1, 2, 3])
    assert index.search(axis(0), 2) == [SearchHit(2, 1.0), SearchHit(1, 0.5)]


def test_ties_are_broken_by_key(index):
    index.add(axes(0, 0, 0, 0), [5, 3, 9, 1])
    assert keys(index.search(axis(0), 3)) == [1, 3, 5]


def test_a_filter_never_shortens_the_answer(index):
    """A thousand better images in a channel that is not searched do not displace the worse ones that are."""
    index.add(np.stack([axis(0)] * 1000), range(1000), 7)
    index.add(np.stack([axis(0, 0.5), axis(0, 0.25)]), [2000, 2001], [8, 9])
    assert keys(index.search(axis(0), 5, groups={8, 9})) == [2000, 2001]


def test_no_groups_find_nothing(index):
    index.add(axes(0), [1], [7])
    assert index.search(axis(0), 5, groups=frozenset()) == []


@pytest.mark.parametrize(
    "groups",
    [{7, 8}, [8, 7, 8], (7, 8), range(7, 9), np.array([7, 8]), (group for group in (7, 8)), iter([7, 8, 2**70])],
)
def test_groups_may_be_any_iterable(index, groups):
    index.add(axes(0, 1, 2), [1, 2, 3], [7, 8, 9])
    assert keys(index.search(axis(0), 5, groups)) == [1, 2]


def test_snowflakes_fit(index):
    big = 2**63 - 1
    index.add(axes(0), [big], [big - 1])
    assert keys(index.search(axis(0), 1, groups={big - 1})) == [big]


def test_a_known_key_is_replaced_group_included(index):
    index.add(axes(0), [1], [7])
    index.add(axes(1), [1], [8])
    assert len(index) == 1
    assert index.search(axis(0), 1, groups={7}) == []
    assert index.search(axis(1), 1, groups={8}) == [SearchHit(1, 1.0)]


def test_of_a_key_given_twice_the_last_vector_counts(index):
    index.add(axes(0, 1), [1, 1], [7, 8])
    assert index.search(axis(1), 5) == [SearchHit(1, 1.0)]


def test_an_animation_is_found_once_by_its_best_frame_and_takes_no_place_of_others(index):
    index.add(axes(0, 0, 0, 1), [1, 1, 1, 1], 7, [0, 1, 2, 3])
    index.add(np.stack([axis(0, 0.5), axis(1, 0.75)]), [2, 3], 7)
    assert index.search(axis(0), 2) == [SearchHit(1, 1.0), SearchHit(2, 0.5)]
    assert index.search(axis(1), 2) == [SearchHit(1, 1.0), SearchHit(3, 0.75)]
    assert index.search(axis(1), 2, keys=np.array([1, 2])) == [SearchHit(1, 1.0), SearchHit(2, 0.0)]
    assert len(index) == 6


def test_the_first_frame_stands_for_an_animation(index):
    index.add(axes(3, 1, 2), [1, 1, 1], 7, [2, 0, 1])
    assert np.array_equal(index.vectors([1]), axes(1))


def test_how_a_query_scores_counts_an_animation_once_by_its_first_frame(index):
    index.add(axes(0, 1, 1, 1, 0), [1, 2, 2, 2, 3], 7, [0, 0, 1, 2, 0])
    for keys in (None, np.array([1, 2, 3])):
        population = index.rank(axis(0), 1, keys=keys).population
        assert (population.count, population.centre) == (3, 1.0)


def test_all_frames_are_replaced_and_removed_together(index):
    index.add(axes(0, 1, 2), [1, 1, 1], 7, [0, 1, 2])
    index.add(axes(3, 4), [1, 1], 8, [0, 1])
    assert [hit.score for hit in (*index.search(axis(1), 1), *index.search(axis(4), 1))] == [0.0, 1.0]
    assert index.search(axis(3), 1, groups={7}) == []
    assert index.discard([1]) == 1
    assert len(index) == 0


def test_discard_returns_how_many_keys_were_known(index):
    index.add(axes(0, 0, 0), [1, 2, 3])
    assert index.discard([2, 2, 99]) == 1
    assert index.discard([]) == 0
    assert keys(index.search(axis(0), 5)) == [1, 3]
    assert 2 not in index
    assert 3 in index
    assert "3" not in index


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_finds_nothing(index, k):
    index.add(axes(0), [1])
    assert index.search(axis(0), k) == []


@pytest.mark.parametrize("k", [2.0, "2", None])
def test_a_k_that_is_no_integer_is_refused(index, k):
    with pytest.raises(TypeError, match="k must be an integer, got"):
        index.search(axis(0), k)


def test_a_numpy_integer_is_a_k(index):
    index.add(axes(0, 0), [1, 2])
    assert keys(index.search(axis(0), np.int64(1))) == [1]


@pytest.mark.parametrize("dimension", [0, -1])
def test_a_dimension_below_one_is_refused(dimension):
    with pytest.raises(ValueError, match="dimension must be at least 1"):
        VectorIndex(dimension)


@pytest.mark.parametrize("shape", [(1, DIMENSION + 1), (DIMENSION,), (1, 1, DIMENSION)])
def test_vectors_of_another_shape_are_refused(index, shape):
    with pytest.raises(ValueError, match=rf"expected vectors of shape \[n, {DIMENSION}\]"):
        index.add(np.ones(shape, np.float32), [1])


@pytest.mark.parametrize(
    "wrong", [{"keys": [1]}, {"keys": [[1, 2]]}, {"groups": [1]}, {"groups": [1, 2, 3]}, {"frames": [0]}]
)
def test_keys_groups_and_frames_must_be_as_many_as_vectors(index, wrong):
    with pytest.raises(ValueError, match="expected a key, a group and a frame for each of 2 vectors"):
        index.add(axes(0, 1), **{"keys": [1, 2], "groups": [1, 2], **wrong})
    assert len(index) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, -1e30])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_vector_that_is_not_finite_in_float16_is_refused_and_nothing_added(index, value, kind):
    """In a scan it would hide its neighbours, or win every search."""
    index.add(axes(0), [1])
    with np.errstate(over="ignore"):
        vectors = units(range(3)).astype(kind)
        vectors[1, 4] = value
    with pytest.raises(ValueError, match="vector 1 holds NaN, an infinity, or a number too large for float16"):
        index.add(vectors, [1, 2, 3])
    assert index.search(axis(0), 5) == [SearchHit(1, 1.0)]


def test_the_greatest_float16_is_accepted(index):
    index.add(np.array([[65504.0, -65504.0, 0, 0, 0, -0.0]]), [1])
    assert len(index) == 1


def test_keys_and_groups_are_optional(index):
    index.add(axes(0, 1))
    index.add(axes(2))
    assert keys(index.search(axis(0) + axis(1, 0.5), 3)) == [0, 1, 2]
    index.add(axes(3), [10])
    index.add(axes(4))
    assert keys(index.search(axis(4), 1, groups=[0])) == [11]


def test_lists_of_numbers_are_vectors_and_a_query(index):
    index.add([[1, 0, 0, 0, 0, 0]])
    assert index.search([1, 0, 0, 0, 0, 0], 1) == [SearchHit(0, 1.0)]


@pytest.mark.parametrize("query", [np.ones(DIMENSION + 1), np.ones((1, DIMENSION)), np.full(DIMENSION, np.nan)])
def test_a_query_of_another_shape_or_with_nan_is_refused(index, query):
    index.add(axes(0), [1])
    with pytest.raises(ValueError, match="expected a query of"):
        index.search(query, 1)


def test_a_read_only_query_is_accepted(index):
    index.add(axes(0), [1])
    assert keys(index.search(np.frombuffer(axis(0).tobytes(), np.float32), 1)) == [1]


def test_adding_nothing_is_allowed(index):
    index.add(np.empty((0, DIMENSION), np.float16), [], [])
    index.add(np.empty((0, DIMENSION)))
    assert len(index) == 0
    assert index.search(axis(0), 3) == []


def test_importing_the_index_does_not_load_torch():
    code = "import sys, clipcore.index; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "False"


def brute_force(
    rows: dict[int, tuple[int, np.ndarray]],
    query: np.ndarray,
    k: int,
    groups: set[int] | None = None,
    only: set[int] | None = None,
) -> list[SearchHit]:
    """The same answer by the plainest means: score everything allowed by its best frame, sort, cut.

    rows: by key, the group and the frames, [n, dim].
    """
    scored = [
        SearchHit(key, round(float((frames.astype(np.float16).astype(np.float32) @ query).max()), 6))
        for key, (group, frames) in rows.items()
        if (groups is None or group in groups) and (only is None or key in only)
    ]
    return sorted(scored, key=lambda hit: (-hit.score, hit.key))[:k]


def agree(hits: list[SearchHit], expected: list[SearchHit]) -> bool:
    """The same scores in the same order; keys may only differ where scores are within rounding of one another."""
    if len(hits) != len(expected):
        return False
    same_scores = np.allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=3e-6)
    ordered = all((-one.score, one.key) < (-other.score, other.key) for one, other in zip(hits, hits[1:], strict=False))
    return bool(same_scores) and ordered


class IndexMachine(RuleBasedStateMachine):
    """Adds, replaces and discards at random, and compares each search with brute force over a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.index = small_index(DIMENSION)
        self.rows: dict[int, tuple[int, np.ndarray]] = {}

    @rule(some=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 60)), max_size=8))
    def add(self, some):
        vectors = np.stack([unit(seed) for *_, seed in some]) if some else np.empty((0, DIMENSION))
        self.index.add(vectors, [key for key, *_ in some], [group for _, group, _ in some])
        self.rows.update({key: (group, unit(seed)[np.newaxis]) for key, group, seed in some})

    @rule(
        some=st.dictionaries(
            st.integers(0, 40), st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(1, 8)), max_size=5
        )
    )
    def add_animations(self, some):
        frames = {key: (group, units(range(seed, seed + count))) for key, (group, seed, count) in some.items()}
        rows = [(key, group, frame) for key, (group, its) in frames.items() for frame in range(len(its))]
        vectors = np.concatenate([np.empty((0, DIMENSION)), *(its for _, its in frames.values())])
        order = np.random.default_rng(len(rows)).permutation(len(rows))
        keys, groups, numbers = np.array(rows, np.int64).reshape(-1, 3)[order].T
        self.index.add(vectors[order], keys, groups, numbers)
        self.rows.update(frames)

    @rule(first=st.integers(-50, 400), count=st.integers(0, 120), group=st.integers(0, 3))
    def add_many(self, first, count, group):
        some = range(first, first + count)
        self.index.add(units(some) if some else np.empty((0, DIMENSION)), some, group)
        self.rows.update({key: (group, unit(key)[np.newaxis]) for key in some})

    @rule(some=st.lists(st.integers(0, 40), max_size=12))
    def discard(self, some):
        self.discard_many(set(some))

    @rule(first=st.integers(-50, 400), count=st.integers(0, 300), step=st.integers(1, 3))
    def discard_range(self, first, count, step):
        self.discard_many(set(range(first, first + count, step)))

    def discard_many(self, some: set[int]) -> None:
        assert self.index.discard(some) == len(some & set(self.rows))
        for key in some:
            self.rows.pop(key, None)

    @rule(
        seed=st.integers(0, 60),
        k=st.integers(0, 50),
        groups=st.none() | st.sets(st.integers(0, 4)),
        only=st.none() | st.sets(st.integers(0, 60)),
    )
    def search(self, seed, k, groups, only):
        keys = None if only is None else np.array([*only], np.int64)
        scored = self.index.rank(unit(seed), k, groups, keys)
        allowed = brute_force(self.rows, unit(seed), len(self.rows), groups, only)
        assert agree(scored.hits, allowed[:k])
        assert all(groups is None or self.rows[hit.key][0] in groups for hit in scored.hits)
        assert k == 0 or (scored.population.count if scored.population else 0) == len(allowed)

    @rule(some=st.lists(st.integers(0, 60), unique=True, max_size=9))
    def vectors(self, some):
        nothing = np.zeros((1, DIMENSION))
        expected = [self.rows.get(key, (0, nothing))[1][0] for key in some]
        assert np.array_equal(self.index.vectors(some), np.array(expected).reshape(-1, DIMENSION).astype(np.float16))

    @invariant()
    def holds_what_was_added(self):
        assert len(self.index) == self.count

    @property
    def count(self) -> int:
        return sum(len(frames) for _, frames in self.rows.values())

    @invariant()
    def storage_is_consistent(self):
        storage = self.index._storage
        owned = storage._owners >= 0
        assert storage.used.sum() == self.count
        assert not storage.used[~owned].any()
        assert sorted(storage._free) == np.flatnonzero(~owned).tolist()
        assert len(storage.used) == sum(map(len, storage.slabs))
        assert storage._touched >= owned.nonzero()[0].max(initial=-1) + 1
        for number in range(len(storage._numbers)):
            own = storage.used[storage._owners == number]
            assert storage._sizes[number] == own.sum()
            assert ((own > 0) & (own < storage.chunk_rows)).sum() <= 1
            assert (own == 0).sum() < storage.run_chunks
        for rows, used in zip(storage.slabs, np.split(storage.used, max(1, len(storage.slabs))), strict=False):
            assert not rows[np.arange(storage.chunk_rows) >= used[:, None]].any()  # what was removed is overwritten


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_search_equals_brute_force_over_real_sizes(seed, k):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = random.integers(0, 5, 500)
    index = VectorIndex(64)
    index.add(vectors, range(500), groups)
    rows = {key: (int(groups[key]), vectors[key]) for key in range(500)}
    assert agree(index.search(vectors[3], k, {1, 2}), brute_force(rows, vectors[3], k, {1, 2}))
