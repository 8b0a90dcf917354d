"""Opens captioned images in any of the known formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipcore.datasets.captions import read_archive, read_captions_json, read_captions_lines, read_folder
from clipcore.datasets.labelled import open_labelled
from clipcore.datasets.pairs import Pairs
from clipcore.datasets.tables import Columns, read_table
from clipcore.errors import BadInput

# Usual names of the captions file in a folder: ours, COCO's, Karpathy's, Flickr8k's, Flickr30k's.
_USUAL_NAMES = (
    "captions.txt",
    "captions.tsv",
    "captions.csv",
    "captions*.json",
    "dataset_*.json",
    "*.token",
    "results.csv",
)


def open_pairs(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """source: a table (TSV of texts and base64 images, or of texts and paths), a captions file (JSON of COCO or
    Karpathy, or Flickr's tables), a tar as webdataset writes it, or a folder of images with a captions file:
    `captions`, or one of a usual name in the folder, or a name.txt beside each name.jpg. Chinese-CLIP's TSV of ids and
    images takes its .jsonl as `captions`.

    split: which of Karpathy's. columns: what cannot be guessed from the first rows of a table. Images are not opened
    here; rows and files that cannot be used are in the result's `problems`. Raises BadInput where nothing can be used.
    """
    if not source.is_file() and not source.is_dir():
        raise BadInput(f"There is no file or folder {str(source)!r}; a pipe cannot be read twice, so save it first.")
    folder = source if source.is_dir() else source.parent
    is_table_of_images = captions is not None and source.is_file()
    file = captions or _captions_file(source)
    if file is None:
        return read_folder(folder)
    suffix = file.suffix.lower()
    if is_table_of_images and suffix != ".jsonl":
        raise BadInput(f"{str(source)!r} is a file: a captions file goes with a folder, or is a .jsonl for a TSV.")
    if suffix == ".json":
        return read_captions_json(file, folder, split)
    if suffix == ".tar":
        return read_archive(file)
    if split is not None:
        raise BadInput(f"{str(file)!r} has no splits; only Karpathy's JSON files have them.")
    if is_table_of_images:
        return read_captions_lines(source, file)
    return read_table(file, folder, columns or Columns(), merge=True)


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


def _captions_file(source: Path) -> Path | None:
    if source.is_file():
        return source
    files = {path for pattern in _USUAL_NAMES for path in source.glob(pattern) if path.is_file()}
    if len(files) > 1:
        names = ", ".join(sorted(path.name for path in files))
        raise BadInput(f"{str(source)!r} has several captions files ({names}); name one.")
    return files.pop() if files else None
