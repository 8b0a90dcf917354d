"""The training loop of any objective: learning rates, gradient clipping, optimiser steps, and exact checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from clipcore.errors import BadInput
from clipcore.files import writing_to
from clipcore.models.weights import read_pickled
from clipcore.training.plan import first_difference
from clipcore.training.record import Step


class Stateful(Protocol):
    """What a checkpoint holds: weights, optimisers, random generators, records."""

    def state_dict(self) -> dict[str, Any]:
        """Only tensors, numbers, texts, lists and dicts: the file is read as `read_pickled` does."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


@dataclass
class Trainer:
    """Runs optimiser steps, knows how many are done, and saves them to a checkpoint.

    backward: called with a step's number, from 0; leaves the gradients of its loss on the weights, scaled by `scaler`,
    and returns the unscaled loss. checkpoint: a file with `states`, everything that changes in a run, optimisers
    included, and `settings`, which must be the same when the run is resumed. rate: step from 0 -> factor of each
    optimiser's learning rate. after_step: called after the optimisers' step. clip: the longest gradient, 0 for no
    limit.
    """

    backward: Callable[[int], float]
    optimisers: Sequence[torch.optim.Optimizer]
    checkpoint: Path
    states: Mapping[str, Stateful]
    _: KW_ONLY
    steps: int
    rate: Callable[[int], float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    after_step: Callable[[], object] = lambda: None
    clip: float = 0.0
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._rates = [group["lr"] for group in self._groups()]

    def run(self) -> Iterator[Step]:
        """Runs the remaining steps; yields each when it is done. Raises BadInput where the loss is not finite."""
        while self.done < self.steps:
            yield self._step()

    def save(self) -> None:
        """Replaces the checkpoint in one step: a power cut leaves the old file or the new one. Raises BadInput."""
        states = {name: part.state_dict() for name, part in self.states.items()}
        new = self.checkpoint.with_suffix(".new")
        with writing_to(self.checkpoint.parent):
            with new.open("wb") as file:
                torch.save({"step": self.done, "settings": self.settings, "states": states}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.checkpoint)

    def resume(self) -> None:
        """Loads the checkpoint, if there is one. Raises BadInput where it cannot be read, or has other settings."""
        if not self.checkpoint.exists():
            return
        try:
            loaded: Any = read_pickled(self.checkpoint)
            step, settings, states = int(loaded["step"]), loaded["settings"], loaded["states"]
        except Exception as error:
            # A damaged file raises whatever the layer raises that finds the damage.
            raise BadInput(
                f"The checkpoint {str(self.checkpoint)!r} cannot be read ({type(error).__name__}); start over with "
                "--restart."
            ) from error
        if changed := first_difference(settings, self.settings):
            raise BadInput(
                f"{str(self.checkpoint.parent)!r} holds a run with {changed}; repeat its command, name another output "
                "folder, or add --restart to start over."
            )
        for name, part in self.states.items():
            part.load_state_dict(states[name])
        self.done = step

    def _step(self) -> Step:
        factor = self.rate(self.done)
        for group, rate in zip(self._groups(), self._rates, strict=True):
            group["lr"] = rate * factor
        loss = self.backward(self.done)
        if not isfinite(loss):
            raise BadInput(f"The loss became {loss} at step {self.done + 1}; lower the learning rate.")
        for optimiser in self.optimisers:
            self.scaler.unscale_(optimiser)
        if self.clip:
            nn.utils.clip_grad_norm_([weight for group in self._groups() for weight in group["params"]], self.clip)
        for optimiser in self.optimisers:
            self.scaler.step(optimiser)
            optimiser.zero_grad()
        self.scaler.update()
        self.after_step()
        self.done += 1
        return Step(self.done, loss, factor)

    def _groups(self) -> list[dict[str, Any]]:
        """The optimisers' groups of weights. Loading a state replaces them."""
        return [group for optimiser in self.optimisers for group in optimiser.param_groups]
