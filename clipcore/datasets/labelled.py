"""Images of known classes: what classification is measured on, and what a linear probe learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.datasets.pairs import sub_folders
from clipcore.datasets.tables import Columns, read_table
from clipcore.encoding.batch import ImageSource, Problem
from clipcore.errors import BadInput
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files


@dataclass(frozen=True, slots=True)
class Labelled:
    """classes: their names, sorted. class_of: int64 [images], each image's row in `classes`. images: read when needed.
    problems: what was skipped, in order.

    A class may have no images: it still competes for those of the others.
    """

    classes: tuple[str, ...]
    class_of: npt.NDArray[np.int64]
    images: Sequence[ImageSource]
    problems: Sequence[Problem] = ()

    def __len__(self) -> int:
        return len(self.images)


def open_labelled(path: Path, columns: Columns | None = None) -> Labelled:
    """path: a folder with a folder of images for each class, or a table with a class and an image in each row.

    columns: where a table has them, if they cannot be guessed. Raises BadInput where nothing can be used.
    """
    if path.is_dir():
        return _open_folders(path)
    table = read_table(path, path.parent, columns or Columns(), merge=False)
    # Not an array of the texts: each element would take as much memory as the longest.
    row_of = {name: row for row, name in enumerate(sorted(set(table.captions)))}
    return Labelled(
        classes=tuple(row_of),
        class_of=np.fromiter((row_of[name] for name in table.captions), np.int64, len(table)),
        images=table.images,
        problems=table.problems,
    )


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, at any depth in the folder with its name, sorted by name.

    Raises BadInput where a folder cannot be listed.
    """
    return {sub.name: image_files(sub) for sub in sub_folders(folder)}


def loose_images_problem(folder: Path) -> list[Problem]:
    """One problem that counts the images directly in the folder, which belong to no class; none if there are none."""
    beside = (path for path in folder.iterdir() if has_image_suffix(path.name) and not path.name.startswith("."))
    loose = sum(not path.is_dir() for path in beside)
    return [Problem(str(folder), f"Images outside the folders of classes are skipped: {loose}.")] if loose else []


def _open_folders(folder: Path) -> Labelled:
    files = class_files(folder)
    if not any(files.values()):
        raise BadInput(f"{str(folder)!r} has no folders with images in them; make a folder for each class.")
    return Labelled(
        classes=tuple(files),
        class_of=np.repeat(np.arange(len(files), dtype=np.int64), [len(paths) for paths in files.values()]),
        images=[ImageSource.file(path) for path in chain.from_iterable(files.values())],
        problems=loose_images_problem(folder),
    )
