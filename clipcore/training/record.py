"""What a run leaves: its folder with models, log and learning curves; and its observer. Without torch."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcore.errors import BadInput
from clipcore.evaluation.retrieval import GALLERY, MAX_FALSE_MATCHES
from clipcore.files import writing_to
from clipcore.types import Calibration

if TYPE_CHECKING:
    from clipcore.model import ClipModel

CHECKPOINT, LOG, CURVE = "checkpoint.pt", "training.jsonl", "curve.png"


@dataclass(frozen=True, slots=True)
class Step:
    """number: of finished steps. rate: the step's learning rate, as a share of the highest."""

    number: int
    loss: float
    rate: float


class TrainingObserver:
    """Receives the events of a run; this base class ignores them. row: see `Record`."""

    def logged(self, row: dict[str, Any], steps: int) -> None: ...

    def validated(self, row: dict[str, Any], *, best: bool) -> None: ...

    def skipped(self, name: str, reason: str) -> None: ...

    def warned(self, message: str) -> None: ...

    def progress(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        """Wraps the loop over the steps, as a progress bar does."""
        return steps


class Record:
    """The log of a run, in memory and in a file, part of each checkpoint.

    path: one JSON object a line: {"step", "epoch", "loss", "learning_rate", "logit_scale", "seconds"} with the mean
    loss since the line before, and {"step", "epoch", "mean_recall", "text_to_image", "image_to_text",
    "text_threshold"}. None where another process writes it. losses: since the last line. skipped: names of skipped
    images, with reasons.
    """

    def __init__(self, path: Path | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.skipped: dict[str, str] = {}
        self._path = path
        self._seconds_before = 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """The time spent on the run, without interruptions."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def validations(self) -> Sequence[dict[str, Any]]:
        return [row for row in self.rows if "mean_recall" in row]

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best validation, the earliest of equals."""
        return max(self.validations, key=lambda row: row["mean_recall"], default=None)

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        self.rows.append(row)
        if self._path is not None:
            with writing_to(self._path.parent), self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        return row

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "losses": self.losses, "skipped": self.skipped, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.rows, self.losses, self.skipped = state["rows"], state["losses"], state["skipped"]
        self._seconds_before, self._started = state["seconds"], time.monotonic()

    def rewrite_file(self) -> None:
        """Writes the file anew from the rows: lines of steps that will be repeated are dropped."""
        if self._path is not None:
            with writing_to(self._path.parent):
                self._path.write_text("".join(map(_line, self.rows)), "utf-8")


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws loss and recall by step as a PNG. rows: a `Record`'s. Raises BadInput where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BadInput("Drawing the curves needs matplotlib: pip install 'magpie[lab]'.") from error
    steps = [row for row in rows if "loss" in row]
    recalls = [row for row in rows if "mean_recall" in row]
    figure = Figure(figsize=(8, 6 if recalls else 3.5), layout="constrained")
    panels = figure.subplots(2 if recalls else 1, squeeze=False, sharex=True)[:, 0]
    panels[0].plot([row["step"] for row in steps], [row["loss"] for row in steps], ".-", color="tab:blue")
    panels[0].set_ylabel("loss")
    if recalls:
        _draw_recalls(panels[1], recalls)
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    with writing_to(path.parent):
        figure.savefig(path, dpi=120)


def _draw_recalls(panel: Any, recalls: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - matplotlib's Axes
    at = [row["step"] for row in recalls]
    panel.plot(at, [100 * row["mean_recall"] for row in recalls], "o-", color="black", label="mean of all six")
    for direction, name, style in (("text_to_image", "text → image", "--"), ("image_to_text", "image → text", ":")):
        panel.plot(at, [100 * row[direction]["R@1"] for row in recalls], style, label=f"{name}, R@1")
    best = max(recalls, key=lambda row: row["mean_recall"])
    panel.plot(best["step"], 100 * best["mean_recall"], "*", color="tab:red", markersize=14, label="best")
    panel.set_ylabel("recall, %")
    # Recalls near 100 % would stretch the axis beyond what a recall can be.
    panel.set_ylim(bottom=max(0, panel.get_ylim()[0]), top=min(101, panel.get_ylim()[1]))
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


def prepare_folder(folder: Path, *, restart: bool) -> None:
    """Makes the folder of a run. restart: deletes an earlier run. Restores a model whose replacement was interrupted.

    Raises BadInput where the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"The output folder {str(folder)!r} cannot be made ({error.strerror}); name another.") from error
    if restart:
        for name in (CHECKPOINT, LOG, CURVE):
            (folder / name).unlink(missing_ok=True)
    for model in (folder / "last", folder / "best"):
        old = model.with_suffix(".old")
        if restart:
            shutil.rmtree(model, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists() and not model.exists():
            old.rename(model)


def save_model(target: Path, model: ClipModel, text_threshold: float | None) -> None:
    """Replaces the model in the folder `target` by the present one. text_threshold: as measured. Raises BadInput."""
    new, old = target.with_suffix(".new"), target.with_suffix(".old")
    with writing_to(target.parent):
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir()
        model.opened.save(new)
        (new / "calibration.json").write_text(calibration_json(model.calibration, text_threshold), "utf-8")
        (new / "prompts.json").write_text(model.card.prompts.as_json(), "utf-8")
        if target.exists():
            target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def calibration_json(before: Calibration, text_threshold: float | None) -> str:
    """The calibration of a fine-tuned model, with each figure's source: validation measures only text_threshold. The
    standing before fine-tuning says nothing of a new threshold.
    """
    carried = "carried over from the model before fine-tuning; not measured since"
    measured = f"the best of {GALLERY} other images of the validation set passes {MAX_FALSE_MATCHES:.1%} of the time"
    if text_threshold is not None:
        before = replace(before, text_threshold=text_threshold, standing=None)
    values = {name: value for name, value in asdict(before).items() if value is not None}
    source = dict.fromkeys(values, carried) | ({} if text_threshold is None else {"text_threshold": measured})
    return json.dumps({**values, "source": source}, indent=2) + "\n"
