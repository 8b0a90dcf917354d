"""What happened in a run: losses, recalls, the best so far. In memory for the checkpoint, and in a file for people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clipcore.batching import encode_texts
from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import encode_images, gather
from clipcore.errors import BadInput
from clipcore.evaluation.retrieval import Retrieval, measure_retrieval, queries_for
from clipcore.files import writing_to
from clipcore.model import ClipModel
from clipcore.training.trainer import Step
from clipcore.types import Vectors

GALLERY = 40
FOOLED = 0.1


@dataclass(frozen=True, slots=True)
class Validated:
    """text_match: the least cosine of words and an image that counts as found, None where the set is too small to
    tell: the lowest that lets the best of GALLERY other images pass FOOLED of the time, as the bundled model's."""

    retrieval: Retrieval
    text_match: float | None


def validate(model: ClipModel, pairs: Pairs, batch_size: int, on_skip: Callable[[str, str], None]) -> Validated:
    """Raises BadInput where no image can be read."""
    outcomes = encode_images(model, pairs.images, batch_size=batch_size, full_resolution=True)
    seen = gather(outcomes, model.card.dimension, lambda skipped: on_skip(skipped.source.name, skipped.reason))
    asked = queries_for(seen, pairs)
    if not asked.texts:
        raise BadInput("None of the validation images can be read.")
    texts = np.stack(list(encode_texts(model, asked.texts, batch_size=batch_size)))
    return Validated(
        measure_retrieval(seen.embeddings, texts, asked.image_of, asked.text_of),
        _text_match(seen.embeddings, texts[asked.text_of], asked.image_of),
    )


def _text_match(images: Vectors, captions: Vectors, image_of: npt.NDArray[np.int64]) -> float | None:
    if len(images) <= GALLERY:
        return None
    rng = np.random.default_rng(0)
    best = []
    for caption, own in zip(captions, image_of, strict=True):
        others = rng.permutation(len(images))[: GALLERY + 1]
        best.append((images[others[others != own][:GALLERY]] @ caption).max())
    return round(float(np.quantile(best, 1 - FOOLED)), 3)


@dataclass(frozen=True, slots=True)
class Best:
    step: int
    mean_recall: float


class Record:
    """path: one JSON object a line: {"step", "epoch", "loss", "learning_rate", "logit_scale", "seconds"} of a few steps
    each, the loss being their mean, and {"step", "epoch", "mean_recall", "text_to_image", "image_to_text",
    "text_match"}. None where another process writes it. skipped: names of images left out, and why.
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


class Watcher(Protocol):
    """Hears of a run while it goes on. row: see `Record`."""

    def logged(self, row: dict[str, Any], steps: int) -> None: ...

    def validated(self, row: dict[str, Any], *, best: bool) -> None: ...

    def skipped(self, name: str, reason: str) -> None: ...

    def warned(self, words: str) -> None: ...

    def through(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        """The same steps, perhaps with a bar beside them."""
        ...


class Unwatched:
    def logged(self, row: dict[str, Any], steps: int) -> None: ...

    def validated(self, row: dict[str, Any], *, best: bool) -> None: ...

    def skipped(self, name: str, reason: str) -> None: ...

    def warned(self, words: str) -> None: ...

    def through(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        return steps
