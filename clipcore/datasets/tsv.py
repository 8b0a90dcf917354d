"""A table of texts and base64 images -> a folder of image files, and captions.json or a folder for each class."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.datasets.labelled import open_labelled
from clipcore.datasets.opening import open_pairs
from clipcore.datasets.pairs import Pairs, Problem
from clipcore.datasets.rows import encode_field
from clipcore.datasets.tables import Columns, Table, read_table
from clipcore.encoding.batch import ImageSource
from clipcore.encoding.resumable import Partial, Watch, file_identity, read_state, reason, unwatched, write_whole
from clipcore.errors import BadInput, ImageRejected
from clipcore.images.decode import ImageLimits
from clipcore.images.formats import Format, sniff

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
    """Each image's own bytes as `<row>.<its format>`, and the captions as COCO has them; with by_class in a folder
    named by the text instead.

    Rows with the same image share a file, but not by_class. Raises BadInput where the folder holds other things,
    unless `force`, which adds to them and replaces files of the same names. After an interruption the same call goes on
    where it was.
    """
    told = columns or Columns()
    table = read_table(path, path.parent, told, merge=not by_class)
    job = {"from-tsv": file_identity(path), "by_class": by_class, "columns": [told.text, told.image, told.header]}
    _begin(output, job, force)
    there = 0
    # An image is named by its first row.
    _, first = np.unique(table.image_of, return_index=True)
    files: dict[int, Path] = {}
    problems = list(table.problems)
    for at in watch(range(len(table.images))):
        stem = f"{table.rows[first[at]]:08d}"
        try:
            folder = output / _class_folder(table.texts[first[at]]) if by_class else output
            data = table.images[at].read()
            file = folder / f"{stem}.{_suffix(data)}"
            there += not _write(file, data)
            files[at] = file
        except (BadInput, ImageRejected, OSError) as error:
            problems.append(Problem(table.images[at].name, reason(error)))
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
        raise BadInput("These bytes are not an image in any format that we know.")
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
    """In COCO's shape; an image's id is the row that its file is named by."""
    images = [{"id": int(file.stem), "file_name": file.name} for file in files.values()]
    annotations = [
        {"id": int(row), "image_id": int(files[image].stem), "caption": text}
        for row, image, text in zip(table.rows, map(int, table.image_of), table.texts, strict=True)
        if image in files
    ]
    document = {"images": images, "annotations": annotations}
    write_whole(path, json.dumps(document, ensure_ascii=False, indent=1).encode(errors="replace"))
    return len(annotations)


_BREAKS = re.compile(r"[\t\r\n]+")


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """rows: in the whole output. resumed_at: how many pairs an earlier run had dealt with."""

    rows: int
    problems: list[Problem]
    resumed_at: int


def open_texts(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """Images with captions as `open_pairs` finds them, else a folder of classes, each image captioned by its class.

    Raises BadInput where it is neither.
    """
    try:
        return open_pairs(source, captions=captions, split=split, columns=columns)
    except BadInput as error:
        if captions is not None or split is not None or not source.is_dir():
            raise
        try:
            found = open_labelled(source)
        except BadInput:
            raise error from None
    names = [found.classes[at] for at in found.class_of]
    return Pairs(names, np.arange(len(found)), found.images, problems=found.problems)


def write_tsv(pairs: Pairs, output: Path, *, force: bool = False, watch: Watch = unwatched) -> WrittenTable:
    """One row a caption: the caption, a tab, the image's own bytes in url-safe base64. Tabs and line breaks in a
    caption become spaces.

    Images that cannot be read, and bytes that are none, are problems. Raises BadInput where the output exists. After
    an interruption the same call goes on where it was.
    """
    with Partial(output, {"to-tsv": _fingerprint(pairs)}, force=force) as partial:
        begun = partial.taken
        for at in watch(range(begun, len(pairs))):
            image = pairs.images[int(pairs.image_of[at])]
            try:
                row = _row(pairs.captions[at], image)
            except (BadInput, ImageRejected, OSError) as error:
                partial.commit(at + 1, [Problem(image.name, reason(error))])
            else:
                partial.file.write(row)
                partial.commit(at + 1)
        partial.finish()
    return WrittenTable(len(pairs) - len(partial.problems), [*pairs.problems, *partial.problems], begun)


def one_line(caption: str) -> str:
    """As it comes back from a table."""
    return _BREAKS.sub(" ", caption).strip("\ufeff").strip()


def _row(caption: str, image: ImageSource) -> bytes:
    text = one_line(caption)
    if not text:
        raise BadInput("Its caption is empty.")
    data = image.read()
    if len(data) > (most := ImageLimits().max_bytes):
        raise BadInput(f"It has {len(data)} bytes; at most {most} are read.")
    if sniff(data) is None:
        raise BadInput("These bytes are not an image in any format that we know.")
    return b"%s\t%s\n" % (text.encode(errors="replace"), encode_field(data))


def _fingerprint(pairs: Pairs) -> str:
    """Of what is told of the pairs; the images' bytes are not opened for it."""
    digest = hashlib.blake2b(pairs.image_of.tobytes(), digest_size=16)
    for text in pairs.captions:
        digest.update(text.encode(errors="replace") + b"\n")
    for image in pairs.images:
        digest.update(image.name.encode(errors="replace") + b"\n")
    return digest.hexdigest()
