from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.errors import BadInput, ModelUnavailable
from clipcore.prompts import CHINESE, PHOTOGRAPHS, Prompts, read_prompts
from clipcore.types import Label, ModelCard
from clipcore.zero_shot import ZeroShotClassifier, as_labels, mean_direction, texts_for

CAT, DOG, SOFA, NOTHING = np.eye(4, dtype=np.float32)
PROMPTS = Prompts(label=("a photo of {}",), query=("{}", "a photo of {}"), background=("nothing",))
CARD = ModelCard("made/up", "1", 4, 32, 77, logit_scale=20.0)
LABELS, VECTORS = ("cat", "dog", "sofa"), np.stack([CAT, DOG, SOFA, NOTHING])


def between(*vectors: np.ndarray) -> np.ndarray:
    return mean_direction(np.stack(vectors))


def classifier(*, scale: float = 20.0, threshold: float = 0.2) -> ZeroShotClassifier:
    return ZeroShotClassifier(LABELS, VECTORS, replace(CARD, logit_scale=scale), threshold=threshold)


def tags(vector: np.ndarray, *, scale: float = 20.0, threshold: float = 0.2, top: int = 5) -> list[str]:
    [found] = classifier(scale=scale, threshold=threshold).classify(vector[None], top)
    return [score.label for score in found]


def test_an_image_gets_the_label_that_it_looks_like():
    assert tags(CAT) == ["cat"]


def test_an_image_of_two_things_gets_both():
    assert tags(between(SOFA, CAT)) == ["cat", "sofa"]


def test_an_image_of_none_of_the_labels_gets_none():
    assert tags(NOTHING) == []


def test_probabilities_are_the_softmax_of_scaled_cosines_with_the_background():
    expected = np.exp([2.0, 0.0, 0.0, 0.0])
    assert np.allclose(classifier(scale=2.0).probabilities(CAT[None])[0], expected[:3] / expected.sum())


def test_the_most_probable_labels_come_first_up_to_top():
    assert tags(between(DOG, DOG, SOFA), scale=5.0, threshold=0.0, top=2) == ["dog", "sofa"]


def test_several_images_are_answered_one_by_one():
    answers = classifier().classify(np.stack([DOG, NOTHING, CAT]))
    assert [[score.label for score in answer] for answer in answers] == [["dog"], [], ["cat"]]


def test_no_images_and_no_labels_are_no_error():
    unlabelled = ZeroShotClassifier.from_vectors([], PROMPTS, {"nothing": NOTHING}, CARD, threshold=0.2)
    assert unlabelled.classify(np.stack([CAT, DOG])) == [(), ()]
    assert classifier().classify(np.empty((0, 4), np.float32)) == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("cat", "a list"),
        (["cat", ""], "Label 2 has no name"),
        ([Label(" ")], "Label 1 has no name"),
        (["cat", Label("cat")], "Label 2 names 'cat' again"),
    ],
)
def test_single_empty_and_repeated_labels_are_refused(labels, message):
    """A single text was taken letter by letter, and a repeated label shared its probability with itself."""
    with pytest.raises(BadInput, match=message):
        as_labels(labels)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [(CAT, r"\[n, 4\] are needed, not \[4\]"), (np.ones((2, 3)), r"not \[2, 3\]"), (CAT[None] * np.nan, "NaN")],
)
def test_embeddings_that_cannot_be_classified_are_refused(vectors, message):
    """NaN was answered with no labels, as though the image showed none of them."""
    with pytest.raises(BadInput, match=message):
        classifier().classify(vectors)


def test_a_negative_number_of_labels_is_refused():
    with pytest.raises(BadInput, match="cannot be -1"):
        tags(CAT, top=-1)
    assert tags(CAT, top=0) == []


def test_a_label_with_phrases_is_the_mean_of_them_and_one_without_is_its_name():
    labels = [Label("pet", ("a cat", "a dog")), Label("sofa")]
    vector_of = {"a photo of a cat": CAT, "a photo of a dog": DOG, "a photo of sofa": SOFA, "nothing": NOTHING}
    assert set(texts_for(labels, PROMPTS)) == set(vector_of)
    vectors = ZeroShotClassifier.from_vectors(labels, PROMPTS, vector_of, CARD, threshold=0.2).vectors
    assert np.allclose(vectors, [between(CAT, DOG), SOFA, NOTHING])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_a_text_that_two_labels_share_is_encoded_once():
    texts = texts_for([Label("cat"), Label("kitty", ("cat",))], PROMPTS)
    assert texts == ("a photo of cat", "nothing")


def test_braces_in_a_label_are_literal():
    assert texts_for([Label("{0} {x}")], PROMPTS)[0] == "a photo of {0} {x}"


@given(st.integers(0, 2**32 - 1), st.floats(1.0, 200.0))
@settings(max_examples=50, deadline=None)
def test_probabilities_never_exceed_one_together(seed, scale):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(20, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    card = replace(CARD, dimension=8, logit_scale=scale)
    shares = ZeroShotClassifier("abcdefghij", rows[:12], card, threshold=0.2).probabilities(rows[12:])
    assert np.isfinite(shares).all()
    assert (shares >= 0).all()
    assert (shares.sum(axis=1) <= 1 + 1e-5).all()


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("cat", ("cat", "a photo of cat")),
        ("  red   apple ", ("red apple", "a photo of red apple")),
        ("a cat on a sofa", ("a cat on a sofa",)),
    ],
)
def test_a_few_words_become_captions_and_a_sentence_stays(words, texts):
    assert PROMPTS.for_query(words) == texts


@pytest.mark.parametrize(
    ("words", "is_short"), [("沙发上的猫", True), ("一只猫坐在沙发上看着窗外的小鸟", False), ("猫 on a sofa", False)]
)
def test_chinese_words_are_counted_without_spaces(words, is_short):
    assert CHINESE.for_query(words) == (
        (words, f"一张{words}的照片。", f"一张{words}的图片。") if is_short else (words,)
    )


def test_a_model_brings_its_own_prompts(tmp_path):
    (tmp_path / "prompts.json").write_text(PROMPTS.as_json(), "utf-8")
    assert read_prompts(tmp_path / "prompts.json", CHINESE) == PROMPTS


def test_a_model_without_prompts_takes_what_suits_its_captions(tmp_path):
    assert read_prompts(tmp_path / "prompts.json", CHINESE) == CHINESE


def test_broken_prompts_are_named(tmp_path):
    (tmp_path / "prompts.json").write_text('{"label": ["{}"]}', "utf-8")
    with pytest.raises(ModelUnavailable, match="prompts.json"):
        read_prompts(tmp_path / "prompts.json", PHOTOGRAPHS)


def test_many_images_get_the_same_probabilities_as_few():
    images = np.random.default_rng(0).standard_normal((200, 4), dtype=np.float32)
    softer = classifier(scale=2.0)
    few = [softer.probabilities(images[start : start + 10]) for start in range(0, 200, 10)]
    assert np.allclose(softer.probabilities(images), np.concatenate(few), atol=1e-6)


ASIDE = """
from time import process_time, thread_time
import numpy as np
from clipcore.types import ModelCard
from clipcore.zero_shot import ZeroShotClassifier
rows = np.random.default_rng(0).standard_normal((250, 512), dtype=np.float32)
classifier = ZeroShotClassifier(
    ("cat",) * 249, rows, ModelCard("made/up", "1", 512, 32, 77, logit_scale=1.0), threshold=0.0
)

def cpu_of_all_threads(classify):
    "CPU time of all threads, as a multiple of this thread's."
    everybody, here = process_time(), thread_time()
    for _ in range(5):
        if classify:
            classifier.classify(rows[:8])
        until = thread_time() + 0.02
        while thread_time() < until:
            pass
    return (process_time() - everybody) / (thread_time() - here)

while cpu_of_all_threads(classify=False) > 1.05:  # OpenBLAS's threads spin for a while once they are made
    pass
print(cpu_of_all_threads(classify=True))
"""


def test_classifying_a_few_images_leaves_no_other_thread_spinning():
    threads = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", ASIDE], env=os.environ | threads, capture_output=True, check=True, timeout=300
    )
    assert float(done.stdout) < 1.2
