"""Fine-tunes a model on captioned images; an interrupted run resumes to exactly the same weights."""

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
from clipcore.evaluation.retrieval import evaluate_retrieval
from clipcore.model import ClipModel
from clipcore.training.contrastive import (
    ContrastiveBatches,
    choose_weights,
    clamp_scale,
    optimiser_for,
    set_training_mode,
)
from clipcore.training.data import BatchOrder
from clipcore.training.distributed import ProcessGroup, process_group
from clipcore.training.plan import TrainingPlan, rate_factor
from clipcore.training.record import Best, Record, Step, TrainingObserver, draw_curves
from clipcore.training.run_folder import OutputFolder
from clipcore.training.trainer import Checkpointer, Stateful, Trainer


@dataclass(frozen=True, slots=True)
class Trained:
    """The state of a run. finished: whether its last step is done. first: the mean recall before any step; best: the
    highest; both None without a validation set. seconds: without interruptions. skipped: the reason for each skipped
    image, by name.
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
    observer: TrainingObserver | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Trained:
    """Fine-tunes `model` in place and writes the run to `folder`. Called again with the same arguments, it resumes.

    The folder holds `last/` and, with a validation set, `best/` by mean recall, both models that can be loaded by path;
    `checkpoint.pt`, `training.jsonl` and `curve.png`. restart: deletes an earlier run there. stopped: asked after each
    step; once it returns True, the run is saved and ends. model: in float32. Under torchrun every process calls this,
    and each batch is divided among them.

    Raises BadInput where plan, data, model and folder do not fit together, and TextNotSupported for an image-only
    model.
    """
    with process_group(model.device) as group:
        run = FineTuning(
            model, pairs, plan, folder, validation=validation, group=group, restart=restart, observer=observer
        )
        try:
            return run.run(stopped)
        except torch.OutOfMemoryError as error:
            raise BadInput(
                f"The device has too little memory for {plan.micro_batch} pairs at a time; take a smaller micro-batch."
            ) from error
        finally:
            run.close()


class FineTuning:
    """One run. Only the main process validates, writes and reports."""

    def __init__(
        self,
        model: ClipModel,
        pairs: Pairs,
        plan: TrainingPlan,
        folder: Path,
        *,
        validation: Pairs | None,
        group: ProcessGroup,
        restart: bool,
        observer: TrainingObserver | None,
    ) -> None:
        _check_model(model, plan)
        self._model = model
        self._plan = plan
        self._validation = validation
        self._group = group
        self._observer = observer if observer is not None and group.is_main else TrainingObserver()
        self._output = OutputFolder(folder)
        self._order = BatchOrder(pairs, plan.batch_size, plan.seed)
        self._record = Record(self._output.log if group.is_main else None)
        scaler = torch.amp.GradScaler(model.device.type, enabled=plan.amp == "fp16")
        self._batches = ContrastiveBatches(
            model, pairs, plan, self._order, group=group, scaler=scaler, on_skip=self._skip
        )
        self._trainer = self._new_trainer(scaler, _settings(model, pairs, plan, validation))
        if group.is_main:
            self._output.prepare(restart=restart)
        group.barrier()
        self._trainer.resume()
        self._record.rewrite_file()

    def run(self, stopped: Callable[[], bool]) -> Trained:
        set_training_mode(self._model.towers, self._plan)
        if self._trainer.done == 0:
            self._validate(0)
        steps, finished = self._trainer.steps, self._trainer.done == self._trainer.steps
        for step in self._observer.progress(self._trainer.run(), self._trainer.done, steps):
            self._after(step)
            if self._group.any(stopped(), self._model.device):
                break
        if not finished:
            self._save()
        return self._summary()

    def close(self) -> None:
        """Makes the model ready to encode again."""
        self._batches.close()
        self._model.towers.module.eval().requires_grad_(False)

    def _new_trainer(self, scaler: torch.amp.GradScaler, settings: dict[str, Any]) -> Trainer:
        towers = self._model.towers
        optimiser = optimiser_for(choose_weights(towers, self._plan), self._plan)
        states: dict[str, Stateful] = {
            "model": towers.module,
            "optimiser": optimiser,
            "scaler": scaler,
            "record": self._record,
        }
        steps = self._plan.epochs * self._order.steps_per_epoch
        return Trainer(
            self._batches.backward,
            [optimiser],
            Checkpointer(self._output.checkpoint, states, settings),
            steps=steps,
            rate=lambda step: rate_factor(self._plan.schedule, step, steps, self._plan.warm_up),
            after_step=lambda: clamp_scale(towers),
            clip=self._plan.clip,
            scaler=scaler,
        )

    def _after(self, step: Step) -> None:
        self._record.add_loss(step.loss)
        number, last = step.number, step.number == self._trainer.steps
        if number % self._plan.log_every == 0 or last:
            self._log(step)
        if number % (self._plan.validate_every or self._order.steps_per_epoch) == 0 or last:
            self._validate(number)
        if number % self._plan.checkpoint_every == 0 and not last and self._group.is_main:
            self._trainer.save_checkpoint()

    def _log(self, step: Step) -> None:
        scale = self._model.towers.log_scale
        row = self._record.log(
            step,
            epoch=step.number / self._order.steps_per_epoch,
            learning_rate=self._plan.learning_rate * step.rate,
            logit_scale=1.0 if scale is None else float(scale.detach().exp()),
        )
        self._observer.logged(row, self._trainer.steps)

    def _validate(self, step: int) -> None:
        if self._validation is None or not self._group.is_main:
            return
        self._model.towers.module.eval()
        evaluated = evaluate_retrieval(
            self._model,
            self._validation,
            batch_size=self._plan.micro_batch,
            on_skip=lambda image: self._skip(f"{image.source.name} of the validation set", image.reason),
        )
        set_training_mode(self._model.towers, self._plan)
        text_threshold = evaluated.text_threshold()
        epoch = step / self._order.steps_per_epoch
        best = self._record.log_validation(step, evaluated.result, text_threshold, epoch=epoch)
        if best:
            self._output.save("best", self._model, text_threshold)
        self._observer.validated(self._record.rows[-1], best=best)

    def _skip(self, name: str, reason: str) -> None:
        if self._record.skip(name, reason):
            self._observer.skipped(name, reason)

    def _save(self) -> None:
        """The checkpoint comes last: until it is complete, the run resumes from the one before."""
        if not self._group.is_main:
            return
        validations = self._record.validations
        self._output.save("last", self._model, validations[-1].get("text_threshold") if validations else None)
        try:
            draw_curves(self._record.rows, self._output.curve)
        except BadInput as error:
            self._observer.warned(str(error))
        self._trainer.save_checkpoint()

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
        raise BadInput("Training needs the weights in float32; load the model so, and choose bf16 with amp.")
    if plan.amp == "fp16" and model.device.type != "cuda":
        raise BadInput("fp16 needs an NVIDIA GPU; use bf16 or fp32 here.")


def _settings(model: ClipModel, pairs: Pairs, plan: TrainingPlan, validation: Pairs | None) -> dict[str, Any]:
    """What must stay the same when a run is resumed; see `Checkpointer`."""
    return {
        "model": model.card.key,
        "training data": _fingerprint(pairs),
        "validation data": None if validation is None else _fingerprint(validation),
        **plan.fixed_settings(),
    }


def _fingerprint(pairs: Pairs) -> str:
    """12 hexadecimal digits of all captions, all images' names, and the contents of a few images."""
    digest = hashlib.sha256(np.asarray(pairs.image_of, np.int64).tobytes())
    for text in (*pairs.captions, *(image.name for image in pairs.images)):
        digest.update(text.encode(errors="replace") + b"\0")
    for row in np.linspace(0, len(pairs.images) - 1, min(16, len(pairs.images))).astype(int):
        try:
            digest.update(hashlib.sha256(pairs.images[row].read()).digest())
        except (OSError, ImageRejected):
            digest.update(b"\0")
    return digest.hexdigest()[:12]
