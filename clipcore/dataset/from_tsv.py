"""A table of texts and base64 pictures -> a folder of picture files, and captions.json or a folder for each class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.dataset.layout import Columns
from clipcore.dataset.pairs import Problem
from clipcore.dataset.partial import Watch, file_identity, read_state, reason, unwatched, write_whole
from clipcore.dataset.table import Table, read_table
from clipcore.errors import BadInput, ImageRejected
from clipcore.formats import Format, sniff

CAPTIONS = "captions.json"
_JOURNAL = ".unfinished.json"
_USUAL_SUFFIXES = {Format.JPEG: "jpg", Format.TIFF: "tif"}


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """Files and captions in the whole folder. resumed_at: how many of the files were there already."""

    files: int
    captions: int
    problems: list[Problem]
    resumed_at: int


def write_folder(
    path: Path,
    output: Path,
    *,
    by_class: bool = False,
    columns: Columns | None = None,
    force: bool = False,
    watch: Watch = unwatched,
) -> WrittenFolder:
    """Each picture's own bytes as `<row>.<its format>`, and the captions as COCO has them; with by_class in a folder
    named by the text instead.

    Rows with the same picture share a file, but not by_class. Raises BadInput where the folder holds other things,
    unless `force`, which adds to them and replaces files of the same names. After an interruption the same call goes on
    where it was.
    """
    told = columns or Columns()
    table = read_table(path, path.parent, told, merge=not by_class)
    job = {"from-tsv": file_identity(path), "by_class": by_class, "columns": [told.text, told.picture, told.header]}
    _begin(output, job, force)
    there = 0
    # A picture is named by its first row.
    _, first = np.unique(table.picture_of, return_index=True)
    files: dict[int, Path] = {}
    problems = list(table.problems)
    for at in watch(range(len(table.pictures))):
        stem = f"{table.rows[first[at]]:08d}"
        try:
            folder = output / _class_folder(table.texts[first[at]]) if by_class else output
            data = table.pictures[at].read()
            file = folder / f"{stem}.{_suffix(data)}"
            there += not _write(file, data)
            files[at] = file
        except (BadInput, ImageRejected, OSError) as error:
            problems.append(Problem(table.pictures[at].name, reason(error)))
    captions = len(files) if by_class else _write_captions(output / CAPTIONS, table, files)
    (output / _JOURNAL).unlink(missing_ok=True)
    return WrittenFolder(len(files), captions, problems, there)


def _begin(output: Path, job: Mapping[str, Any], force: bool) -> None:
    """The journal tells that what lies in the folder is this job's own."""
    if output.exists() and not output.is_dir():
        raise BadInput(f"{str(output)!r} is a file; name a folder.")
    journal = output / _JOURNAL
    if read_state(journal) == job:
        return
    if output.exists() and any(output.iterdir()) and not force:
        raise BadInput(f"{str(output)!r} is not empty; name another folder, or add --force to write into this one.")
    output.mkdir(parents=True, exist_ok=True)
    write_whole(journal, json.dumps(job).encode())


def _suffix(data: bytes) -> str:
    found = sniff(data)
    if found is None:
        raise BadInput("These bytes are not a picture in any format that we know.")
    return _USUAL_SUFFIXES.get(found, found)


def _write(path: Path, data: bytes) -> bool:
    """Unless the very same is there already, which this tells: a file of that name may be an older one's."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    path.parent.mkdir(exist_ok=True)
    write_whole(path, data)
    return True


def _class_folder(text: str) -> str:
    if text.startswith(".") or any(mark in text for mark in "/\\\0") or len(text.encode()) > 255:
        raise BadInput(f"The class {text!r} cannot be the name of a folder.")
    return text


def _write_captions(path: Path, table: Table, files: Mapping[int, Path]) -> int:
    """In COCO's shape; a picture's id is the row that its file is named by."""
    images = [{"id": int(file.stem), "file_name": file.name} for file in files.values()]
    annotations = [
        {"id": int(row), "image_id": int(files[picture].stem), "caption": text}
        for row, picture, text in zip(table.rows, map(int, table.picture_of), table.texts, strict=True)
        if picture in files
    ]
    document = {"images": images, "annotations": annotations}
    write_whole(path, json.dumps(document, ensure_ascii=False, indent=1).encode(errors="replace"))
    return len(annotations)
