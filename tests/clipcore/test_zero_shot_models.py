"""Classifiers from words alone, of models that judge by softmax and of those that judge by sigmoid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from clipcore.prompts import Prompts
from clipcore.types import Label, ModelCard
from clipcore.zero_shot import ZeroShotClassifier, mean_direction

AXES = np.eye(6, dtype=np.float32)
PLAIN = Prompts(label=("{}",), query=("{}",), background=("nothing",))


class Words:
    """Each text it is asked for lies on an axis of its own, in the order of asking."""

    def __init__(self, *, logit_bias: float = 0.0) -> None:
        self.card = ModelCard("made/up", "1", 6, 32, 77, logit_scale=10.0, logit_bias=logit_bias)
        self.asked: list[str] = []
        self.batches: list[int] = []

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(len(texts))
        self.asked.extend(text for text in texts if text not in self.asked)
        return AXES[[self.asked.index(text) for text in texts]]


def test_names_alone_become_a_classifier_with_the_models_own_prompts():
    model = Words()
    model.card = replace(model.card, prompts=Prompts(("{}!",), ("{}",), ("nothing",)))
    ZeroShotClassifier.for_model(model, ["cat", Label("pet", ("a dog",))])
    assert model.asked == ["cat!", "a dog!", "nothing"]


def test_it_judges_as_one_built_by_hand():
    model = Words()
    labels = [Label("pet", ("a cat", "a dog")), Label("sofa")]
    classifier = ZeroShotClassifier.for_model(model, labels, PLAIN, threshold=0.3)
    vectors = np.stack([mean_direction(AXES[:2]), AXES[2], AXES[3]])
    by_hand = ZeroShotClassifier(("pet", "sofa"), vectors, model.card, threshold=0.3)
    assert np.allclose(classifier.probabilities(AXES), by_hand.probabilities(AXES))
    assert classifier.classify(AXES) == by_hand.classify(AXES)


def test_texts_are_encoded_batch_by_batch():
    model = Words()
    ZeroShotClassifier.for_model(model, ["a", "b", "c", "d"], PLAIN, batch_size=2)
    assert model.batches == [2, 2, 1]


def test_without_background_a_softmax_shares_everything_among_the_labels():
    classifier = ZeroShotClassifier.for_model(Words(), ["a", "b"], replace(PLAIN, background=()))
    assert np.allclose(classifier.probabilities(AXES).sum(axis=1), 1)


def test_a_model_with_a_bias_judges_each_label_by_itself():
    classifier = ZeroShotClassifier.for_model(Words(logit_bias=-4.0), ["a", "b"], PLAIN)
    both = mean_direction(AXES[:2])[None]
    logits = 10 * both[0, :2] - 4
    assert np.allclose(classifier.probabilities(both)[0], 1 / (1 + np.exp(-logits)))
    assert classifier.probabilities(both).sum() > 1
    assert classifier.probabilities(AXES[5:]).max() < 0.02


def test_a_bias_leaves_the_order_of_the_labels_as_it_is():
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    softmax = ZeroShotClassifier.for_model(Words(), ["a", "b", "c"], PLAIN)
    sigmoid = ZeroShotClassifier.for_model(Words(logit_bias=-4.0), ["a", "b", "c"], PLAIN)
    orders = [[[one.label for one in each] for each in classifier.classify(rows)] for classifier in (softmax, sigmoid)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_the_sigmoid_overflows_nowhere(bias):
    probabilities = ZeroShotClassifier.for_model(Words(logit_bias=bias), ["a"], PLAIN).probabilities(AXES)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities, float(bias > 0))
