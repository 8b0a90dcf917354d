"""What a fine-tuning run is asked to do. Plain data, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import cos, isfinite, pi
from typing import Any, Literal, get_args

from clipcore.errors import BadInput

Schedule = Literal["cosine", "linear", "constant"]
Autocast = Literal["fp32", "bf16", "fp16"]

# What may differ when a run is resumed: how it is watched, and how a batch is cut up, which changes sums by rounding
# alone.
FREE = frozenset({"micro_batch", "log_every", "checkpoint_every", "workers"})


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """epochs: each shows every image once. batch: pairs that are told apart in one step, over all processes together;
    micro_batch: pairs that pass through the towers at a time, which bounds the memory.

    learning_rate: at its highest, after the first `warm_up` (a share) of all steps. weight_decay: of matrices alone,
    not of gains, biases and the temperature (Radford et al. 2021, table 18). clip: longest gradient, 0 for any.
    amp: what the towers compute in; weights are always float32. sequence_length: tokens that captions are cut to,
    None for the model's own context. workers: threads that decode. The rest is in steps: validate_every None means
    after each epoch.
    """

    epochs: int = 5
    batch: int = 256
    micro_batch: int = 64
    learning_rate: float = 1e-5
    schedule: Schedule = "cosine"
    warm_up: float = 0.1
    weight_decay: float = 0.2
    clip: float = 1.0
    amp: Autocast = "fp32"
    seed: int = 0
    fix_vision: bool = False
    fix_text: bool = False
    sequence_length: int | None = None
    log_every: int = 10
    checkpoint_every: int = 200
    validate_every: int | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        """Raises BadInput."""
        for name in ("epochs", "micro_batch", "log_every", "checkpoint_every", "workers"):
            _require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("validate_every", "sequence_length"):
            _require(getattr(self, name) is None or getattr(self, name) >= 1, name, "at least 1")
        _require(self.batch >= 2, "batch", "at least 2: each pair is told apart from others")
        _require(self.sequence_length != 1, "sequence_length", "at least 2: a text has a start and an end")
        _require(isfinite(self.learning_rate) and self.learning_rate > 0, "learning_rate", "greater than 0")
        _require(0 <= self.warm_up <= 1, "warm_up", "a share from 0 to 1")
        for name in ("weight_decay", "clip", "seed"):
            _require(isfinite(getattr(self, name)) and getattr(self, name) >= 0, name, "0 or more")
        _require(self.schedule in get_args(Schedule), "schedule", f"one of {', '.join(get_args(Schedule))}")
        _require(self.amp in get_args(Autocast), "amp", f"one of {', '.join(get_args(Autocast))}")
        if self.fix_vision and self.fix_text:
            raise BadInput("With both towers fixed nothing is left to train; fix one of them at most.")

    def binding(self) -> dict[str, Any]:
        """What a run must keep to from its first step to its last."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in FREE}


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What changed, such as "epochs 5, not 6"; None where all is as it was."""
    for name in [*before, *(name for name in now if name not in before)]:
        if before.get(name) != now.get(name):
            return f"{name.replace('_', ' ')} {before.get(name)}, not {now.get(name)}"
    return None


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise BadInput(f"The {name.replace('_', ' ')} must be {what}.")


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
