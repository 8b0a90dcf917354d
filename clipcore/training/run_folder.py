"""The output folder of a run: `last/` and `best/`, which are models; a checkpoint; a log; an image of the curves."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.evaluation.retrieval import GALLERY, MAX_FALSE_MATCHES
from clipcore.files import writing_to
from clipcore.model import ClipModel
from clipcore.types import Calibration

_MODELS = ("last", "best")
_FILES = ("checkpoint.pt", "training.jsonl", "curve.png")


class OutputFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint, self.log, self.curve = (folder / name for name in _FILES)

    def prepare(self, *, restart: bool) -> None:
        """Makes the folder. restart: deletes an earlier run. Restores a model whose replacement was interrupted.

        Raises BadInput where the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"The output folder {str(self.folder)!r} cannot be made ({error.strerror}); name another."
            ) from error
        if restart:
            for name in _FILES:
                (self.folder / name).unlink(missing_ok=True)
            for name in _MODELS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in _MODELS:
            target, _, old = self._paths(name)
            if old.exists() and not target.exists():
                old.rename(target)

    def save(self, name: str, model: ClipModel, text_threshold: float | None) -> None:
        """Replaces the model `name` by the present weights. text_threshold: as measured. Raises BadInput."""
        target, new, old = self._paths(name)
        with writing_to(self.folder):
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

    def _paths(self, name: str) -> tuple[Path, Path, Path]:
        """The model, the new one while it is written, and the old one until it is deleted."""
        return self.folder / name, self.folder / f"{name}.new", self.folder / f"{name}.old"


def calibration_json(before: Calibration, text_threshold: float | None) -> str:
    """The calibration of a fine-tuned model, with each figure's source: validation measures only text_threshold."""
    carried = "carried over from the model before fine-tuning; not measured since"
    measured = f"the best of {GALLERY} other images of the validation set passes {MAX_FALSE_MATCHES:.1%} of the time"
    values = asdict(before) | ({} if text_threshold is None else {"text_threshold": text_threshold})
    source = dict.fromkeys(values, carried) | ({} if text_threshold is None else {"text_threshold": measured})
    return json.dumps({**values, "source": source}, indent=2) + "\n"
