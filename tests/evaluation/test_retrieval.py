from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.datasets import Pairs
from clipcore.encoding.batch import Gathered
from clipcore.evaluation.retrieval import measure_retrieval, queries_for, ranks


def unit_rows(random: np.random.Generator, rows: int, dimension: int = 8) -> np.ndarray:
    vectors = random.normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive_ranks(images: np.ndarray, texts: np.ndarray, pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The same by the plainest means: sort everything, wrong answers before right ones of the same score, and look."""
    scores = np.round(images.astype(np.float64) @ texts.T.astype(np.float64), 5)

    def first_right(scored: np.ndarray, right: set[int]) -> int:
        order = sorted(range(len(scored)), key=lambda place: (-scored[place], place in right))
        return next(at for at, place in enumerate(order) if place in right)

    with_texts = sorted({image for image, _ in pairs})
    to_text = [first_right(scores[row], {text for image, text in pairs if image == row}) for row in with_texts]
    to_image = [
        first_right(scores[:, row], {image for image, text in pairs if text == row}) for row in range(len(texts))
    ]
    return to_text, to_image


@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 12),
    texts=st.integers(1, 30),
    more=st.integers(0, 20),
    at_once=st.integers(1, 90),
)
@settings(max_examples=150, deadline=None)
def test_ranks_are_those_of_a_plain_sort_however_they_are_chunked(seed, images, texts, more, at_once):
    random = np.random.default_rng(seed)
    # Few different vectors among many, so that ties are common.
    seen = unit_rows(random, 5)[random.integers(0, 5, images)]
    told = unit_rows(random, 7)[random.integers(0, 7, texts)]
    # Each text has an image, and some have several.
    text_of = np.concatenate([np.arange(texts), random.integers(0, texts, more)])
    image_of = random.integers(0, images, texts + more)
    to_text, to_image = ranks(seen, told, image_of, text_of, at_once=at_once)
    expected = naive_ranks(seen, told, list(zip(image_of.tolist(), text_of.tolist(), strict=True)))
    assert (to_text.tolist(), to_image.tolist()) == expected


def test_recalls_are_shares_of_queries_within_the_cutoff():
    # Caption k is nearest image k, but caption 0 prefers all of the twelve others.
    images = np.eye(13, dtype=np.float32)
    captions = np.eye(13, dtype=np.float32)
    captions[0] = 1 - captions[0]
    captions[0] /= np.linalg.norm(captions[0])
    result = measure_retrieval(images, captions, np.arange(13), np.arange(13))
    assert result.text_to_image.queries == 13
    assert result.text_to_image.at == pytest.approx({1: 12 / 13, 5: 12 / 13, 10: 12 / 13})
    assert result.text_to_image.mean == pytest.approx(12 / 13)
    assert result.text_to_image.median_rank == 1


def test_any_caption_of_an_image_is_right_and_each_caption_is_a_query():
    left, up = np.eye(2, dtype=np.float32)
    far = np.array([0.6, 0.8], np.float32)
    # Two captions of the left image: one right on it, one nearer the other image.
    result = measure_retrieval(np.stack([left, up]), np.stack([left, far, up]), np.array([0, 0, 1]), np.arange(3))
    assert result.image_to_text.at[1] == 1
    assert result.text_to_image.at[1] == pytest.approx(2 / 3)
    assert result.mean == pytest.approx((1 + (2 / 3 + 1 + 1) / 3) / 2)


def test_equal_embeddings_retrieve_nothing():
    alike = np.tile(np.array([[0.6, 0.8]], np.float32), (20, 1))
    result = measure_retrieval(alike, alike, np.arange(20), np.arange(20))
    assert result.mean == 0


@pytest.mark.parametrize("broken", ["images", "captions"])
def test_nan_embeddings_count_as_wrong(broken):
    vectors = {"images": np.eye(20, dtype=np.float32), "captions": np.eye(20, dtype=np.float32)}
    vectors[broken] = vectors[broken] * np.nan
    assert measure_retrieval(vectors["images"], vectors["captions"], np.arange(20), np.arange(20)).mean == 0


def test_an_image_without_captions_is_not_a_query_but_competes():
    images, captions = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 2]]
    result = measure_retrieval(images, captions, np.array([0, 1]), np.arange(2))
    assert result.image_to_text.queries == 2
    assert result.text_to_image.at[1] == 0.5


def test_captions_of_unreadable_images_are_left_out():
    pairs = Pairs(["3", "1", "0", "2", "0"], np.array([3, 1, 0, 2, 0]), [])
    gathered = Gathered(np.eye(4, dtype=np.float32)[[0, 3]], np.array([0, 3]))
    texts, image_of, text_of = queries_for(gathered, pairs)
    assert texts == ["3", "0", "0"]
    assert (image_of.tolist(), text_of.tolist()) == ([1, 0, 0], [0, 1, 2])


def test_a_text_of_several_images_is_one_query_that_any_of_them_answers():
    captions, image_of, text_of = ["red", "red", "blue"], np.array([0, 2, 1]), np.array([7, 7, 9])
    images = Gathered(np.eye(3, dtype=np.float32), np.arange(3))
    queries, *rows = queries_for(images, Pairs(captions, image_of, [], text_of=text_of))
    assert queries == ["red", "blue"]
    # The red text lies on one of its images alone; the other one has the blue image before it.
    texts = np.array([[0, 0.6, 0.8], [0, 1, 0]], np.float32)
    result = measure_retrieval(images.embeddings, texts, *rows)
    assert (result.text_to_image.queries, result.text_to_image.at[1]) == (2, 1)
    _, *rows = queries_for(images, Pairs(captions, image_of, []))
    apart = measure_retrieval(images.embeddings, texts[[0, 0, 1]], *rows)
    assert (apart.text_to_image.queries, apart.text_to_image.at[1]) == (3, pytest.approx(2 / 3))


def test_many_scores_take_little_memory():
    """4,000 images by 20,000 captions would be 320 MB of scores at once."""
    import tracemalloc

    random = np.random.default_rng(0)
    captions = unit_rows(random, 20_000, 4)
    image_of = np.arange(20_000) // 5
    images = captions[::5].copy()
    tracemalloc.start()
    to_caption, to_image = ranks(images, captions, image_of, np.arange(20_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024 * 1024
    assert (to_caption == 0).all()
    assert (to_image[::5] == 0).all()
