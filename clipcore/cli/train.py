"""`clipcore train`: contrastive fine-tuning."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcore.cli.options import Commands, Json, ModelOptions, TableOptions, option
from clipcore.cli.output import DONE, INTERRUPTED, SKIPPED, print_json, say, say_skipped, tracked
from clipcore.datasets import Columns, Pairs, open_pairs
from clipcore.errors import BadInput
from clipcore.training.plan import TrainingPlan
from clipcore.training.record import Step, TrainingObserver

if TYPE_CHECKING:
    from clipcore.training.fine_tuning import Trained


commands = Commands()


@dataclass(frozen=True, slots=True)
class DataOptions:
    validation: Path | None = option(
        None, help="Held-out pairs: best/ is the model with the highest mean recall on them."
    )
    captions: Path | None = option(None, help="The captions file, if PAIRS is a folder of images.")
    split: str | None = option(None, help="Which split of a Karpathy file to learn from: train …")
    validation_captions: Path | None = option(None, help="The captions file, if VALIDATION is a folder of images.")
    validation_split: str | None = option(None, help="Which split to validate with: val …")


@commands.command(short_help="Fine-tune a model on images with captions.")
def train(
    pairs: Annotated[
        Path, typer.Argument(help="Rows of text, tab, base64 image (or its path); or a folder with captions.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the run and the model.")],
    *,
    data: DataOptions,
    columns: TableOptions,
    model_options: ModelOptions,
    restart: Annotated[bool, typer.Option("--restart", help="Delete the run that OUTPUT holds.")] = False,
    as_json: Json = False,
    plan: TrainingPlan,
) -> int:
    """Fine-tune a model on images with captions, so that each retrieves the other.

    OUTPUT gets last/ and, with --validation, best/: models that --model takes like any other.

    Ctrl-C saves the run; the same command resumes it, to exactly the same weights.

    Several GPUs: torchrun --nproc-per-node 2 --no-python clipcore train …
    """
    _check_output(output, model_options.model, restart=restart)
    reporter = _Reporter(is_main=os.environ.get("RANK", "0") == "0")
    learnt, held_out = reporter.open_pairs(pairs, data.captions, data.split, columns), None
    if data.validation is not None:
        held_out = reporter.open_pairs(data.validation, data.validation_captions, data.validation_split, columns)
    with _graceful_stop() as stopped:
        from clipcore.model import ClipModel
        from clipcore.training import train
        from clipcore.training.distributed import local_device

        trained = train(
            ClipModel.load(model_options.model, device=local_device(model_options.device), precision="fp32"),
            learnt,
            plan,
            output,
            validation=held_out,
            restart=restart,
            observer=reporter,
            stopped=stopped,
        )
    if not reporter.is_main:
        # The main process's code stands for all: torchrun ends every process as soon as one ends with another code.
        return DONE
    skipped = reporter.reason_of | dict(trained.skipped)
    print_json(_as_json(trained, skipped)) if as_json else _print(trained)
    if not trained.finished:
        return INTERRUPTED
    return SKIPPED if skipped else DONE


def _check_output(output: Path, model: str, *, restart: bool) -> None:
    """Raises BadInput, before anything is loaded."""
    if restart and Path(model).resolve() in [(output / name).resolve() for name in ("last", "best")]:
        raise BadInput(f"--restart would delete {model!r} itself; give another output folder.")
    if output.exists() and not output.is_dir():
        raise BadInput(f"{str(output)!r} is a file; give a folder for the run.")


@contextmanager
def _graceful_stop() -> Iterator[Callable[[], bool]]:
    """Gives the function that tells whether SIGINT or SIGTERM has come: the first is noted, so that the run ends after
    its step. The second ends the process at once.
    """
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        say("Stopping after this step; press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Reporter(TrainingObserver):
    """Reports on stderr, with a progress bar on a terminal. Only the main process of several reports."""

    def __init__(self, *, is_main: bool) -> None:
        self.is_main = is_main
        self.reason_of: dict[str, str] = {}

    def open_pairs(self, path: Path, captions: Path | None, split: str | None, columns: Columns) -> Pairs:
        """Reports the rows that were skipped, before there is a run to remember them."""
        pairs = open_pairs(path, captions=captions, split=split, columns=columns)
        for problem in pairs.problems:
            self.skipped(f"{problem.name} of {path}", problem.reason)
        return pairs

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

    def skipped(self, name: str, reason: str) -> None:
        self.reason_of[name] = reason
        if self.is_main:
            say_skipped(name, reason)

    def warned(self, message: str) -> None:
        say(message)

    def progress(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        if 0 < done < total:
            say(f"Resuming from step {done} of {total}.")
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
