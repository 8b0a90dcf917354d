"""A linear probe: logistic regression on a frozen model's features (Radford et al. 2021, §3.2 and appendix A.3)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.errors import BadInput
from clipcore.files import read_tensors, write_tensors
from clipcore.types import LabelScore, Vectors
from clipcore.zero_shot import as_embeddings, best_scores, softmax

_KIND = "linear probe 1"
_ITERATIONS = 1000
# The search of appendix A.3: seven strengths, two decades apart, then half as far around the best until there are
# eight a decade.
_DECADES = range(-6, 7, 2)
_FINEST = 0.125
# Differences of log-likelihood up to this do not count (see `choose_strength`).
_SUPPORT = 2.0

Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """classes: names. weights: float32 [classes, dim]; biases: float32 [classes], minus infinity for a class without
    training images. strength: scikit-learn's C, the inverse of the regularisation. model_key: of the model that made
    the embeddings.
    """

    classes: tuple[str, ...]
    weights: Vectors
    biases: Vectors
    strength: float
    model_key: str

    @classmethod
    def fit(
        cls, vectors: Vectors, class_of: Classes, classes: Sequence[str], *, strength: float, model_key: str
    ) -> LinearProbe:
        """vectors: float32 [n, dim]; class_of: int64 [n], rows of `classes`. L-BFGS, at most 1000 iterations.

        Raises BadInput where fewer than two classes have images, and where scikit-learn is missing.
        """
        regression = _fitted(strength, vectors, class_of)
        rows, offsets = regression.coef_, regression.intercept_
        if len(rows) == 1:
            # Of two classes scikit-learn keeps one row, whose sigmoid is the softmax of that row and zero.
            rows, offsets = np.concatenate([0 * rows, rows]), np.append(0, offsets)
        weights = np.zeros((len(classes), vectors.shape[1]), np.float32)
        biases = np.full(len(classes), -np.inf, np.float32)
        weights[regression.classes_], biases[regression.classes_] = rows, offsets
        return cls(tuple(classes), weights, biases, strength, model_key)

    def scores(self, vectors: Vectors) -> Vectors:
        """vectors: float32 [n, dim]. Returns logits, float32 [n, classes]. Raises BadInput for other shapes and NaN."""
        logits: Vectors = as_embeddings(vectors, self.weights.shape[1]) @ self.weights.T + self.biases
        return logits

    def probabilities(self, vectors: Vectors) -> Vectors:
        """float32 [n, classes]; each row adds up to 1."""
        return softmax(self.scores(vectors))

    def predict(self, vectors: Vectors) -> list[str]:
        """The most probable class of each."""
        return [self.classes[row] for row in self.scores(vectors).argmax(axis=1)]

    def classify(self, vectors: Vectors, top: int = 5, threshold: float = 0.0) -> list[tuple[LabelScore, ...]]:
        """For each vector its `top` most probable classes, best first; none below the threshold."""
        return [best_scores(self.classes, row, top, threshold) for row in self.probabilities(vectors)]

    def save(self, path: Path) -> None:
        """One safetensors file, atomically. Raises BadInput where it cannot be written."""
        metadata = {"model": self.model_key, "classes": json.dumps(self.classes), "strength": repr(self.strength)}
        write_tensors(path, _KIND, {"weights": self.weights, "biases": self.biases}, metadata)

    @classmethod
    def load(cls, path: Path, model_key: str) -> LinearProbe:
        """Raises BadInput where the file is missing, broken, foreign, or trained on another model's embeddings."""
        arrays, metadata = read_tensors(path, _KIND, "a linear probe")
        if metadata.get("model") != model_key:
            raise BadInput(
                f"The probe {str(path)!r} was trained on the model {metadata.get('model')!r}, not {model_key!r}."
            )
        try:
            classes, strength = tuple(json.loads(metadata["classes"])), float(metadata["strength"])
            weights, biases = arrays["weights"].astype(np.float32), arrays["biases"].astype(np.float32)
            if weights.ndim != 2 or biases.shape != weights.shape[:1] or len(classes) != len(weights):
                raise ValueError("its arrays do not fit together")
        except (KeyError, ValueError) as error:
            raise BadInput(f"The probe {str(path)!r} is broken; train it again.") from error
        return cls(classes, weights, biases, strength, model_key)


def choose_strength(
    vectors: Vectors, class_of: Classes, *, seed: int = 0, tried: Callable[[float, float], None] | None = None
) -> float:
    """The C with the best accuracy on a fifth of each class, held back. Of several with the best accuracy, as happens
    with few images, the smallest whose log-likelihood is within two of the best.

    Where classes are separated perfectly the likelihood grows with C without end, and the largest C, overfitted to
    these images, would always win. What the data do not decide (Edwards' interval of support, 1972: two units of
    log-likelihood) is decided for the strongest regularisation.

    tried: called with each C and its accuracy, 0 to 1. Raises BadInput as `LinearProbe.fit` does.
    """
    held = held_back(class_of, seed=seed)
    if not held.any():
        raise BadInput("No class has two images, so nothing can be held back to choose C by; give C yourself.")

    @cache
    def merit(exponent: float) -> tuple[float, float]:
        """Accuracy and log-likelihood on the images held back."""
        regression = _fitted(10.0**exponent, vectors[~held], class_of[~held])
        probabilities = regression.predict_proba(vectors[held])
        places = np.searchsorted(regression.classes_, class_of[held])
        own = probabilities[np.arange(len(places)), places]
        # A probability may come out as 0; its logarithm has to stay a number.
        likelihood = float(np.log(np.maximum(own, np.finfo(own.dtype).tiny)).sum())
        accuracy = float(np.mean(probabilities.argmax(axis=1) == places))
        if tried is not None:
            tried(10.0**exponent, accuracy)
        return accuracy, likelihood

    best = _preferred([float(decade) for decade in _DECADES], merit)
    step = 1.0
    while step >= _FINEST:
        near = (best - step, best, best + step)
        best = _preferred([exponent for exponent in near if _DECADES[0] <= exponent <= _DECADES[-1]], merit)
        step /= 2
    return float(10.0**best)


def _preferred(exponents: Sequence[float], merit: Callable[[float], tuple[float, float]]) -> float:
    """The smallest of the most accurate and about most likely."""
    accuracy = max(merit(exponent)[0] for exponent in exponents)
    likelihood_of = {each: merit(each)[1] for each in exponents if merit(each)[0] == accuracy}
    best = max(likelihood_of.values())
    return min(each for each, likelihood in likelihood_of.items() if likelihood >= best - _SUPPORT)


def held_back(class_of: Classes, *, seed: int) -> npt.NDArray[np.bool_]:
    """Which images to choose by: of each class a fifth, at least one where it has two, and never all."""
    random = np.random.default_rng(seed)
    held = np.zeros(len(class_of), np.bool_)
    for row in np.unique(class_of):
        members = random.permutation(np.flatnonzero(class_of == row))
        held[members[: min(len(members) - 1, max(1, round(len(members) / 5)))]] = True
    return held


def require_two(class_of: Classes) -> None:
    """Raises BadInput where fewer than two classes have images; cheap, so callers check it before they encode."""
    if len(np.unique(class_of)) < 2:
        raise BadInput("A linear probe needs images of at least two classes.")


def _fitted(strength: float, vectors: Vectors, class_of: Classes):  # type: ignore[no-untyped-def]  # noqa: ANN202 - scikit-learn has no types
    """Stopping at the last iteration is part of the recipe, and classes may have one or two images: neither warns."""
    require_two(class_of)
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise BadInput("A linear probe needs scikit-learn: pip install 'magpie[lab]'.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes")
        return LogisticRegression(C=strength, solver="lbfgs", max_iter=_ITERATIONS).fit(vectors, class_of)
