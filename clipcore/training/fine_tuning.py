"""A fine-tuning run from its first step to its last, and from wherever it was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipcore.datasets.pairs import Pairs
from clipcore.errors import BadInput, ImageRejected
from clipcore.model import ClipModel
from clipcore.training.data import Order
from clipcore.training.distributed import Group, joined
from clipcore.training.plan import TrainingPlan, rate_factor
from clipcore.training.record import Best, Record, Unwatched, Watcher, validate
from clipcore.training.run_folder import Keeper, Kept, OutputFolder, draw_curves
from clipcore.training.trainer import Contrastive, Step, Trainer
from clipcore.training.weights import begin_learning, choose_weights, optimiser_for


@dataclass(frozen=True, slots=True)
class Trained:
    """finished: False where it was stopped before its last step. first: the mean recall before any step; best: the
    greatest of all; both None without a validation set. seconds: without interruptions. skipped: images left out, by
    name, each with its reason.
    """

    folder: Path
    steps: int
    done: int
    first: float | None
    best: Best | None
    seconds: float
    skipped: Mapping[str, str]

    @property
    def finished(self) -> bool:
        return self.done == self.steps


def train(
    model: ClipModel,
    pairs: Pairs,
    plan: TrainingPlan,
    folder: Path,
    *,
    validation: Pairs | None = None,
    restart: bool = False,
    watcher: Watcher | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Trained:
    """Fine-tunes `model` in place and writes the run to `folder`; called again with the same, goes on from there.

    The folder holds `last/` and, with a validation set, `best/` by mean recall, both loadable by their path;
    `checkpoint.pt`, `training.jsonl` and `curve.png`. restart: forgets an earlier run there. stopped: asked after each
    step; when it says so, the run is put away. model: in float32. Under torchrun every process calls this, and the
    batch is divided among them.

    Raises BadInput where plan, data, model and folder do not go together, and TextNotSupported for a model without
    a text tower.
    """
    with joined(model.device) as group:
        run = FineTuning(
            model, pairs, plan, folder, validation=validation, group=group, restart=restart, watcher=watcher
        )
        try:
            return run.to_the_end(stopped)
        except torch.OutOfMemoryError as error:
            raise BadInput(
                f"The device has too little memory for {plan.micro_batch} pairs at a time; take a smaller micro-batch."
            ) from error
        finally:
            run.close()


class FineTuning:
    """Puts the parts together. The process that leads alone validates, writes and speaks."""

    def __init__(
        self,
        model: ClipModel,
        pairs: Pairs,
        plan: TrainingPlan,
        folder: Path,
        *,
        validation: Pairs | None,
        group: Group,
        restart: bool,
        watcher: Watcher | None,
    ) -> None:
        _check_model(model, plan)
        self._model = model
        self._plan = plan
        self._validation = validation
        self._group = group
        self._watcher = watcher if watcher is not None and group.leads else Unwatched()
        self._output = OutputFolder(folder)
        self._order = Order(pairs, plan.batch, plan.seed)
        self._record = Record(self._output.log if group.leads else None)
        scaler = torch.amp.GradScaler(model.device.type, enabled=plan.amp == "fp16")
        self._objective = Contrastive(model, pairs, plan, self._order, group=group, scaler=scaler, on_skip=self._skip)
        self._trainer = self._new_trainer(scaler, _terms(model, pairs, plan, validation))
        if group.leads:
            self._output.prepare(restart=restart)
        group.wait()
        self._trainer.resume()
        self._record.rewrite()

    def to_the_end(self, stopped: Callable[[], bool]) -> Trained:
        begin_learning(self._model.towers, self._plan)
        if self._trainer.done == 0:
            self._validate(0)
        steps, finished = self._trainer.steps, self._trainer.done == self._trainer.steps
        for step in self._watcher.through(self._trainer.run(), self._trainer.done, steps):
            self._after(step)
            if self._group.any(stopped(), self._model.device):
                break
        if not finished:
            self._put_away_all()
        return self._summary()

    def close(self) -> None:
        """The model is ready to encode again."""
        self._objective.close()
        self._model.towers.module.eval().requires_grad_(False)

    def _new_trainer(self, scaler: torch.amp.GradScaler, terms: dict[str, Any]) -> Trainer:
        optimiser = optimiser_for(choose_weights(self._model.towers, self._plan), self._plan)
        kept: dict[str, Kept] = {
            "model": self._model.towers.module,
            "optimiser": optimiser,
            "scaler": scaler,
            "record": self._record,
        }
        steps = self._plan.epochs * self._order.steps_per_epoch
        return Trainer(
            self._objective,
            [optimiser],
            Keeper(self._output.checkpoint, kept, terms),
            steps=steps,
            rate=lambda step: rate_factor(self._plan.schedule, step, steps, self._plan.warm_up),
            clip=self._plan.clip,
            scaler=scaler,
        )

    def _after(self, step: Step) -> None:
        self._record.saw(step)
        number, last = step.number, step.number == self._trainer.steps
        if number % self._plan.log_every == 0 or last:
            self._log(step)
        if number % (self._plan.validate_every or self._order.steps_per_epoch) == 0 or last:
            self._validate(number)
        if number % self._plan.checkpoint_every == 0 and not last and self._group.leads:
            self._trainer.put_away()

    def _log(self, step: Step) -> None:
        scale = self._model.towers.log_scale
        row = self._record.log(
            step,
            epoch=step.number / self._order.steps_per_epoch,
            learning_rate=self._plan.learning_rate * step.rate,
            logit_scale=1.0 if scale is None else float(scale.detach().exp()),
        )
        self._watcher.logged(row, self._trainer.steps)

    def _validate(self, step: int) -> None:
        if self._validation is None or not self._group.leads:
            return
        self._model.towers.module.eval()
        found = validate(self._model, self._validation, self._plan.micro_batch, self._skip_validation)
        begin_learning(self._model.towers, self._plan)
        best = self._record.validated(step, found, epoch=step / self._order.steps_per_epoch)
        if best:
            self._output.save("best", self._model, found.text_match)
        self._watcher.validated(self._record.rows[-1], best=best)

    def _skip(self, name: str, reason: str) -> None:
        if self._record.skip(name, reason):
            self._watcher.skipped(name, reason)

    def _skip_validation(self, name: str, reason: str) -> None:
        self._skip(f"{name} of the validation set", reason)

    def _put_away_all(self) -> None:
        """The checkpoint last: until it stands, the run goes on from the one before and does the rest again."""
        if not self._group.leads:
            return
        validations = self._record.validations
        self._output.save("last", self._model, validations[-1]["text_match"] if validations else None)
        try:
            draw_curves(self._record.rows, self._output.curve)
        except BadInput as error:
            self._watcher.warned(str(error))
        self._trainer.put_away()

    def _summary(self) -> Trained:
        validations = self._record.validations
        return Trained(
            self._output.folder,
            self._trainer.steps,
            self._trainer.done,
            validations[0]["mean_recall"] if validations else None,
            self._record.best,
            self._record.seconds,
            dict(self._record.skipped),
        )


def _check_model(model: ClipModel, plan: TrainingPlan) -> None:
    if model.dtype != "float32":
        raise BadInput("Training needs the weights in float32; load the model so, and ask for bf16 by amp.")
    if plan.amp == "fp16" and model.device.type != "cuda":
        raise BadInput("fp16 needs an NVIDIA GPU; use bf16 or fp32 here.")


def _terms(model: ClipModel, pairs: Pairs, plan: TrainingPlan, validation: Pairs | None) -> dict[str, Any]:
    """What a run must keep to; see `Keeper`."""
    return {
        "model": model.card.key,
        "training data": _fingerprint(pairs),
        "validation data": None if validation is None else _fingerprint(validation),
        **plan.binding(),
    }


def _fingerprint(pairs: Pairs) -> str:
    """12 hexadecimal digits of all captions, all images' names, and what is in a few of the images."""
    digest = hashlib.sha256(np.asarray(pairs.image_of, np.int64).tobytes())
    for words in (*pairs.captions, *(image.name for image in pairs.images)):
        digest.update(words.encode(errors="replace") + b"\0")
    for row in np.linspace(0, len(pairs.images) - 1, min(16, len(pairs.images))).astype(int):
        try:
            digest.update(hashlib.sha256(pairs.images[row].read()).digest())
        except (OSError, ImageRejected):
            digest.update(b"\0")
    return digest.hexdigest()[:12]
