"""Contrastive fine-tuning. Importing the package loads no torch; `train` is fetched on first use.

from clipcore.training import TrainingPlan, train
train(model, pairs, TrainingPlan(epochs=3), Path("tuned"), validation=held_out)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipcore.training.plan import TrainingPlan as TrainingPlan

if TYPE_CHECKING:
    from clipcore.training.fine_tuning import train as train


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds
    if name != "train":
        raise AttributeError(f"module 'clipcore.training' has no attribute {name!r}")
    from clipcore.training.fine_tuning import train

    return train
