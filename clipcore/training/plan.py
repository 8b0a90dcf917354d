"""The settings of a fine-tuning run. Plain data, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import cos, isfinite, pi
from typing import Any, Literal, get_args

from clipcore.errors import BadInput

Schedule = Literal["cosine", "linear", "constant"]
Autocast = Literal["fp32", "bf16", "fp16"]

# What may change when a run is resumed: reporting, and how a batch is divided, which changes sums by rounding only.
CHANGEABLE = frozenset({"micro_batch", "log_every", "checkpoint_every", "workers"})


def _setting(default: Any, panel: str, help: str) -> Any:  # noqa: ANN401 - a dataclass field of any type
    """help: one sentence for readers of this file and of `clipcore train --help`; panel: its heading there."""
    return field(default=default, metadata={"help": help, "rich_help_panel": panel})


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Weights are always float32, and AdamW's other settings are those of CLIP (Radford et al. 2021, table 18)."""

    epochs: int = _setting(5, "Learning", "Number of times that each image is shown.")
    learning_rate: float = _setting(1e-5, "Learning", "Highest learning rate, reached after warm-up.")
    schedule: Schedule = _setting("cosine", "Learning", "How the learning rate falls after warm-up.")
    warm_up: float = _setting(0.1, "Learning", "Share of all steps in which the learning rate rises.")
    weight_decay: float = _setting(0.2, "Learning", "Of matrices only: gains, biases and the temperature do not decay.")
    clip: float = _setting(1.0, "Learning", "Longest gradient; 0 for no limit.")
    fix_vision: bool = _setting(False, "Learning", "Keep the weights of the image tower.")
    fix_text: bool = _setting(False, "Learning", "Keep the weights of the text tower.")
    seed: int = _setting(0, "Learning", "Of the order, the choice of captions, and dropout.")
    batch_size: int = _setting(
        256,
        "Batches and memory",
        "Pairs contrasted in one step, over all processes. More is better and costs time, hardly memory.",
    )
    micro_batch: int = _setting(64, "Batches and memory", "Pairs encoded at a time, which must fit in memory.")
    amp: Autocast = _setting("fp32", "Batches and memory", "Precision that the towers compute in; fp16 on NVIDIA GPUs.")
    sequence_length: int | None = _setting(
        None, "Batches and memory", "Tokens that captions are cut to while training; the model's context if not given."
    )
    workers: int = _setting(2, "Batches and memory", "Threads that decode images.")
    log_every: int = _setting(10, "The run", "Steps between lines of the log.")
    checkpoint_every: int = _setting(200, "The run", "Steps between checkpoints.")
    validate_every: int | None = _setting(None, "The run", "Steps between validations; after each epoch if not given.")

    def __post_init__(self) -> None:
        """Raises BadInput."""
        for name in ("epochs", "micro_batch", "log_every", "checkpoint_every", "workers"):
            _require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("validate_every", "sequence_length"):
            _require(getattr(self, name) is None or getattr(self, name) >= 1, name, "at least 1")
        _require(self.batch_size >= 2, "batch_size", "at least 2: each pair is contrasted with the others")
        _require(self.sequence_length != 1, "sequence_length", "at least 2: a text has a start and an end")
        _require(isfinite(self.learning_rate) and self.learning_rate > 0, "learning_rate", "greater than 0")
        _require(0 <= self.warm_up <= 1, "warm_up", "a share from 0 to 1")
        for name in ("weight_decay", "clip", "seed"):
            _require(isfinite(getattr(self, name)) and getattr(self, name) >= 0, name, "0 or more")
        _require(self.schedule in get_args(Schedule), "schedule", f"one of {', '.join(get_args(Schedule))}")
        _require(self.amp in get_args(Autocast), "amp", f"one of {', '.join(get_args(Autocast))}")
        if self.fix_vision and self.fix_text:
            raise BadInput("With both towers fixed nothing is left to train; fix one of them at most.")

    def fixed_settings(self) -> dict[str, Any]:
        """The settings that must stay the same from a run's first step to its last."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in CHANGEABLE}


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Names the first setting that changed, such as "epochs 5, not 6"; None where none did."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            return f"{name.replace('_', ' ')} {before.get(name)}, not {now.get(name)}"
    return None


def rate_factor(schedule: Schedule, step: int, steps: int, warm_up: float) -> float:
    """The learning rate of step `step` of `steps`, counted from 0, as a share of the highest: above 0, up to 1.

    It rises linearly to 1 in the first `warm_up` of all steps, then stays, or falls nearly to 0 along half a cosine
    (Loshchilov & Hutter 2017, without restarts, as CLIP was trained) or a straight line.
    """
    rising = round(warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    left = 1 - (step - rising) / max(1, steps - rising)
    if schedule == "cosine":
        return (1 - cos(pi * left)) / 2
    return left if schedule == "linear" else 1.0


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise BadInput(f"The {name.replace('_', ' ')} must be {what}.")
