"""Opens captioned images in any of the known formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from clipcore.datasets.captions import read_archive, read_captions_json, read_captions_lines, read_folder
from clipcore.datasets.labelled import open_labelled
from clipcore.datasets.pairs import Pairs
from clipcore.datasets.tables import Columns, read_table
from clipcore.errors import BadInput

# Usual names of the captions file in a folder: ours, COCO's, Karpathy's, Flickr8k's, Flickr30k's.
_USUAL_NAMES = (
    "captions*.json",
    "dataset_*.json",
    "captions.txt",
    "captions.tsv",
    "captions.csv",
    "*.token",
    "results.csv",
)


class PairsFormat(StrEnum):
    """jsonl: Chinese-CLIP's, beside a table of images. json: COCO's or Karpathy's. folder: a name.txt for each
    name.jpg.
    """

    JSONL = "jsonl"
    ARCHIVE = "tar"
    JSON = "json"
    TABLE = "table"
    FOLDER = "folder"


def open_pairs(
    source: Path,
    *,
    captions: Path | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    format: PairsFormat | None = None,
) -> Pairs:
    """source: a table (TSV of texts and base64 images, or of texts and paths), a captions file (JSON of COCO or
    Karpathy, or Flickr's tables), a tar as webdataset writes it, or a folder of images with a captions file:
    `captions`, or one of a usual name in the folder, or a name.txt beside each name.jpg. Chinese-CLIP's TSV of ids and
    images takes its .jsonl as `captions`.

    split: which of Karpathy's. columns: what cannot be guessed from the first rows of a table. format: None guesses it
    from the names. Images are not opened here; rows and files that cannot be used are in the result's `problems`.
    Raises BadInput where nothing can be used.
    """
    if not source.is_file() and not source.is_dir():
        raise BadInput(f"There is no file or folder {str(source)!r}; a pipe cannot be read twice, so save it first.")
    request = _Request(source, _captions_file(source, captions), split, columns or Columns())
    chosen = format or next(known for known, reader in _READERS.items() if reader.matches(request))
    return _READERS[chosen].read(request)


def open_texts(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """Opens captioned images as `open_pairs` does, or else a folder of classes, whose names become the captions.

    Raises BadInput where the source is neither.
    """
    try:
        return open_pairs(source, captions=captions, split=split, columns=columns)
    except BadInput as error:
        if captions is not None or split is not None or not source.is_dir():
            raise
        try:
            labelled = open_labelled(source)
        except BadInput:
            raise error from None
    names = [labelled.classes[row] for row in labelled.class_of]
    return Pairs(names, np.arange(len(labelled)), labelled.images, problems=labelled.problems)


@dataclass(frozen=True, slots=True)
class _Request:
    """captions: the file with the captions, which may be the source itself; None where there is none."""

    source: Path
    captions: Path | None
    split: str | None
    columns: Columns

    @property
    def folder(self) -> Path:
        return self.source if self.source.is_dir() else self.source.parent

    @property
    def is_one_file(self) -> bool:
        return self.source == self.captions

    def captions_end_with(self, suffix: str) -> bool:
        return self.captions is not None and self.captions.suffix.lower() == suffix


@dataclass(frozen=True, slots=True)
class _Reader:
    matches: Callable[[_Request], bool]
    read: Callable[[_Request], Pairs]


def _captions_file(source: Path, given: Path | None) -> Path | None:
    if given is not None:
        if not source.is_dir() and given.suffix.lower() != ".jsonl":
            raise BadInput(f"{str(source)!r} is a file: a captions file goes with a folder, or is a .jsonl for a TSV.")
        return given
    if source.is_file():
        return source
    found = {path for pattern in _USUAL_NAMES for path in source.glob(pattern) if path.is_file()}
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise BadInput(f"{str(source)!r} has several captions files ({names}); name one.")
    return found.pop() if found else None


def _captions(request: _Request) -> Path:
    if request.captions is None:
        raise BadInput(f"{str(request.source)!r} has no captions file; name one.")
    return request.captions


def _read_table(request: _Request) -> Pairs:
    captions = _captions(request)
    if request.split is not None:
        raise BadInput(f"{str(captions)!r} has no splits; only Karpathy's JSON files have them.")
    return read_table(captions, request.folder, request.columns, merge=True)


# In the order in which they are tried.
_READERS = {
    PairsFormat.JSONL: _Reader(
        lambda request: request.captions_end_with(".jsonl") and request.source.is_file() and not request.is_one_file,
        lambda request: read_captions_lines(request.source, _captions(request)),
    ),
    PairsFormat.ARCHIVE: _Reader(
        lambda request: request.captions_end_with(".tar"),
        lambda request: read_archive(_captions(request)),
    ),
    PairsFormat.JSON: _Reader(
        lambda request: request.captions_end_with(".json"),
        lambda request: read_captions_json(_captions(request), request.folder, request.split),
    ),
    PairsFormat.TABLE: _Reader(lambda request: request.captions is not None, _read_table),
    PairsFormat.FOLDER: _Reader(lambda request: True, lambda request: read_folder(request.folder)),
}
