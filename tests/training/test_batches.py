from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import SkippedImage
from clipcore.errors import BadInput
from clipcore.training.data import BatchOrder, ImageReader, ReadImage
from tests.training.world import patches

SEEDS = st.integers(0, 2**32 - 1)


def epoch(order: BatchOrder, number: int) -> list[int]:
    first = number * order.steps_per_epoch
    return [int(row) for step in range(first, first + order.steps_per_epoch) for row in order.batch(step)]


@given(SEEDS, st.integers(2, 40), st.integers(2, 50), st.integers(1, 5))
def test_an_epoch_shows_no_image_twice_and_omits_less_than_a_batch(seed, images, batch, captions):
    pairs = patches(images, captions_each=captions)
    order = BatchOrder(pairs, batch, seed)
    for number in (0, 3):
        shown = pairs.image_of[epoch(order, number)]
        assert len(set(shown)) == len(shown) > images - min(batch, images)


def test_epochs_differ_in_order_and_captions_and_seeds_do_too():
    pairs = patches(30, captions_each=5)
    order = BatchOrder(pairs, 30, 0)
    epochs = [epoch(order, number) for number in range(3)] + [epoch(BatchOrder(pairs, 30, 1), 0)]
    assert len({tuple(rows) for rows in epochs}) == 4
    assert len({tuple(sorted(rows)) for rows in epochs}) == 4


def test_a_batch_depends_only_on_its_number():
    pairs = patches(30, captions_each=5)
    in_order, at_once = BatchOrder(pairs, 7, 3), BatchOrder(pairs, 7, 3)
    rows = [in_order.batch(step) for step in range(9)]
    for step in (8, 2, 5):
        assert np.array_equal(at_once.batch(step), rows[step])


def test_an_image_without_captions_is_skipped():
    pairs = patches(3)
    lonely = Pairs(pairs.captions[:2], np.array([2, 0]), pairs.images)
    assert sorted(lonely.image_of[BatchOrder(lonely, 9, 0).batch(0)]) == [0, 2]


def test_a_single_image_is_refused():
    with pytest.raises(BadInput, match="at least two"):
        BatchOrder(patches(1, captions_each=4), 2, 0)


def test_images_are_prepared_in_order_and_equal_files_have_equal_keys(tiny):
    pairs = patches(4, broken=[1])
    doubled = [*pairs.images, pairs.images[2]]
    reader = ImageReader(tiny, doubled, workers=2)
    reader.prefetch(np.array([0, 4]))
    first, broken, third, same = reader.take(np.array([0, 1, 2, 4]))
    reader.close()
    assert isinstance(first, ReadImage)
    assert isinstance(third, ReadImage)
    assert isinstance(same, ReadImage)
    assert isinstance(broken, SkippedImage)
    assert first.pixels.shape == (32, 32, 3)
    assert first.key != third.key == same.key != 0
    assert broken.name == "image 1"
    assert broken.reason.endswith(".")
