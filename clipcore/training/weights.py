"""Which weights learn, and how each kind of them does."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import nn

from clipcore.models.towers import Towers
from clipcore.training.plan import TrainingPlan

# "Clipped to prevent scaling the logits by more than 100" (Radford et al. 2021, §2.5). A sigmoid needs no such bound:
# published SigLIP models lie beyond it.
HIGHEST_LOG_SCALE = log(100)


def choose_weights(towers: Towers, plan: TrainingPlan) -> list[nn.Parameter]:
    """Those that will learn, in the model's order; all others are fixed."""
    towers.module.requires_grad_(True)
    for part in _fixed(towers, plan):
        part.requires_grad_(False)
    return [weight for weight in towers.module.parameters() if weight.requires_grad]


def begin_learning(towers: Towers, plan: TrainingPlan) -> None:
    """Dropout where something learns. Batch norms keep the statistics that they came with: those of a micro-batch
    would depend on how the batch is cut."""
    towers.module.train()
    for module in towers.module.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    for part in _fixed(towers, plan):
        if isinstance(part, nn.Module):
            part.eval()


def optimiser_for(weights: Sequence[nn.Parameter], plan: TrainingPlan) -> torch.optim.AdamW:
    """AdamW as CLIP's ViT models were trained with (Radford et al. 2021, table 18): decay for matrices alone."""
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    kept = [group for group in groups if group["params"]]
    return torch.optim.AdamW(kept, lr=plan.learning_rate, betas=(0.9, 0.98), eps=1e-6)


@torch.no_grad()
def hold_scale(towers: Towers) -> None:
    """Brings the temperature of a softmax back to where it may lie."""
    if towers.log_scale is not None and towers.logit_bias is None:
        towers.log_scale.clamp_(0, HIGHEST_LOG_SCALE)


def _fixed(towers: Towers, plan: TrainingPlan) -> list[nn.Module | nn.Parameter]:
    return [*(towers.vision if plan.fix_vision else ()), *(towers.text if plan.fix_text else ())]
