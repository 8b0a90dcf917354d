"""Fine-tunes a model on captioned images; an interrupted run resumes to exactly the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
from clipcore.training.distributed import ProcessGroup, process_group
from clipcore.training.plan import TrainingPlan, rate_factor
from clipcore.training.record import (
    CHECKPOINT,
    CURVE,
    LOG,
    Record,
    Step,
    TrainingObserver,
    draw_curves,
    prepare_folder,
    save_model,
)
from clipcore.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Best:
    step: int
    mean_recall: float


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
    if model.dtype != "float32":
        raise BadInput("Training needs the weights in float32; load the model so, and choose bf16 with amp.")
    if plan.amp == "fp16" and model.device.type != "cuda":
        raise BadInput("fp16 needs an NVIDIA GPU; use bf16 or fp32 here.")
    with process_group(model.device) as group:
        if observer is None or not group.is_main:
            observer = TrainingObserver()
        run = FineTuning(model, pairs, plan, folder, validation, group, observer)
        try:
            return run.run(stopped, restart=restart)
        except torch.OutOfMemoryError as error:
            raise BadInput(
                f"The device has too little memory for {plan.micro_batch} pairs at a time; take a smaller micro-batch."
            ) from error
        finally:
            run.close()


@dataclass
class FineTuning:
    """One run. Only the main process validates, writes and reports."""

    model: ClipModel
    pairs: Pairs
    plan: TrainingPlan
    folder: Path
    validation: Pairs | None
    group: ProcessGroup
    observer: TrainingObserver

    def __post_init__(self) -> None:
        model, plan = self.model, self.plan
        self._record = Record(self.folder / LOG if self.group.is_main else None)
        scaler = torch.amp.GradScaler(model.device.type, enabled=plan.amp == "fp16")
        self._batches = ContrastiveBatches(model, self.pairs, plan, group=self.group, scaler=scaler, on_skip=self._skip)
        self._steps_per_epoch = self._batches.order.steps_per_epoch
        steps = plan.epochs * self._steps_per_epoch
        optimiser = optimiser_for(choose_weights(model.towers, plan), plan)
        self._trainer = Trainer(
            self._batches.backward,
            [optimiser],
            self.folder / CHECKPOINT,
            {"model": model.towers.module, "optimiser": optimiser, "scaler": scaler, "record": self._record},
            steps=steps,
            rate=lambda step: rate_factor(plan.schedule, step, steps, plan.warm_up),
            settings={
                "model": model.card.key,
                "training data": _fingerprint(self.pairs),
                "validation data": None if self.validation is None else _fingerprint(self.validation),
                **plan.fixed_settings(),
            },
            after_step=lambda: clamp_scale(model.towers),
            clip=plan.clip,
            scaler=scaler,
        )

    def run(self, stopped: Callable[[], bool], *, restart: bool) -> Trained:
        if self.group.is_main:
            prepare_folder(self.folder, restart=restart)
        self.group.barrier()
        self._trainer.resume()
        self._record.rewrite_file()
        set_training_mode(self.model.towers, self.plan)
        if self._trainer.done == 0:
            self._validate(0)
        steps, finished = self._trainer.steps, self._trainer.done == self._trainer.steps
        for step in self.observer.progress(self._trainer.run(), self._trainer.done, steps):
            self._after(step)
            if self.group.any(stopped(), self.model.device):
                break
        if not finished:
            self._save()
        return self._summary()

    def close(self) -> None:
        """Makes the model ready to encode again."""
        self._batches.reader.close()
        self.model.towers.module.eval().requires_grad_(False)

    def _after(self, step: Step) -> None:
        self._record.losses.append(step.loss)
        number, last = step.number, step.number == self._trainer.steps
        if number % self.plan.log_every == 0 or last:
            self._log(step)
        if number % (self.plan.validate_every or self._steps_per_epoch) == 0 or last:
            self._validate(number)
        if number % self.plan.checkpoint_every == 0 and not last and self.group.is_main:
            self._trainer.save()

    def _log(self, step: Step) -> None:
        scale = self.model.towers.log_scale
        row = self._record.add(
            {
                "step": step.number,
                "epoch": round(step.number / self._steps_per_epoch, 3),
                "loss": sum(self._record.losses) / len(self._record.losses),
                "learning_rate": self.plan.learning_rate * step.rate,
                "logit_scale": 1.0 if scale is None else float(scale.detach().exp()),
                "seconds": round(self._record.seconds, 1),
            }
        )
        self._record.losses.clear()
        self.observer.logged(row, self._trainer.steps)

    def _validate(self, step: int) -> None:
        if self.validation is None or not self.group.is_main:
            return
        self.model.towers.module.eval()
        evaluated = evaluate_retrieval(
            self.model,
            self.validation,
            batch_size=self.plan.micro_batch,
            on_skip=lambda image: self._skip(f"{image.name} of the validation set", image.reason),
        )
        set_training_mode(self.model.towers, self.plan)
        result, text_threshold = evaluated.result, evaluated.text_threshold()
        row = self._record.add(
            {
                "step": step,
                "epoch": round(step / self._steps_per_epoch, 3),
                "mean_recall": result.mean,
                "text_to_image": {f"R@{cutoff}": share for cutoff, share in result.text_to_image.at.items()},
                "image_to_text": {f"R@{cutoff}": share for cutoff, share in result.image_to_text.at.items()},
                "text_threshold": text_threshold,
            }
        )
        best = self._record.best is row
        if best:
            save_model(self.folder / "best", self.model, text_threshold)
        self.observer.validated(row, best=best)

    def _skip(self, name: str, reason: str) -> None:
        if name not in self._record.skipped:
            self._record.skipped[name] = reason
            self.observer.skipped(name, reason)

    def _save(self) -> None:
        """The checkpoint comes last: until it is complete, the run resumes from the one before."""
        if not self.group.is_main:
            return
        last = self._record.validations[-1] if self._record.validations else {}
        # Runs of earlier versions have `text_match`.
        save_model(self.folder / "last", self.model, last.get("text_threshold", last.get("text_match")))
        try:
            draw_curves(self._record.rows, self.folder / CURVE)
        except BadInput as error:
            self.observer.warned(str(error))
        self._trainer.save()

    def _summary(self) -> Trained:
        validations, best = self._record.validations, self._record.best
        return Trained(
            self.folder,
            self._trainer.steps,
            self._trainer.done,
            validations[0]["mean_recall"] if validations else None,
            Best(best["step"], best["mean_recall"]) if best else None,
            self._record.seconds,
            self._record.skipped,
        )


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
