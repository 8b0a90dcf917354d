"""What a data set holds before any picture is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipcore.dataset.files import picture_files
from clipcore.dataset.layout import Columns
from clipcore.dataset.opening import open_pairs
from clipcore.dataset.pairs import Problem
from clipcore.errors import BadInput
from clipcore.features import PictureSource


@dataclass(frozen=True, slots=True)
class Inventory:
    """captions: how many there are, classes included. classes: how many pictures each has; empty where the texts are
    captions of their own. loose: how many pictures lie beside the folders of classes.
    """

    pictures: Sequence[PictureSource]
    captions: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    loose: int = 0


def take_inventory(source: Path, columns: Columns | None = None) -> Inventory:
    """source: a folder of pictures at any depth, or any file that `open_pairs` reads. columns: what the first rows of a
    table do not tell. Raises BadInput where there are no pictures.
    """
    if source.is_dir():
        return _of_folder(source)
    pairs = open_pairs(source, columns=columns)
    texts = Counter(pairs.captions)
    # Captions are mostly told apart by their words; labels come again and again.
    are_classes = 2 * len(texts) <= len(pairs)
    return Inventory(pairs.pictures, len(pairs), texts if are_classes else {}, pairs.problems)


def _of_folder(folder: Path) -> Inventory:
    files = picture_files(folder)
    if not files:
        raise BadInput(f"{str(folder)!r} has no pictures.")
    beneath = (path.relative_to(folder).parts for path in files)
    classes = Counter(parts[0] for parts in beneath if len(parts) > 1)
    loose = len(files) - classes.total() if classes else 0
    return Inventory([PictureSource.file(path) for path in files], classes=classes, loose=loose)
