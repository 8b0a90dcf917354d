"""Captions and the images that they tell of: what retrieval is measured on and training learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.datasets.files import image_files
from clipcore.encoding.batch import ImageSource
from clipcore.errors import BadInput


@dataclass(frozen=True, slots=True)
class Problem:
    """A row or file that could not be used. name: what a person finds it by, such as "row 12"; reason: one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """captions: in memory. image_of: int64 [captions], each caption's row in `images`. images: read when wanted.
    problems: what was left out, in the order it was met.

    An image may have several captions (Flickr30k has five). text_of: int64 [captions], where one text tells of several
    images, as in MUGE, and so stands among the captions once for each: equal for what is the same text. None where
    each caption is a text of its own, even if two read alike.
    """

    captions: Sequence[str]
    image_of: npt.NDArray[np.int64]
    images: Sequence[ImageSource]
    problems: Sequence[Problem] = ()
    text_of: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.captions)


def read_beside(folder: Path) -> Pairs:
    """Each line of the text file that is not blank is a caption. Raises BadInput where no image has one."""
    captions: list[str] = []
    image_of: list[int] = []
    images: list[ImageSource] = []
    problems: list[Problem] = []
    for path in image_files(folder):
        told, problem = _captions(path)
        if problem:
            problems.append(Problem(str(path), problem))
            continue
        captions += told
        image_of += [len(images)] * len(told)
        images.append(ImageSource.file(path))
    if not images:
        raise BadInput(
            f"{str(folder)!r} has no images with captions: put captions.json, captions.txt or a name.txt for each "
            "name.jpg into it, or name the captions file."
        )
    return Pairs(captions, np.asarray(image_of, np.int64), images, problems=problems)


def _captions(image: Path) -> tuple[list[str], str]:
    """With a sentence where there are none."""
    beside = image.with_suffix(".txt")
    try:
        lines = beside.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return [], f"It has no {beside.name} beside it."
    except (OSError, UnicodeDecodeError):
        return [], f"The {beside.name} beside it cannot be read as UTF-8 text."
    told = [caption for line in lines if (caption := line.strip())]
    return told, "" if told else f"The {beside.name} beside it is empty."
