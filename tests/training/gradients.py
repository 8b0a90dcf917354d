"""What one step leaves on the weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from clipcore.training.contrastive import ContrastiveBatches, choose_weights, set_training_mode
from clipcore.training.distributed import ProcessGroup
from clipcore.training.plan import TrainingPlan
from tests.training.world import load, patches


def gradients(
    directory: Path,
    *,
    group: ProcessGroup | None = None,
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
    planned = TrainingPlan(batch_size=12, **plan)
    choose_weights(model.towers, planned)
    set_training_mode(model.towers, planned)
    objective = ContrastiveBatches(
        model,
        pairs,
        planned,
        group=group or ProcessGroup(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        on_skip=lambda name, reason: None,
    )
    loss = objective.backward(0)
    objective.reader.close()
    named = model.towers.module.named_parameters()
    return loss, {name: weight.grad for name, weight in named if weight.grad is not None}
