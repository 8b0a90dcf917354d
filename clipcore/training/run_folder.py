"""The folder of a run: `last/` and `best/`, models as any other; a checkpoint to go on from; a log; an image."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from clipcore.errors import BadInput
from clipcore.files import writing_to
from clipcore.model import ClipModel
from clipcore.training.plan import first_difference
from clipcore.types import Calibration

_MODELS = ("last", "best")
_FILES = ("checkpoint.pt", "training.jsonl", "curve.png")


class OutputFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint, self.log, self.curve = (folder / name for name in _FILES)

    def prepare(self, *, restart: bool) -> None:
        """restart: what another run left here goes. A model that was being replaced when the run was killed comes back.
        Raises BadInput."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"The output folder {str(self.folder)!r} cannot be made ({error.strerror}); give another."
            ) from error
        if restart:
            for name in _FILES:
                (self.folder / name).unlink(missing_ok=True)
            for name in _MODELS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in _MODELS:
            target, _, old = self._places(name)
            if old.exists() and not target.exists():
                old.rename(target)

    def save(self, name: str, model: ClipModel, text_match: float | None) -> None:
        """Writes the weights as they are to `name`, in place of what is there. Raises BadInput."""
        target, new, old = self._places(name)
        with writing_to(self.folder):
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)
            new.mkdir()
            model.opened.save(new)
            (new / "calibration.json").write_text(calibration_json(model.calibration, text_match), "utf-8")
            (new / "prompts.json").write_text(model.card.prompts.as_json(), "utf-8")
            if target.exists():
                target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)

    def _places(self, name: str) -> tuple[Path, Path, Path]:
        """Where the model lies, where it is written, and where the one before it waits to go."""
        return self.folder / name, self.folder / f"{name}.new", self.folder / f"{name}.old"


def calibration_json(before: Calibration, text_match: float | None) -> str:
    """What was measured of the model before it was trained holds no more; what validation could measure anew is."""
    carried = "carried over from the model before fine-tuning; not measured since"
    measured = "the best of 40 other images of the validation set passes 10.0% of the time"
    values = asdict(before) | ({} if text_match is None else {"text_match": text_match})
    source = dict.fromkeys(values, carried) | ({} if text_match is None else {"text_match": measured})
    return json.dumps({**values, "source": source}, indent=2) + "\n"


class Kept(Protocol):
    """Whatever changes while training: weights, optimisers, random generators, records. As torch's own do it."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, texts, lists and dicts alone: the file is read as weights only."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


class Keeper:
    """One file that holds everything `kept`, and the terms under which it was made."""

    def __init__(self, path: Path, kept: Mapping[str, Kept], terms: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._kept = kept
        self._terms = dict(terms or {})

    def put_away(self, step: int) -> None:
        """Whole or not at all: whoever pulls the plug finds the file before or the file after. Raises BadInput."""
        states = {name: thing.state_dict() for name, thing in self._kept.items()}
        new = self._path.with_suffix(".new")
        with writing_to(self._path.parent):
            with new.open("wb") as file:
                torch.save({"step": step, "terms": self._terms, "states": states}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)

    def take_up(self) -> int:
        """Brings everything back to where it was put away. Returns the steps done; 0 where nothing was put away.

        Raises BadInput where the file cannot be read, or was made under other terms.
        """
        if not self._path.exists():
            return 0
        try:
            found = torch.load(self._path, map_location="cpu", weights_only=True)
            step, terms, states = int(found["step"]), found["terms"], found["states"]
        except Exception as error:
            # A damaged file raises whatever the layer that met the damage raises.
            raise BadInput(
                f"The checkpoint {str(self._path)!r} cannot be read ({type(error).__name__}); "
                "begin anew with --restart."
            ) from error
        if changed := first_difference(terms, self._terms):
            raise BadInput(
                f"{str(self._path.parent)!r} holds a run with {changed}; give its own command again, another output "
                "folder, or --restart to begin anew."
            )
        for name, thing in self._kept.items():
            thing.load_state_dict(states[name])
        return step


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """rows: a `Record`'s. Writes a PNG. Raises BadInput where matplotlib is missing."""
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
    # A curve that stays at 100 % is no reason for an axis that goes beyond it.
    panel.set_ylim(bottom=max(0, panel.get_ylim()[0]), top=min(101, panel.get_ylim()[1]))
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
