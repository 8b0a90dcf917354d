"""`clipcore train`: contrastive fine-tuning."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcore.cli.options import DEFAULT_MODEL_NAME, Device, Header, ImageColumn, Json, Model, TextColumn
from clipcore.cli.output import DONE, INTERRUPTED, SKIPPED, print_json, say, say_skipped, tracked
from clipcore.datasets import Columns, Pairs, open_pairs
from clipcore.errors import BadInput
from clipcore.training.plan import Autocast, Schedule, TrainingPlan

if TYPE_CHECKING:
    from clipcore.training.fine_tuning import Trained
    from clipcore.training.trainer import Step

LEARNING, BATCHES, RUN = "How it learns", "Batches and memory", "The run"


def register(app: typer.Typer) -> None:
    app.command(name="train", short_help="Fine-tune a model on images with captions.")(train)


def train(
    pairs: Annotated[
        Path, typer.Argument(help="Rows of text, tab, base64 image (or its path); or a folder with captions.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the run and the model.")],
    validation: Annotated[
        Path | None, typer.Option(help="Held-out pairs: best/ is what finds most of them, by mean recall.")
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="The captions file, where PAIRS is a folder of images.")] = None,
    split: Annotated[str | None, typer.Option(help="Which of a Karpathy file's splits to learn from: train …")] = None,
    validation_captions: Annotated[
        Path | None, typer.Option(help="The captions file, where VALIDATION is a folder of images.")
    ] = None,
    validation_split: Annotated[str | None, typer.Option(help="Which to validate with, likewise: val …")] = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    epochs: Annotated[int, typer.Option(help="How often each image is shown.", rich_help_panel=LEARNING)] = 5,
    learning_rate: Annotated[float, typer.Option(help="At its highest.", rich_help_panel=LEARNING)] = 1e-5,
    schedule: Annotated[
        Schedule, typer.Option(help="How the learning rate falls after warm-up.", rich_help_panel=LEARNING)
    ] = "cosine",
    warm_up: Annotated[
        float, typer.Option(help="Share of all steps in which it rises.", rich_help_panel=LEARNING)
    ] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="Of matrices alone.", rich_help_panel=LEARNING)] = 0.2,
    clip: Annotated[float, typer.Option(help="Longest gradient; 0 for any.", rich_help_panel=LEARNING)] = 1.0,
    fix_vision: Annotated[
        bool, typer.Option("--fix-vision", help="Leave the image tower as it is.", rich_help_panel=LEARNING)
    ] = False,
    fix_text: Annotated[
        bool, typer.Option("--fix-text", help="Leave the text tower as it is.", rich_help_panel=LEARNING)
    ] = False,
    seed: Annotated[int, typer.Option(help="Order, choice of captions, dropout.", rich_help_panel=LEARNING)] = 0,
    batch_size: Annotated[
        int,
        typer.Option(
            help="Pairs told apart in one step, over all processes. More is better and costs time, hardly memory.",
            rich_help_panel=BATCHES,
        ),
    ] = 256,
    micro_batch: Annotated[
        int, typer.Option(help="Pairs in the towers at a time: what the memory must hold.", rich_help_panel=BATCHES)
    ] = 64,
    amp: Annotated[
        Autocast, typer.Option(help="What the towers compute in; fp16 on NVIDIA GPUs.", rich_help_panel=BATCHES)
    ] = "fp32",
    sequence_length: Annotated[
        int | None, typer.Option(help="Tokens that captions are cut to while training.", rich_help_panel=BATCHES)
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that decode images.", rich_help_panel=BATCHES)] = 2,
    log_every: Annotated[int, typer.Option(help="Steps.", rich_help_panel=RUN)] = 10,
    checkpoint_every: Annotated[int, typer.Option(help="Steps.", rich_help_panel=RUN)] = 200,
    validate_every: Annotated[
        int | None, typer.Option(help="Steps; after each epoch if not given.", rich_help_panel=RUN)
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the run that OUTPUT holds.", rich_help_panel=RUN)
    ] = False,
    json: Json = False,
) -> int:
    """Fine-tune a model on images with captions, so that each finds the other.

    OUTPUT gets last/ and, with --validation, best/: models like any other, for --model.

    Ctrl-C puts the run away; the same command goes on from there, to the same weights.

    Several GPUs: torchrun --nproc-per-node 2 --no-python clipcore train …
    """
    plan = TrainingPlan(
        epochs=epochs,
        batch=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        schedule=schedule,
        warm_up=warm_up,
        weight_decay=weight_decay,
        clip=clip,
        amp=amp,
        seed=seed,
        fix_vision=fix_vision,
        fix_text=fix_text,
        sequence_length=sequence_length,
        log_every=log_every,
        checkpoint_every=checkpoint_every,
        validate_every=validate_every,
        workers=workers,
    )
    if restart and Path(model).resolve() in [(output / name).resolve() for name in ("last", "best")]:
        raise BadInput(f"--restart would delete {model!r} itself; give another output folder.")
    if output.exists() and not output.is_dir():
        raise BadInput(f"{str(output)!r} is a file; give a folder for the run.")
    watcher = _Shown(leads=os.environ.get("RANK", "0") == "0")
    columns = Columns(text_column, image_column, header)
    learnt = _named(open_pairs(pairs, captions=captions, split=split, columns=columns), pairs, watcher)
    held_out = None
    if validation is not None:
        opened = open_pairs(validation, captions=validation_captions, split=validation_split, columns=columns)
        held_out = _named(opened, validation, watcher)
    with Interruption() as interruption:
        trained = _train(
            model,
            device,
            learnt,
            held_out,
            plan=plan,
            output=output,
            restart=restart,
            watcher=watcher,
            interruption=interruption,
        )
    if not watcher.leads:
        # The leader's code tells of all: torchrun ends every process as soon as one ends with another code than 0.
        return DONE
    skipped = watcher.problems | dict(trained.skipped)
    print_json(_as_json(trained, skipped)) if json else _print(trained)
    if not trained.finished:
        return INTERRUPTED
    return SKIPPED if skipped else DONE


def _named(pairs: Pairs, path: Path, watcher: _Shown) -> Pairs:
    for problem in pairs.problems:
        watcher.problem(f"{problem.name} of {path}", problem.reason)
    return pairs


def _train(
    model: str,
    device: str,
    learnt: Pairs,
    held_out: Pairs | None,
    *,
    plan: TrainingPlan,
    output: Path,
    restart: bool,
    watcher: _Shown,
    interruption: Interruption,
) -> Trained:
    from clipcore.model import ClipModel
    from clipcore.training import train
    from clipcore.training.distributed import device_here

    loaded = ClipModel.load(model, device=device_here(device), precision="fp32")
    return train(
        loaded,
        learnt,
        plan,
        output,
        validation=held_out,
        restart=restart,
        watcher=watcher,
        stopped=lambda: interruption.wanted,
    )


class _Shown:
    """Says what happens on stderr, with a bar on a terminal; one of several processes speaks."""

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads
        self.problems: dict[str, str] = {}

    def logged(self, row: dict[str, Any], steps: int) -> None:
        say(
            f"step {row['step']}/{steps}  epoch {row['epoch']:.2f}  loss {row['loss']:.4f}  "
            f"rate {row['learning_rate']:.2e}  scale {row['logit_scale']:.1f}  {row['seconds']:.0f} s"
        )

    def validated(self, row: dict[str, Any], *, best: bool) -> None:
        say(
            f"step {row['step']}  mean recall {row['mean_recall']:.1%}  "
            f"text to image R@1 {row['text_to_image']['R@1']:.1%}  "
            f"image to text R@1 {row['image_to_text']['R@1']:.1%}{'  (best so far)' if best else ''}"
        )

    def problem(self, name: str, reason: str) -> None:
        """Of a row, before there is a run to remember it."""
        self.problems[name] = reason
        self.skipped(name, reason)

    def skipped(self, name: str, reason: str) -> None:
        if self.leads:
            say_skipped(name, reason)

    def warned(self, words: str) -> None:
        say(words)

    def through(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        if 0 < done < total:
            say(f"Going on from step {done} of {total}.")
        return tracked(steps, "training", total - done)


def _as_json(trained: Trained, skipped: Mapping[str, str]) -> dict[str, Any]:
    best = trained.best
    return {
        "output": str(trained.folder),
        "finished": trained.finished,
        "steps": trained.steps,
        "done": trained.done,
        "mean_recall_before": trained.first,
        "best": None if best is None else {"step": best.step, "mean_recall": best.mean_recall},
        "seconds": round(trained.seconds, 1),
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
    }


def _print(trained: Trained) -> None:
    print(f"{trained.done} of {trained.steps} steps in {trained.seconds:.0f} s")
    best = trained.best
    if best is not None and trained.first is not None:
        print(f"mean recall {trained.first:.1%} before, {best.mean_recall:.1%} at its best (step {best.step})")
    models = ("last",) if best is None else ("best", "last")
    print("models: " + ", ".join(str(trained.folder / name) for name in models))


class Interruption:
    """Within the context, the first SIGINT or SIGTERM sets `wanted`, so that training stops after the current
    step; the second one
    stops at once.
    """

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        say("Stopping after this step; once more to stop at once.")
