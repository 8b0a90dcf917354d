from __future__ import annotations

import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from clipcore.errors import BadInput
from clipcore.linear_probe import LinearProbe, choose_strength, held_back

MODEL = "bundled@1df3b15bbcfb#1"


def blobs(seed: int, classes: int = 4, each: int = 30, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around as many axes: separable where the spread is small."""
    random = np.random.default_rng(seed)
    class_of = np.arange(classes).repeat(each)
    vectors = np.eye(8, dtype=np.float32)[class_of] + spread * random.normal(size=(classes * each, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), class_of.astype(np.int64)


def fitted(classes: int = 4, **options: object) -> LinearProbe:
    vectors, class_of = blobs(0, classes)
    names = [f"class {row}" for row in range(classes)]
    return LinearProbe.fit(vectors, class_of, names, strength=10.0, model_key=MODEL, **options)


def test_separable_embeddings_are_classified_correctly():
    vectors, class_of = blobs(1, spread=0.05)
    probe = fitted()
    assert probe.predict(vectors) == [f"class {row}" for row in class_of]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_is_scikit_learns_logistic_regression(classes):
    vectors, class_of = blobs(0, classes)
    unseen, _ = blobs(5, classes, spread=0.8)
    reference = LogisticRegression(C=10.0, max_iter=1000).fit(vectors, class_of)
    probe = fitted(classes)
    assert np.allclose(probe.probabilities(unseen), reference.predict_proba(unseen), atol=1e-5)
    assert probe.scores(unseen).argmax(axis=1).tolist() == reference.predict(unseen).tolist()


def test_a_class_without_images_is_never_likely():
    vectors, class_of = blobs(0, 3)
    probe = LinearProbe.fit(
        vectors, class_of * 2, ["a", "none", "b", "none either", "c"], strength=1.0, model_key=MODEL
    )
    probabilities = probe.probabilities(vectors)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[:, [1, 3]] == 0).all()
    assert {"a", "b", "c"} == set(probe.predict(vectors))


def test_classify_returns_scores_of_classes():
    vectors, _ = blobs(0)
    [scores] = fitted().classify(vectors[:1], top=2)
    assert scores[0].label == "class 0"
    assert len(scores) == 2
    assert [len(one) for one in fitted().classify(vectors[:1], threshold=1.0)] == [0]


def test_it_is_the_same_once_saved_and_loaded(tmp_path):
    path = tmp_path / "probe.safetensors"
    vectors, _ = blobs(3)
    probe = fitted()
    probe.save(path)
    loaded = LinearProbe.load(path, MODEL)
    assert loaded.classes == probe.classes
    assert loaded.strength == probe.strength
    assert (loaded.scores(vectors) == probe.scores(vectors)).all()


def test_a_probe_trained_on_another_models_embeddings_is_refused(tmp_path):
    fitted().save(tmp_path / "probe.safetensors")
    with pytest.raises(BadInput, match="trained on the model 'bundled@1df3b15bbcfb#1', not 'other'"):
        LinearProbe.load(tmp_path / "probe.safetensors", "other")


GOOD = {"weights": np.zeros((2, 8), np.float32), "biases": np.zeros(2, np.float32)}
ABOUT = {"magpie": "linear probe 1", "model": MODEL, "classes": '["a", "b"]', "strength": "1.0"}


@pytest.mark.parametrize(
    ("arrays", "about", "said"),
    [
        (GOOD, ABOUT | {"magpie": "vector index 1"}, "is not a linear probe"),
        (GOOD, ABOUT | {"classes": '["a"]'}, "is broken"),
        (GOOD, ABOUT | {"classes": "["}, "is broken"),
        (GOOD, ABOUT | {"strength": "much"}, "is broken"),
        (GOOD | {"biases": np.zeros(3, np.float32)}, ABOUT, "is broken"),
        ({"weights": GOOD["weights"]}, ABOUT, "is broken"),
    ],
)
def test_a_file_that_is_no_probe_is_refused(tmp_path, arrays, about, said):
    path = tmp_path / "probe.safetensors"
    save_file(arrays, path, about)
    with pytest.raises(BadInput, match=said):
        LinearProbe.load(path, MODEL)


def test_a_single_class_is_refused():
    vectors, class_of = blobs(0, 1)
    with pytest.raises(BadInput, match="two classes"):
        LinearProbe.fit(vectors, class_of, ["a"], strength=1.0, model_key=MODEL)
    with pytest.raises(BadInput, match="two classes"):
        choose_strength(vectors, class_of)


def test_strength_is_searched_as_in_the_paper_and_is_the_best_of_what_was_tried():
    vectors, class_of = blobs(2, spread=0.7)
    tried: dict[float, float] = {}
    chosen = choose_strength(vectors, class_of, seed=1, tried=tried.__setitem__)
    assert {1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6} < set(tried)
    assert len(tried) <= 7 + 4 * 2
    assert tried[chosen] == max(tried.values())
    held = held_back(class_of, seed=1)
    again = LogisticRegression(C=chosen, max_iter=1000).fit(vectors[~held], class_of[~held])
    assert again.score(vectors[held], class_of[held]) == tried[chosen]


@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_the_search_keeps_within_its_bounds(spread):
    """The clearest features are told apart by any C, and noise by none."""
    vectors, class_of = blobs(2, spread=spread, each=10)
    tried: dict[float, float] = {}
    choose_strength(vectors, class_of, tried=tried.__setitem__)
    assert 1e-6 <= min(tried) < max(tried) <= 1e6


def test_of_equally_accurate_strengths_the_smallest_about_as_likely_is_chosen():
    vectors, class_of = blobs(2, spread=0.01)
    tried: dict[float, float] = {}
    chosen = choose_strength(vectors, class_of, tried=tried.__setitem__)
    assert set(tried.values()) == {1.0}
    held = held_back(class_of, seed=0)

    def likelihood(strength: float) -> float:
        regression = LogisticRegression(C=strength, max_iter=1000).fit(vectors[~held], class_of[~held])
        return np.log(regression.predict_proba(vectors[held])[np.arange(held.sum()), class_of[held]]).sum()

    assert likelihood(chosen) >= likelihood(1e6) - 2.5 > likelihood(chosen / 2)
    assert chosen < 1000


def test_a_fifth_of_each_class_is_held_back_and_never_all_of_one():
    class_of = np.array([0] * 10 + [1] * 5 + [2] * 2 + [3])
    held = held_back(class_of, seed=0)
    assert [int(held[class_of == row].sum()) for row in range(4)] == [2, 1, 1, 0]
    assert (held == held_back(class_of, seed=0)).all()
    assert (held != held_back(class_of, seed=1)).any()


def test_one_image_a_class_is_enough_to_fit_but_not_to_choose_c():
    vectors = np.eye(8, dtype=np.float32)[:3]
    with pytest.raises(BadInput, match="give C yourself"):
        choose_strength(vectors, np.arange(3))
    probe = LinearProbe.fit(vectors, np.arange(3), ["a", "b", "c"], strength=100.0, model_key=MODEL)
    assert probe.predict(vectors) == ["a", "b", "c"]


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(BadInput, match=r"magpie\[lab\]"):
        fitted()


def test_stopping_early_and_one_image_a_class_cause_no_warning(monkeypatch):
    """Warnings are errors here."""
    monkeypatch.setattr("clipcore.linear_probe._ITERATIONS", 1)
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    names = [str(row) for row in range(30)]
    LinearProbe.fit(vectors, np.arange(30), names, strength=1e6, model_key=MODEL)
    choose_strength(*blobs(0, spread=1.0))


def test_embeddings_of_another_model_or_with_nan_are_refused():
    probe = LinearProbe(("a", "b"), np.eye(2, 4, dtype=np.float32), np.zeros(2, np.float32), 1.0, "model")
    for vectors in (np.ones((1, 3), np.float32), np.full((1, 4), np.nan, np.float32), np.ones(4, np.float32)):
        with pytest.raises(BadInput):
            probe.classify(vectors)
