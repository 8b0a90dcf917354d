from __future__ import annotations

import numpy as np
import pytest

from clipcore.errors import BadInput
from clipcore.evaluation.retrieval import GALLERY, evaluate_retrieval
from clipcore.images.decode import decode_image
from tests.training.world import patches


def ignore(skipped: object) -> None:
    pass


def test_the_estimated_threshold_lets_the_best_of_forty_others_pass_a_tenth_of_the_time(tiny):
    pairs = patches(GALLERY + 1)
    evaluated = evaluate_retrieval(tiny, pairs, on_skip=ignore)
    images = tiny.encode_images([decode_image(image.read()) for image in pairs.images])
    scores = tiny.encode_texts(pairs.captions) @ images.T
    np.fill_diagonal(scores, -1)
    assert evaluated.text_threshold() == pytest.approx(np.quantile(scores.max(axis=1), 0.9), abs=1e-3)


def test_a_small_set_gives_no_threshold(tiny):
    assert evaluate_retrieval(tiny, patches(GALLERY), on_skip=ignore).text_threshold() is None


def test_captions_of_broken_images_are_left_out(tiny):
    skipped: list[str] = []
    pairs = patches(6, captions_each=2, broken=[0, 4])
    evaluated = evaluate_retrieval(tiny, pairs, batch_size=4, on_skip=lambda image: skipped.append(image.name))
    assert skipped == ["image 0", "image 4"]
    assert evaluated.result.text_to_image.queries == 8
    assert evaluated.result.image_to_text.queries == 4


def test_only_broken_images_are_an_error(tiny):
    with pytest.raises(BadInput, match="None of the images could be read"):
        evaluate_retrieval(tiny, patches(2, broken=[0, 1]), on_skip=ignore)
