from __future__ import annotations

import numpy as np
import pytest

from clipcore.errors import BadInput
from clipcore.images.decode import decode_image
from clipcore.training.record import GALLERY, validate
from tests.training.world import patches


def test_a_threshold_lets_the_best_of_forty_others_pass_a_tenth_of_the_time(tiny):
    pairs = patches(GALLERY + 1)
    found = validate(tiny, pairs, 16, lambda name, reason: None)
    images = tiny.encode_images([decode_image(image.read()) for image in pairs.images])
    scores = tiny.encode_texts(pairs.captions) @ images.T
    np.fill_diagonal(scores, -1)
    assert found.text_match == pytest.approx(np.quantile(scores.max(axis=1), 0.9), abs=1e-3)


def test_a_small_set_says_nothing_of_a_threshold(tiny):
    assert validate(tiny, patches(GALLERY), 16, lambda name, reason: None).text_match is None


def test_captions_of_broken_images_take_no_part(tiny):
    skipped: list[str] = []
    found = validate(tiny, patches(6, captions_each=2, broken=[0, 4]), 4, lambda name, reason: skipped.append(name))
    assert skipped == ["image 0", "image 4"]
    assert found.retrieval.text_to_image.queries == 8
    assert found.retrieval.image_to_text.queries == 4


def test_nothing_to_validate_with_is_an_error(tiny):
    with pytest.raises(BadInput, match="None of the validation images"):
        validate(tiny, patches(2, broken=[0, 1]), 4, lambda name, reason: None)
