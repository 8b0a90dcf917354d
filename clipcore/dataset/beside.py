"""A folder where each picture's captions stand beside it: `name.jpg`, `name.txt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipcore.dataset.files import picture_files
from clipcore.dataset.pairs import Pairs, Problem
from clipcore.errors import BadInput
from clipcore.features import PictureSource


def read_beside(folder: Path) -> Pairs:
    """Each line of the text file that is not blank is a caption. Raises BadInput where no picture has one."""
    captions: list[str] = []
    picture_of: list[int] = []
    pictures: list[PictureSource] = []
    problems: list[Problem] = []
    for path in picture_files(folder):
        told, problem = _captions(path)
        if problem:
            problems.append(Problem(str(path), problem))
            continue
        captions += told
        picture_of += [len(pictures)] * len(told)
        pictures.append(PictureSource.file(path))
    if not pictures:
        raise BadInput(
            f"{str(folder)!r} has no pictures with captions: put captions.json, captions.txt or a name.txt for each "
            "name.jpg into it, or name the captions file."
        )
    return Pairs(captions, np.asarray(picture_of, np.int64), pictures, problems=problems)


def _captions(picture: Path) -> tuple[list[str], str]:
    """With a sentence where there are none."""
    beside = picture.with_suffix(".txt")
    try:
        lines = beside.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return [], f"It has no {beside.name} beside it."
    except (OSError, UnicodeDecodeError):
        return [], f"The {beside.name} beside it cannot be read as UTF-8 text."
    told = [caption for line in lines if (caption := line.strip())]
    return told, "" if told else f"The {beside.name} beside it is empty."
