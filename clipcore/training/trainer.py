"""The training loop of any objective: learning rates, gradient clipping, optimiser steps, and exact checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from clipcore.errors import BadInput
from clipcore.files import writing_to
from clipcore.training.plan import first_difference
from clipcore.training.record import Step


class Stateful(Protocol):
    """What a checkpoint holds: weights, optimisers, random generators, records."""

    def state_dict(self) -> dict[str, Any]:
        """Only tensors, numbers, texts, lists and dicts: the file is loaded with weights_only."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


class Trainer:
    """Runs optimiser steps, knows how many are done, and saves them to a checkpoint.

    backward: called with a step's number, from 0; leaves the gradients of its loss on the weights, scaled by `scaler`,
    and returns the unscaled loss. checkpoint: a file with `states`, everything that changes in a run, optimisers
    included, and `settings`, which must be the same when the run is resumed. rate: step from 0 -> factor of each
    optimiser's learning rate. after_step: called after the optimisers' step. clip: the longest gradient, 0 for no
    limit.
    """

    def __init__(
        self,
        backward: Callable[[int], float],
        optimisers: Sequence[torch.optim.Optimizer],
        checkpoint: Path,
        states: Mapping[str, Stateful],
        *,
        steps: int,
        rate: Callable[[int], float],
        settings: Mapping[str, Any] | None = None,
        after_step: Callable[[], object] = lambda: None,
        clip: float = 0.0,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.steps = steps
        self.done = 0
        self._backward = backward
        self._optimisers = optimisers
        self._checkpoint = checkpoint
        self._states = states
        self._rate = rate
        self._rates = [group["lr"] for group in self._groups()]
        self._settings = dict(settings or {})
        self._after_step = after_step
        self._clip = clip
        self._scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)

    def run(self) -> Iterator[Step]:
        """Runs the remaining steps; yields each when it is done. Raises BadInput where the loss is not finite."""
        while self.done < self.steps:
            yield self._step()

    def save(self) -> None:
        """Replaces the checkpoint in one step: a power cut leaves the old file or the new one. Raises BadInput."""
        states = {name: part.state_dict() for name, part in self._states.items()}
        new = self._checkpoint.with_suffix(".new")
        with writing_to(self._checkpoint.parent):
            with new.open("wb") as file:
                torch.save({"step": self.done, "settings": self._settings, "states": states}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._checkpoint)

    def resume(self) -> None:
        """Loads the checkpoint, if there is one. Raises BadInput where it cannot be read, or has other settings."""
        if not self._checkpoint.exists():
            return
        try:
            loaded = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
            step, settings, states = int(loaded["step"]), loaded["settings"], loaded["states"]
        except Exception as error:
            # A damaged file raises whatever the layer raises that finds the damage.
            raise BadInput(
                f"The checkpoint {str(self._checkpoint)!r} cannot be read ({type(error).__name__}); start over with "
                "--restart."
            ) from error
        if changed := first_difference(settings, self._settings):
            raise BadInput(
                f"{str(self._checkpoint.parent)!r} holds a run with {changed}; repeat its command, name another output "
                "folder, or add --restart to start over."
            )
        for name, part in self._states.items():
            part.load_state_dict(states[name])
        self.done = step

    def _step(self) -> Step:
        factor = self._rate(self.done)
        for group, rate in zip(self._groups(), self._rates, strict=True):
            group["lr"] = rate * factor
        loss = self._backward(self.done)
        if not isfinite(loss):
            raise BadInput(f"The loss became {loss} at step {self.done + 1}; lower the learning rate.")
        for optimiser in self._optimisers:
            self._scaler.unscale_(optimiser)
        if self._clip:
            nn.utils.clip_grad_norm_([weight for group in self._groups() for weight in group["params"]], self._clip)
        for optimiser in self._optimisers:
            self._scaler.step(optimiser)
            optimiser.zero_grad()
        self._scaler.update()
        self._after_step()
        self.done += 1
        return Step(self.done, loss, factor)

    def _groups(self) -> list[dict[str, Any]]:
        """The optimisers' groups of weights. Loading a state replaces them."""
        return [group for optimiser in self._optimisers for group in optimiser.param_groups]
