"""Muon (Jordan et al. 2024) in float32, on stacks of equal matrices.

PyTorch's own works matrix by matrix in bfloat16, which a CPU without bfloat16 arithmetic does four times slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
STEPS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before each step. For matrices inside layers only.

    lr: the step's spectral norm; momentum: Nesterov's; weight_decay: decoupled, times lr.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever given
        for group in self.param_groups:
            stacks: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                stacks[weight.shape].append(weight)
            for weights in stacks.values():
                self._step(weights, group)

    def _step(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        moves = []
        for weight in weights:
            if weight.grad is None:
                raise ValueError("Muon steps only after backward has reached all of its weights.")
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
            moves.append(weight.grad.lerp(state["momentum"], group["momentum"]))
        rows, columns = weights[0].shape
        size = group["lr"] * max(1.0, rows / columns) ** 0.5
        for weight, update in zip(weights, orthogonal(torch.stack(moves)), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)


def orthogonal(stack: Tensor) -> Tensor:
    """float32 [k, rows, columns]: each matrix with its singular values brought near 1, by five quintic steps."""
    a, b, c = NEWTON_SCHULZ
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result
