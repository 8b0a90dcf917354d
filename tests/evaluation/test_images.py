from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clipcore.encoding.batch import EncodedImage, Problem, SkippedImage, gather
from clipcore.evaluation.classification import classify_images

MANY = 700
VECTORS = np.random.default_rng(0).normal(size=(MANY, 4)).astype(np.float32)


def outcomes(*, broken: range = range(0, MANY, 7)) -> Iterator[EncodedImage | SkippedImage]:
    for row in range(MANY):
        name = f"row {row}"
        if row in broken:
            yield SkippedImage(name, "It is broken.", ValueError())
        else:
            yield EncodedImage(name, VECTORS[row], 1, 1)


def test_readable_images_are_gathered_with_their_row_numbers():
    skipped: list[Problem] = []
    gathered = gather(outcomes(), 4, skipped.append)
    expected = [row for row in range(MANY) if row % 7]
    assert gathered.rows.tolist() == expected
    assert (gathered.embeddings == VECTORS[expected]).all()
    assert [one.name for one in skipped] == [f"row {row}" for row in range(0, MANY, 7)]


def test_gathering_nothing_returns_empty_arrays():
    gathered = gather(outcomes(broken=range(MANY)), 4, lambda _: None)
    assert gathered.embeddings.shape == (0, 4)
    assert gathered.rows.shape == (0,)


def test_images_are_classified_in_parts_and_each_once():
    class_of = np.arange(MANY) % 4
    sizes: list[int] = []

    def scores(vectors: np.ndarray) -> np.ndarray:
        sizes.append(len(vectors))
        return vectors

    result = classify_images(outcomes(), class_of, "abcd", scores, lambda _: None)
    readable = np.flatnonzero(np.arange(MANY) % 7)
    expected = np.zeros((4, 4), np.int64)
    np.add.at(expected, (class_of[readable], VECTORS[readable].argmax(axis=1)), 1)
    assert (result.counts == expected).all()
    assert sum(sizes) == len(readable)
    assert max(sizes) < 300
