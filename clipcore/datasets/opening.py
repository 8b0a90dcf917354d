"""Images with captions, whichever way they lie on the disk."""

from __future__ import annotations

from pathlib import Path

from clipcore.datasets.captions import read_archive, read_captions_json, read_captions_lines
from clipcore.datasets.pairs import Pairs, read_beside
from clipcore.datasets.tables import Columns, read_table
from clipcore.errors import BadInput

# What a folder's captions file is usually called: ours, COCO's, Karpathy's, Flickr8k's, Flickr30k's.
_USUAL_NAMES = (
    "captions*.json",
    "dataset_*.json",
    "captions.txt",
    "captions.tsv",
    "captions.csv",
    "*.token",
    "results.csv",
)


def open_pairs(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """source: a table (TSV of texts and base64 images, or of texts and paths), a captions file (JSON of COCO or
    Karpathy, or Flickr's tables), a tar as webdataset has it, or a folder of images, with `captions` telling of them,
    or a captions file of a usual name in it, or a name.txt beside each name.jpg. Chinese-CLIP's TSV of ids and images
    goes with its .jsonl as `captions`.

    split: which of Karpathy's. columns: what the first rows of a table do not tell. Images are not opened here; rows
    and files that cannot be used are in the result's `problems`. Raises BadInput where nothing can be used.
    """
    if not source.is_file() and not source.is_dir():
        raise BadInput(f"There is no file or folder {str(source)!r}; a pipe cannot be read twice, so save it first.")
    if captions is not None and not source.is_dir():
        return _with_lines(source, captions)
    if source.suffix.lower() == ".tar":
        return read_archive(source)
    folder = source if source.is_dir() else source.parent
    told = captions if captions is not None else _captions_file(source)
    if told is None:
        return read_beside(folder)
    if told.suffix.lower() == ".json":
        return read_captions_json(told, folder, split)
    if split is not None:
        raise BadInput(f"{str(told)!r} has no splits; only Karpathy's JSON files do.")
    table = read_table(told, folder, columns or Columns(), merge=True)
    return Pairs(table.texts, table.image_of, table.images, problems=table.problems)


def _with_lines(source: Path, captions: Path) -> Pairs:
    if captions.suffix.lower() != ".jsonl":
        raise BadInput(f"{str(source)!r} is a file: captions apart belong to a folder, or are .jsonl beside a TSV.")
    return read_captions_lines(source, captions)


def _captions_file(source: Path) -> Path | None:
    if source.is_file():
        return source
    found = {path for pattern in _USUAL_NAMES for path in source.glob(pattern) if path.is_file()}
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise BadInput(f"{str(source)!r} has several captions files ({names}); name one.")
    return found.pop() if found else None
