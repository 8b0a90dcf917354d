"""How a map clusters look-alikes, what it calls the clusters, and where it puts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.search.map_layout import Box, boxes_of, clusters_of, names_of, plane, rows_of

WHOLE = Box(10, 20, 900, 600)
numbers = st.floats(-1, 1, width=32)
positions = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40).map(
    lambda rows: np.array(rows, np.float32).reshape(-1, 2)
)


def around(*directions: int, each: int, dimension: int = 32, noise: float = 0.05) -> np.ndarray:
    """Unit vectors near these axes."""
    rng = np.random.default_rng(5)
    rows = [
        np.eye(dimension)[axis] + noise * rng.standard_normal(dimension) for axis in directions for _ in range(each)
    ]
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_look_alikes_are_in_one_group() -> None:
    vectors = around(0, 1, 2, 3, 4, 5, each=3)  # so many clusters as 18 pictures have
    assert sorted(map(sorted, clusters_of(vectors))) == [[at, at + 1, at + 2] for at in range(0, 18, 3)]


def test_no_cluster_is_so_small_that_it_says_nothing() -> None:
    vectors = np.concatenate([around(0, 1, 2, each=10), around(3, each=1)])
    clusters = clusters_of(vectors)
    assert min(map(len, clusters)) >= 3


@given(st.integers(1, 60), st.integers(0, 1000))
def test_every_picture_is_in_one_group(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clusters = clusters_of(vectors)
    assert sorted(row for cluster in clusters for row in cluster) == [*range(count)]
    assert [len(cluster) for cluster in clusters] == sorted(map(len, clusters), reverse=True)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_pictures_that_are_all_the_same_are_one_cluster_at_a_point(count: int) -> None:
    vectors = np.repeat(around(0, each=1), count, axis=0)
    assert clusters_of(vectors) == [[*range(count)]]
    assert np.allclose(plane(vectors), 0, atol=1e-5)


def test_what_is_alike_lies_near_in_the_plane_and_the_same_each_time() -> None:
    vectors = around(0, 1, each=10)
    placed = plane(vectors)
    one, other = placed[:10], placed[10:]
    assert np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)) > 5 * one.std(axis=0).max()
    assert np.array_equal(placed, plane(vectors.copy()))


def test_a_cluster_is_named_by_what_sets_it_apart() -> None:
    everywhere = "photo"
    cats = [{everywhere, "cat"}] * 5
    dogs = [{everywhere, "dog"}] * 3 + [{everywhere, "cat"}]
    assert names_of([cats, dogs, [set()] * 3]) == [["cat"], ["dog"], []]


def test_a_mixed_cluster_has_several_names() -> None:
    mixed = [{"cat"}, {"cat"}, {"dog"}, {"fox"}, {"owl"}]
    assert names_of([mixed]) == [["cat", "dog"]]


def test_two_clusters_have_different_names_where_they_can() -> None:
    assert names_of([[{"cat", "sofa"}] * 4, [{"cat", "garden"}] * 3]) == [["sofa"], ["garden"]]
    assert names_of([[{"cat"}] * 4, [{"cat"}] * 3]) == [["cat"], ["cat"]]


@given(positions, st.integers(0, 1000))
def test_boxes_fill_the_page_by_their_weights_and_never_overlap(places: np.ndarray, seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(1, 9, len(places)).tolist()
    boxes = boxes_of(places, weights, WHOLE)
    area = WHOLE.width * WHOLE.height
    for box, weight in zip(boxes, weights, strict=True):
        assert box.width * box.height == pytest.approx(area * weight / sum(weights))
        assert WHOLE.x - 1e-6 <= box.x and box.x + box.width <= WHOLE.x + WHOLE.width + 1e-6
        assert WHOLE.y - 1e-6 <= box.y and box.y + box.height <= WHOLE.y + WHOLE.height + 1e-6
    for at, one in enumerate(boxes):  # with areas that add up to the page's, this is all that can go wrong
        for other in boxes[at + 1 :]:
            apart = (
                one.x + one.width <= other.x + 1e-6
                or other.x + other.width <= one.x + 1e-6
                or one.y + one.height <= other.y + 1e-6
                or other.y + other.height <= one.y + 1e-6
            )
            assert apart


def test_boxes_lie_as_their_places_do() -> None:
    left, right = boxes_of(np.array([[-1, 0], [1, 0]], np.float32), [1, 1], WHOLE)
    assert left.x < right.x


@given(positions, st.integers(1, 9))
def test_a_grid_has_every_picture_once(places: np.ndarray, columns: int) -> None:
    assert sorted(rows_of(places, columns)) == [*range(len(places))]


def test_a_grid_keeps_neighbours_together() -> None:
    places = np.array([[1, 1], [0, 0], [0, 1], [1, 0]], np.float32)
    assert rows_of(places, 2) == [1, 3, 2, 0]
