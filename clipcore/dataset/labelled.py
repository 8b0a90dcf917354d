"""Pictures of known classes: what classification is measured on, and what a linear probe learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.dataset.files import loose_pictures, picture_files, sub_folders
from clipcore.dataset.layout import Columns
from clipcore.dataset.pairs import Problem
from clipcore.dataset.table import read_table
from clipcore.errors import BadInput
from clipcore.features import PictureSource


@dataclass(frozen=True, slots=True)
class Labelled:
    """classes: their names, sorted. class_of: int64 [pictures], each picture's row in `classes`. pictures: read when
    wanted. problems: what was left out, in the order it was met.

    A class may have no picture: it still competes for those of the others.
    """

    classes: tuple[str, ...]
    class_of: npt.NDArray[np.int64]
    pictures: Sequence[PictureSource]
    problems: Sequence[Problem] = ()

    def __len__(self) -> int:
        return len(self.pictures)


def open_labelled(path: Path, columns: Columns | None = None) -> Labelled:
    """path: a folder with one folder of pictures a class, or a table with a class and a picture in each row.

    columns: where a table keeps them, if its first rows do not tell. Raises BadInput where nothing can be used.
    """
    if path.is_dir():
        return _from_folders(path)
    table = read_table(path, path.parent, columns or Columns(), merge=False)
    # No array of the texts: each would take as much memory as the longest.
    row_of = {name: row for row, name in enumerate(sorted(set(table.texts)))}
    return Labelled(
        classes=tuple(row_of),
        class_of=np.fromiter((row_of[name] for name in table.texts), np.int64, len(table.texts)),
        pictures=table.pictures,
        problems=table.problems,
    )


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class, at any depth in the folder that it is named by, all in the order of their names.

    Raises BadInput where a folder cannot be listed.
    """
    return {sub.name: picture_files(sub) for sub in sub_folders(folder)}


def left_out(folder: Path) -> list[Problem]:
    """Pictures beside the folders of classes, all told in one problem."""
    loose = len(loose_pictures(folder))
    return [Problem(str(folder), f"Pictures that lie in no class's folder are left out: {loose}.")] if loose else []


def _from_folders(folder: Path) -> Labelled:
    found = class_files(folder)
    if not any(found.values()):
        raise BadInput(f"{str(folder)!r} has no folders with pictures in them; give one folder a class.")
    counts = [len(paths) for paths in found.values()]
    return Labelled(
        classes=tuple(found),
        class_of=np.repeat(np.arange(len(found), dtype=np.int64), counts),
        pictures=[PictureSource.file(path) for path in chain.from_iterable(found.values())],
        problems=left_out(folder),
    )
