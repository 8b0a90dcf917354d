"""How the learning rate rises and falls."""

from __future__ import annotations

from math import cos, pi

from clipcore.train.plan import Schedule


def rate_factor(schedule: Schedule, step: int, steps: int, warm_up: float) -> float:
    """The share of the highest learning rate that step `step` of `steps`, counted from 0, goes by: above 0, up to 1.

    It rises in a straight line over the first `warm_up` of all steps, to 1, and then stays or falls to nearly nothing:
    along half a cosine (Loshchilov & Hutter 2017, without restarts, as CLIP was trained) or a straight line.
    """
    rising = round(warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    left = 1 - (step - rising) / max(1, steps - rising)
    if schedule == "cosine":
        return (1 - cos(pi * left)) / 2
    return left if schedule == "linear" else 1.0
