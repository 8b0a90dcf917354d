from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_score, top_k_accuracy_score

from clipcore.encoding.batch import EncodedImage
from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification, check_classes, classify_images


def tallied(scores: ArrayLike, class_of: ArrayLike, names: Sequence[str]) -> Classification:
    """Embeddings that are the scores themselves."""
    images = [EncodedImage("", row, 1, 1) for row in np.asarray(scores, np.float32)]
    return classify_images(images, np.asarray(class_of, np.int64), names, lambda vectors: vectors, pytest.fail)


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 600), classes=st.integers(6, 10))
@settings(max_examples=60, deadline=None)
def test_without_ties_the_figures_are_scikit_learns(seed, images, classes):
    random = np.random.default_rng(seed)
    scores = random.permuted(np.arange(classes, dtype=np.float32)[None].repeat(images, 0), axis=1)
    class_of = random.integers(0, classes, images)
    result = tallied(scores, class_of, [str(row) for row in range(classes)])
    guessed, every = scores.argmax(axis=1), np.arange(classes)

    assert (result.counts == confusion_matrix(class_of, guessed, labels=every)).all()
    assert result.top_1 == pytest.approx(np.mean(guessed == class_of))
    assert result.top_5 == pytest.approx(top_k_accuracy_score(class_of, scores, k=5, labels=every))
    present = np.unique(class_of)
    recalls = confusion_matrix(class_of, guessed, labels=every, normalize="true").diagonal()[present]
    assert result.mean_recall == pytest.approx(recalls.mean())
    precision = precision_score(class_of, guessed, labels=every, average=None, zero_division=np.nan)
    measured = [np.nan if one.precision is None else one.precision for one in result.per_class]
    assert measured == pytest.approx(precision, nan_ok=True)


def test_mean_recall_is_balanced_accuracy():
    result = tallied(np.eye(3)[[0, 0, 0, 1, 2, 2]], [0, 0, 1, 1, 2, 0], "abc")
    assert result.mean_recall == pytest.approx(balanced_accuracy_score([0, 0, 1, 1, 2, 0], [0, 0, 0, 1, 2, 2]))


def test_a_class_that_ties_with_the_right_one_counts_as_predicted():
    result = tallied([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1]], [0, 1], "abc")
    assert result.counts.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert result.top_1 == 0


def test_a_difference_within_rounding_is_a_tie():
    assert tallied([[0.5, 0.5 - 5e-7]], [0], "ab").top_1 == 0
    assert tallied([[0.5, 0.5 - 5e-6]], [0], "ab").top_1 == 1


def test_ties_count_against_the_top_five_too():
    assert tallied([[1, 1, 1, 1, 1, 1]], [0], "abcdef").top_5 == 0
    assert tallied([[1, 1, 1, 1, 1, 0]], [0], "abcdef").top_5 == 1


@pytest.mark.parametrize("true", [0, 1])
def test_nan_scores_count_as_wrong(true):
    assert tallied([[np.nan, np.nan, np.nan]], [true], "abc").top_1 == 0


def test_a_class_that_was_not_trained_is_never_predicted():
    result = tallied([[-np.inf, 0.1], [-np.inf, 0.1]], [0, 1], "ab")
    assert result.counts.tolist() == [[0, 1], [0, 1]]


def test_top_5_of_five_classes_is_none():
    assert tallied(np.eye(5), [0, 1, 2, 3, 4], "abcde").top_5 is None
    assert tallied(np.eye(6), [0, 1, 2, 3, 4, 5], "abcdef").top_5 == 1


def test_a_class_without_images_has_no_recall_and_does_not_count_in_the_mean():
    result = tallied([[1, 0, 0], [0, 0, 1]], [0, 0], "abc")
    assert [one.recall for one in result.per_class] == [0.5, None, None]
    assert result.mean_recall == 0.5


def test_a_class_never_predicted_has_no_precision():
    result = tallied([[1, 0], [1, 0]], [0, 1], "ab")
    assert [one.precision for one in result.per_class] == [0.5, None]
    assert [one.predicted for one in result.per_class] == [2, 0]


def test_one_class_alone_is_always_right():
    result = tallied([[0.1], [0.2]], [0, 0], "a")
    assert (result.top_1, result.top_5, result.mean_recall) == (1, None, 1)


def test_without_images_there_are_no_figures():
    result = Classification(("a", "b"), np.zeros((2, 2), np.int64), 0)
    assert (result.images, result.top_1, result.top_5, result.mean_recall) == (0, None, None, None)


def test_the_most_frequent_mistakes_come_first():
    scores = np.eye(3)[[0, 0, 1, 2, 2, 0]]
    result = tallied(scores, [0, 0, 0, 1, 1, 2], "abc")
    assert result.confusions(10) == [("b", "c", 2), ("a", "b", 1), ("c", "a", 1)]
    assert len(result.confusions(1)) == 1


def test_captions_given_as_classes_are_refused_before_memory_runs_out():
    check_classes([str(number) for number in range(21_841)])
    with pytest.raises(BadInput, match="evaluate retrieval"):
        check_classes([str(number) for number in range(29_000)])
