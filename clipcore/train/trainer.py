"""Steps towards any objective: rates, optimisers, clipping. What is learnt, and from what, is the objective's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import torch
from torch import Tensor, nn

from clipcore.errors import BadInput
from clipcore.train.keeping import Keeper


class Objective(Protocol):
    def backward(self, step: int) -> float:
        """Leaves the gradients of this step's loss on the weights, scaled where the trainer has a scaler. Returns the
        loss, unscaled."""
        ...

    def settle(self) -> None:
        """After the optimisers' step: brings weights back to where they may lie."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """number: from 1, when it is done. rate: the share of the highest learning rate that it went by."""

    number: int
    loss: float
    rate: float


class Trainer:
    """Owns the optimisers and the position. `keeper` knows everything that changes on the way."""

    def __init__(
        self,
        objective: Objective,
        optimisers: Sequence[torch.optim.Optimizer],
        keeper: Keeper,
        *,
        steps: int,
        rate: Callable[[int], float],
        clip: float = 0.0,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """rate: step from 0 -> factor of each optimiser's learning rate. clip: the longest gradient, 0 for any."""
        self.steps = steps
        self.done = 0
        self._objective = objective
        self._optimisers = optimisers
        self._keeper = keeper
        self._rate = rate
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
        self._clip = clip
        self._scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)

    def run(self) -> Iterator[Step]:
        """To the end of the plan, from wherever it stands; yields each step when it is done."""
        while self.done < self.steps:
            yield self._one()

    def put_away(self) -> None:
        self._keeper.put_away(self.done)

    def resume(self) -> None:
        """Goes on from the checkpoint, where there is one."""
        self.done = self._keeper.take_up()

    def _one(self) -> Step:
        factor = self._rate(self.done)
        self._set_rates(factor)
        loss = self._objective.backward(self.done)
        if not isfinite(loss):
            raise BadInput(f"The loss is no number any more at step {self.done + 1}; try a lower learning rate.")
        for optimiser in self._optimisers:
            self._scaler.unscale_(optimiser)
        if self._clip:
            nn.utils.clip_grad_norm_(self._weights(), self._clip)
        for optimiser in self._optimisers:
            self._scaler.step(optimiser)
            optimiser.zero_grad()
        self._scaler.update()
        self._objective.settle()
        self.done += 1
        return Step(self.done, loss, factor)

    def _set_rates(self, factor: float) -> None:
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def _weights(self) -> list[Tensor]:
        return [
            weight for optimiser in self._optimisers for group in optimiser.param_groups for weight in group["params"]
        ]
