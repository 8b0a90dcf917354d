"""Scores of labels: a model's probabilities on a scale of 1 to 99 that means the same for every model."""

from __future__ import annotations

import math

LOWEST, MIDDLE, HIGHEST = 1, 50, 99

_LEAST = 1e-9


def tag_score(probability: float, threshold: float) -> int:
    """50 at the model's threshold, the more the more probable; below the threshold it is below 50.

    The logistic function of the distance in logits. Probabilities themselves tell little: those of a softmax are shared
    among the labels, those of SigLIP are all low, and every model has its own threshold.
    """
    share = 1 / (1 + math.exp(_logit(threshold) - _logit(probability)))
    return max(LOWEST, min(HIGHEST, math.floor(100 * share + 1e-6)))


def needed_probability(score: int, threshold: float) -> float:
    """The probability from which an image has at least this score."""
    if score == MIDDLE:
        return threshold
    return 1 / (1 + math.exp(-_logit(threshold) - _logit(score / 100)))


def _logit(probability: float) -> float:
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))
