"""What one step leaves on the weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from clipcore.training.data import Order
from clipcore.training.distributed import Group
from clipcore.training.plan import TrainingPlan
from clipcore.training.trainer import Contrastive
from clipcore.training.weights import begin_learning, choose_weights
from tests.training.world import load, patches


def gradients(
    directory: Path,
    *,
    group: Group | None = None,
    broken: Collection[int] = (),
    captions: Sequence[str] | None = None,
    one_image: bool = False,
    **plan,
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss, and the gradient of each weight that got one, of the first batch of twelve images."""
    model, pairs = load(directory), patches(12, captions_each=2, broken=broken)
    pairs = replace(pairs, captions=captions or pairs.captions)
    if one_image:
        pairs = replace(pairs, images=[pairs.images[0]] * len(pairs.images))
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
