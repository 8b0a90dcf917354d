"""Published figures on well-known data sets, to show beside one's own; published.toml has them and their sources."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TOP_1, TOP_5 = "top-1", "top-5"
TO_TEXT = ("image→text R@1", "image→text R@5", "image→text R@10")
TO_IMAGE = ("text→image R@1", "text→image R@5", "text→image R@10")

# Parts of a file or folder name that do not name the data set.
_IGNORED = {"dataset", "test", "val", "valid", "validation", "dev", "karpathy", "1k", "5k", "captions", "retrieval"}
_IGNORED |= {"split"}


@dataclass(frozen=True, slots=True)
class Published:
    """figures: percent by name. note: how the measurement differs from the one here."""

    model: str
    figures: dict[str, float]
    source: str
    note: str = ""

    @property
    def source_and_note(self) -> str:
        return f"{self.source}; {self.note}" if self.note else self.source


def published_on(dataset: str) -> tuple[Published, ...]:
    """dataset: as `known_as` returns it."""
    return tuple(
        Published(model, _figures(percent), group["source"], group.get("note", ""))
        for group in _file()["published"]
        if group["dataset"] == dataset
        for model, percent in group["percent"].items()
    )


def known_as(name: str) -> str | None:
    """The data set that a name refers to: `flickr30k_test.tsv`, `ILSVRC2012_val`, `Flickr30K-CN`. None if unknown.

    The whole name counts: ImageNet-V2 is not ImageNet.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word and word not in _IGNORED]
    dataset: str | None = _file()["names"].get("".join(words))
    return dataset


def dataset_of(path: Path) -> str | None:
    """The data set at a path, by the name of the file or folder, or of its parent folder: `imagenet/val`."""
    resolved = path.resolve()
    return known_as(resolved.stem if resolved.is_file() else resolved.name) or known_as(resolved.parent.name)


def known_datasets() -> tuple[str, ...]:
    """The data sets with published figures, in alphabetical order."""
    return tuple(sorted({group["dataset"] for group in _file()["published"]}))


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def _figures(percent: dict[str, Any]) -> dict[str, float]:
    figures = {name: percent[key] for name, key in ((TOP_1, "top_1"), (TOP_5, "top_5")) if key in percent}
    for names, key in ((TO_TEXT, "image_to_text"), (TO_IMAGE, "text_to_image")):
        if key in percent:
            figures |= zip(names, percent[key], strict=True)
    return figures
