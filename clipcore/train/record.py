"""What happened in a run: losses, recalls, the best so far. In memory for the checkpoint, and in a file for people."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcore.train.trainer import Step
from clipcore.train.validation import Validated
from clipcore.train.writing import writing_to


@dataclass(frozen=True, slots=True)
class Best:
    step: int
    mean_recall: float


class Record:
    """path: one JSON object a line: {"step", "epoch", "loss", "learning_rate", "logit_scale", "seconds"} of a few steps
    each, the loss being their mean, and {"step", "epoch", "mean_recall", "text_to_image", "image_to_text",
    "text_match"}. None where another process writes it. skipped: names of pictures left out, and why.
    """

    def __init__(self, path: Path | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best: Best | None = None
        self.skipped: dict[str, str] = {}
        self._path = path
        self._losses: list[float] = []
        self._seconds = 0.0
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent on the run so far, interruptions left out."""
        return self._seconds + time.monotonic() - self._since

    def saw(self, step: Step) -> None:
        self._losses.append(step.loss)

    def log(self, step: Step, *, epoch: float, learning_rate: float, logit_scale: float) -> dict[str, Any]:
        """Of all steps since the last one logged."""
        loss = sum(self._losses) / len(self._losses)
        self._losses = []
        return self._add(
            {
                "step": step.number,
                "epoch": round(epoch, 3),
                "loss": loss,
                "learning_rate": learning_rate,
                "logit_scale": logit_scale,
                "seconds": round(self.seconds, 1),
            }
        )

    def skip(self, name: str, reason: str) -> bool:
        """Returns whether it is new."""
        new = name not in self.skipped
        self.skipped[name] = reason
        return new

    def validated(self, step: int, found: Validated, *, epoch: float) -> bool:
        """Returns whether this is the best so far; of equals the earliest is."""
        retrieval = found.retrieval
        self._add(
            {
                "step": step,
                "epoch": round(epoch, 3),
                "mean_recall": retrieval.mean,
                "text_to_image": _by_name(retrieval.text_to_image.at),
                "image_to_text": _by_name(retrieval.image_to_text.at),
                "text_match": found.text_match,
            }
        )
        if self.best is not None and retrieval.mean <= self.best.mean_recall:
            return False
        self.best = Best(step, retrieval.mean)
        return True

    @property
    def validations(self) -> Sequence[dict[str, Any]]:
        return [row for row in self.rows if "mean_recall" in row]

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best is None else [self.best.step, self.best.mean_recall]
        return {
            "rows": list(self.rows),
            "best": best,
            "skipped": dict(self.skipped),
            "losses": list(self._losses),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.rows, self._losses, self.skipped = list(state["rows"]), list(state["losses"]), dict(state["skipped"])
        self.best = None if state["best"] is None else Best(*state["best"])
        self._seconds, self._since = state["seconds"], time.monotonic()

    def rewrite(self) -> None:
        """Brings the file to where the record is: lines of steps that will be done again are dropped."""
        if self._path is not None:
            with writing_to(self._path.parent):
                self._path.write_text("".join(map(_line, self.rows)), "utf-8")

    def _add(self, row: dict[str, Any]) -> dict[str, Any]:
        self.rows.append(row)
        if self._path is not None:
            with writing_to(self._path.parent), self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        return row


def _by_name(at: dict[int, float]) -> dict[str, float]:
    return {f"R@{cutoff}": share for cutoff, share in at.items()}


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
