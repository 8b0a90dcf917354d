"""Converts captioned images to a table of texts and base64 images, and such a table to a folder of image files."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcore.datasets.pairs import Pairs
from clipcore.datasets.tables import Columns, read_table
from clipcore.encoding.batch import ImageSource, Problem, reason_of
from clipcore.encoding.resumable import Progress, file_identity, fingerprint, read_json_object, resumable
from clipcore.encoding.writers import Written
from clipcore.errors import BadInput, ImageRejected
from clipcore.files import write_atomically
from clipcore.images.decode import ImageLimits
from clipcore.images.formats import Format, sniff

CAPTIONS = "captions.json"
_JOURNAL = ".unfinished.json"
_USUAL_SUFFIXES = {"jpeg": "jpg", "tiff": "tif"}
_BREAKS = re.compile(r"[\t\r\n]+")


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """files, captions: their numbers in the whole folder. resumed_at: the number of files that were there already."""

    files: int
    captions: int
    problems: list[Problem]
    resumed_at: int


def write_tsv(pairs: Pairs, output: Path, *, force: bool = False, progress: Progress = iter) -> Written:
    """Writes one row a caption: the caption, a tab, the image's own bytes in url-safe base64. Tabs and line breaks in a
    caption become spaces.

    Images that cannot be read or are not images become problems. Raises BadInput where the output exists, unless
    `force`. After an interruption the same call resumes.
    """
    inputs = chain(pairs.image_of.tolist(), pairs.captions, (image.name for image in pairs.images))
    with resumable(output, {"to-tsv": fingerprint(inputs)}, force=force) as partial:
        resumed_at = partial.taken
        for at in progress(range(resumed_at, len(pairs))):
            image = pairs.images[int(pairs.image_of[at])]
            try:
                row = _row(pairs.captions[at], image)
            except (BadInput, ImageRejected, OSError) as error:
                partial.commit(at + 1, [Problem(image.name, reason_of(error))])
            else:
                partial.file.write(row)
                partial.commit(at + 1)
    return Written(len(pairs) - len(partial.problems), [*pairs.problems, *partial.problems], resumed_at)


def write_folder(
    path: Path,
    output: Path,
    *,
    by_class: bool = False,
    columns: Columns | None = None,
    force: bool = False,
    progress: Progress = iter,
) -> WrittenFolder:
    """Writes each image's own bytes as `<row>.<its format>`, and the captions as COCO's captions.json; with by_class,
    into a folder named by the text instead.

    Rows with the same image share a file, but not with by_class. Raises BadInput where the folder holds other files,
    unless `force`, which adds to them and replaces files of the same names. After an interruption the same call
    resumes.
    """
    columns = columns or Columns()
    table = read_table(path, path.parent, columns, merge=not by_class)
    job = {"from-tsv": file_identity(path), "by_class": by_class}
    _begin(output, job | {"columns": [columns.text, columns.image, columns.header]}, force)
    already_there = 0
    assert table.text_of is not None  # noqa: S101 - a table numbers its texts by row
    # An image is named by the first of its rows.
    first_rows: list[int] = np.unique(table.image_of, return_index=True)[1].tolist()
    files: dict[int, Path] = {}
    problems = list(table.problems)
    for at, first in enumerate(progress(first_rows)):
        try:
            folder = output / _class_folder(table.captions[first]) if by_class else output
            data = table.images[at].read()
            format = _format_of(data)
            file = folder / f"{table.text_of[first]:08d}.{_USUAL_SUFFIXES.get(format, format)}"
            already_there += not _write_if_changed(file, data)
            files[at] = file
        except (BadInput, ImageRejected, OSError) as error:
            problems.append(Problem(table.images[at].name, reason_of(error)))
    captions = len(files) if by_class else _write_captions(output / CAPTIONS, table, table.text_of, files)
    (output / _JOURNAL).unlink(missing_ok=True)
    return WrittenFolder(len(files), captions, problems, already_there)


def one_line(caption: str) -> str:
    """The caption as it comes back from a table."""
    return _BREAKS.sub(" ", caption).strip("\ufeff").strip()


def _row(caption: str, image: ImageSource) -> bytes:
    text = one_line(caption)
    if not text:
        raise BadInput("Its caption is empty.")
    data = image.read()
    if len(data) > (limit := ImageLimits().max_bytes):
        raise BadInput(f"It has {len(data)} bytes; the limit is {limit}.")
    _format_of(data)
    # Url-safe and padded is what Python's and EasyNLP's decoders accept.
    return b"%s\t%s\n" % (text.encode(errors="replace"), base64.urlsafe_b64encode(data))


def _begin(output: Path, job: Mapping[str, Any], force: bool) -> None:
    """Writes a journal, which shows a later run that the files in the folder are this job's."""
    if output.exists() and not output.is_dir():
        raise BadInput(f"{str(output)!r} is a file; name a folder.")
    journal = output / _JOURNAL
    if read_json_object(journal) == job:
        return
    if output.exists() and any(output.iterdir()) and not force:
        raise BadInput(f"{str(output)!r} is not empty; name another folder, or add --force to write into this one.")
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(journal, json.dumps(job).encode())


def _class_folder(text: str) -> str:
    if text.startswith(".") or any(mark in text for mark in "/\\\0") or len(text.encode()) > 255:
        raise BadInput(f"The class {text!r} cannot be the name of a folder.")
    return text


def _format_of(data: bytes) -> Format:
    format = sniff(data)
    if format is None:
        raise BadInput("Its bytes are not an image in a known format.")
    return format


def _write_if_changed(path: Path, data: bytes) -> bool:
    """Returns whether it wrote: a file of that name and size may be an older run's, so the bytes are compared."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, data)
    return True


def _write_captions(path: Path, table: Pairs, rows: npt.NDArray[np.int64], files: Mapping[int, Path]) -> int:
    """Writes COCO's format; an image's id is the row that its file is named by. Returns the number of captions."""
    images = [{"id": int(file.stem), "file_name": file.name} for file in files.values()]
    annotations = [
        {"id": int(row), "image_id": int(files[image].stem), "caption": text}
        for row, image, text in zip(rows, map(int, table.image_of), table.captions, strict=True)
        if image in files
    ]
    document = {"images": images, "annotations": annotations}
    write_atomically(path, json.dumps(document, ensure_ascii=False, indent=1).encode(errors="replace"))
    return len(annotations)
