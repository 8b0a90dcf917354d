"""Images of known classes: what classification is measured on, and what a linear probe learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.datasets.files import image_files, loose_images, sub_folders
from clipcore.datasets.opening import open_pairs
from clipcore.datasets.pairs import Problem
from clipcore.datasets.tables import Columns, read_table
from clipcore.encoding.batch import ImageSource
from clipcore.errors import BadInput


@dataclass(frozen=True, slots=True)
class Labelled:
    """classes: their names, sorted. class_of: int64 [images], each image's row in `classes`. images: read when
    wanted. problems: what was left out, in the order it was met.

    A class may have no image: it still competes for those of the others.
    """

    classes: tuple[str, ...]
    class_of: npt.NDArray[np.int64]
    images: Sequence[ImageSource]
    problems: Sequence[Problem] = ()

    def __len__(self) -> int:
        return len(self.images)


def open_labelled(path: Path, columns: Columns | None = None) -> Labelled:
    """path: a folder with one folder of images a class, or a table with a class and an image in each row.

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
        images=table.images,
        problems=table.problems,
    )


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, at any depth in the folder that it is named by, all in the order of their names.

    Raises BadInput where a folder cannot be listed.
    """
    return {sub.name: image_files(sub) for sub in sub_folders(folder)}


def left_out(folder: Path) -> list[Problem]:
    """Images beside the folders of classes, all told in one problem."""
    loose = len(loose_images(folder))
    return [Problem(str(folder), f"Images that lie in no class's folder are left out: {loose}.")] if loose else []


def _from_folders(folder: Path) -> Labelled:
    found = class_files(folder)
    if not any(found.values()):
        raise BadInput(f"{str(folder)!r} has no folders with images in them; give one folder a class.")
    counts = [len(paths) for paths in found.values()]
    return Labelled(
        classes=tuple(found),
        class_of=np.repeat(np.arange(len(found), dtype=np.int64), counts),
        images=[ImageSource.file(path) for path in chain.from_iterable(found.values())],
        problems=left_out(folder),
    )


@dataclass(frozen=True, slots=True)
class Inventory:
    """captions: how many there are, classes included. classes: how many images each has; empty where the texts are
    captions of their own. loose: how many images lie beside the folders of classes.
    """

    images: Sequence[ImageSource]
    captions: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    loose: int = 0


def take_inventory(source: Path, columns: Columns | None = None) -> Inventory:
    """source: a folder of images at any depth, or any file that `open_pairs` reads. columns: what the first rows of a
    table do not tell. Raises BadInput where there are no images.
    """
    if source.is_dir():
        return _of_folder(source)
    pairs = open_pairs(source, columns=columns)
    texts = Counter(pairs.captions)
    # Captions are mostly told apart by their words; labels come again and again.
    are_classes = 2 * len(texts) <= len(pairs)
    return Inventory(pairs.images, len(pairs), texts if are_classes else {}, pairs.problems)


def _of_folder(folder: Path) -> Inventory:
    files = image_files(folder)
    if not files:
        raise BadInput(f"{str(folder)!r} has no images.")
    beneath = (path.relative_to(folder).parts for path in files)
    classes = Counter(parts[0] for parts in beneath if len(parts) > 1)
    loose = len(files) - classes.total() if classes else 0
    return Inventory([ImageSource.file(path) for path in files], classes=classes, loose=loose)
