"""The bundled model's plan and objective, for `clipcore.training`'s `Trainer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn import functional
from transformers import CLIPModel

from clipcore.training.trainer import Stateful, Trainer
from tools.bundled_loss import training_loss
from tools.bundled_stream import Mix, Stream
from tools.muon import Muon

HIGHEST_LOG_SCALE = 4.2
"""The greatest log of the logit scale (e^4.2 = 66.7): beyond it the softmax only grows brittle."""


@dataclass(frozen=True, slots=True)
class Plan:
    """alone_until: share of the steps with single concepts only; spread_until: share until which places widen."""

    steps: int
    warmup: float = 0.02
    plateau: float = 0.4
    alone_until: float = 0.3
    spread_until: float = 0.25
    muon_rate: float = 0.02
    adam_rate: float = 1.5e-3
    guidance: float = 1.0
    later: Mix = Mix(136, 96, 4)

    def mix(self, step: int) -> Mix:
        share = step / self.steps
        if share < self.alone_until:
            return Mix(224, 0, 0, min(1.0, 0.25 + share / self.spread_until))
        return self.later

    def rate(self, step: int) -> float:
        """The learning rates' factor: a short rise, a plateau, then a straight line to nothing."""
        share = step / self.steps
        if share < self.warmup:
            return max(share / self.warmup, 0.01)
        return min(1.0, (1 - share) / (1 - self.plateau))


FINISH = Plan(
    650, warmup=0.03, plateau=0.1, alone_until=0.0, muon_rate=0.01, adam_rate=5e-4, guidance=0.0, later=Mix(112, 120, 6)
)
"""Goes on from a finished model, more gently and with more scenes."""


class Lessons:
    """Owns the bank of caption embeddings, the anchors, and the stream's position."""

    def __init__(self, model: CLIPModel, stream: Stream, plan: Plan) -> None:
        self._model = model
        self._stream = stream
        self._plan = plan
        self._anchors = _directions(len(stream.concepts), model.config.projection_dim)
        self._bank = self._anchors.clone() if plan.guidance else stream.names(model)

    def backward(self, step: int) -> float:
        guidance = self._plan.guidance * (1 - step / self._plan.steps)
        batch = self._stream.batch(self._plan.mix(step))
        loss = training_loss(self._model, batch, self._bank, self._anchors, guidance)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.item()

    @torch.no_grad()
    def clamp_scale(self) -> None:
        self._model.logit_scale.clamp_(0, HIGHEST_LOG_SCALE)

    def state_dict(self) -> dict[str, Any]:
        return {"bank": self._bank, "anchors": self._anchors, "rng": self._stream.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._bank, self._anchors = state["bank"], state["anchors"]
        self._stream.rng.bit_generator.state = state["rng"]


class Lesson(Stateful, Protocol):
    """What a model is trained by."""

    def backward(self, step: int) -> float: ...
    def clamp_scale(self) -> None: ...


def trainer_for(model: CLIPModel, lesson: Lesson, plan: Plan, folder: Path) -> Trainer:
    """Resumes from the checkpoint in the folder, if there is one."""
    optimisers = _optimisers_for(model, plan)
    states: dict[str, Stateful] = {"model": model, "lessons": lesson}
    states |= {type(optimiser).__name__: optimiser for optimiser in optimisers}
    trainer = Trainer(
        lesson.backward,
        optimisers,
        folder / "checkpoint.pt",
        states,
        steps=plan.steps,
        rate=plan.rate,
        after_step=lesson.clamp_scale,
    )
    trainer.resume()
    return trainer


def _optimisers_for(model: CLIPModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else that is not frozen."""
    hidden = [
        weight
        for name, weight in model.named_parameters()
        if ".layers." in name and weight.ndim == 2 and weight.requires_grad
    ]
    inside = {id(weight) for weight in hidden}
    rest = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in inside]
    return [
        Muon(hidden, lr=plan.muon_rate, momentum=0.95, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _directions(count: int, dimension: int) -> torch.Tensor:
    """float32 [count, dimension], unit length, about evenly apart."""
    return functional.normalize(torch.randn(count, dimension), dim=-1)
