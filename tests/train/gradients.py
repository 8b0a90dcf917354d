"""What one step leaves on the weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from clipcore.train.batches import Order
from clipcore.train.contrastive import Contrastive
from clipcore.train.distributed import Group
from clipcore.train.plan import TrainingPlan
from clipcore.train.weights import begin_learning, choose_weights
from tests.train.world import load, patches


def gradients(
    directory: Path,
    *,
    group: Group | None = None,
    broken: Collection[int] = (),
    captions: Sequence[str] | None = None,
    one_picture: bool = False,
    **plan,
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and the gradient of each weight that got one, of the first batch of twelve pictures."""
    model, pairs = load(directory), patches(12, captions_each=2, broken=broken)
    pairs = replace(pairs, captions=captions or pairs.captions)
    if one_picture:
        pairs = replace(pairs, pictures=[pairs.pictures[0]] * len(pairs.pictures))
    planned = TrainingPlan(batch=12, **plan)
    choose_weights(model.towers, planned)
    begin_learning(model.towers, planned)
    objective = Contrastive(
        model,
        pairs,
        planned,
        Order(pairs, 12, 0),
        group=group or Group(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        on_skip=lambda name, reason: None,
    )
    loss = objective.backward(0)
    objective.close()
    named = model.towers.module.named_parameters()
    return loss, {name: weight.grad for name, weight in named if weight.grad is not None}
