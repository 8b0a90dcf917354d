"""Reads tables of texts and images in one pass; images are kept as places in the file and read when needed.

Tab-separated `text, url-safe base64 image` (EasyNLP's one-to-one TSV) and similar tables, and files that name images
beside a text: Flickr's captions, lists of labels and paths.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mode
from typing import overload

from clipcore.datasets.pairs import ImageFinder, Pairs, PairsBuilder, read_part
from clipcore.encoding.batch import ImageSource
from clipcore.encoding.rows import (
    Row,
    begins_as_image,
    canonical,
    decode_field,
    find_column,
    open_table,
    read_rows,
    split_fields,
    text_of,
    with_sample,
)
from clipcore.errors import BadInput, ImageRejected
from clipcore.images.formats import has_image_suffix

# Flickr8k and Flickr30k number the captions of an image: `1000092795.jpg#0`.
_CAPTION_NUMBER = re.compile(r"#\d+$")
_TEXT_NAMES = frozenset(
    ["text", "texts", "caption", "captions", "title", "comment", "sentence", "raw", "query", "word"]
    + ["label", "labels", "class", "category"]
)
_IMAGE_NAMES = frozenset(
    ["image", "images", "picture", "pictures", "photo", "img", "imgs", "base64", "image_base64", "image_name"]
    + ["file", "filename", "file_name", "filepath", "path"]
)
_OTHER_NAMES = frozenset(["id", "key", "index", "number", "comment_number", "image_id", "text_id", "split"])


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a table has its texts and images; what is None is guessed from the first rows.

    text, image: a name from the header row, or a number from 1. header: whether the first row names the columns.
    """

    text: str | None = None
    image: str | None = None
    header: bool | None = None


def read_table(path: Path, folder: Path, columns: Columns, *, merge: bool) -> Pairs:
    """folder: the base of relative image paths. merge: rows with the same image share it. `text_of` has row numbers.

    Rows that cannot be used become problems. Raises BadInput where no row can be used, and where the columns are
    neither given, nor named by the header, nor clear from the first rows.
    """
    row_of: dict[bytes, int] = {}  # of an image, where rows share it
    builder = PairsBuilder()
    with open_table(path) as file:
        sample, rows = with_sample(row for row in read_rows(file) if not row.is_blank)
        lines = [row.line for row in sample if not row.problem]
        if not lines:
            raise BadInput(f"{str(path)!r} is empty.")
        try:
            layout = _find_layout(lines, columns)
        except BadInput as error:
            raise BadInput(f"{str(path)!r} cannot be used: {error}") from error
        images: _ImageFields | _ImageFiles = _ImageFiles(folder) if layout.in_files else _ImageFields(path)
        for row in islice(rows, int(layout.header), None):
            try:
                fields = row.fields(layout.columns, layout.delimiter)
                text, field = text_of(fields[layout.text]), fields[layout.image].strip()
                key = images.key(field)
                at = row_of.get(key)
                if at is None:
                    images.add(field, row)
                    at = len(images) - 1
                    if merge:
                        row_of[key] = at
            except (BadInput, ImageRejected) as error:
                builder.skip(row.name, str(error))
            else:
                builder.add_caption(text, at, row.number)
    return builder.build(f"No row of {str(path)!r} can be used", images)


@dataclass(frozen=True, slots=True)
class _Layout:
    """text, image: indices from 0. columns: the number of columns. in_files: images are paths, not base64."""

    delimiter: str
    text: int
    image: int
    columns: int
    header: bool
    in_files: bool


def _find_layout(lines: Sequence[bytes], given: Columns) -> _Layout:
    # A tab where any line has one; else a bar, as in Flickr30k's captions; else a comma.
    delimiter = next((mark for mark in "\t|" if any(mark.encode() in line for line in lines)), ",")
    rows = [split_fields(line, delimiter) for line in lines]
    names = _header(rows[0], given)
    body = rows[1:] if names else rows
    in_files = not any(begins_as_image(field) for row in body for field in row)
    is_image = _is_path if in_files else begins_as_image
    with_image = [row for row in body if any(map(is_image, row))]
    columns = len(names) or mode(map(len, with_image or body))
    found = [at for row in with_image for at, field in enumerate(row[:columns]) if is_image(field)]
    if given.image is None and not found:
        raise BadInput("No column holds images: neither base64 nor names of image files.")
    image = mode(found) if given.image is None else find_column(given.image, names, columns)
    text = _text_column(given, names, columns, image)
    if image == text:
        raise BadInput("The texts and the images cannot be in the same column.")
    return _Layout(delimiter, text, image, columns, bool(names), in_files)


def _header(first_row: Sequence[bytes], given: Columns) -> list[str]:
    """The names of the columns; none where the first row is not a header row."""
    names = [field.decode(errors="replace").strip() for field in first_row]
    if given.header is not None:
        return names if given.header else []
    wanted = {name for name in (given.text, given.image) if name is not None and not name.isdecimal()}
    all_known = {name.lower() for name in names} <= _TEXT_NAMES | _IMAGE_NAMES | _OTHER_NAMES
    return names if all_known or (wanted and wanted <= set(names)) else []


def _text_column(given: Columns, names: Sequence[str], columns: int, image: int) -> int:
    if given.text is not None:
        return find_column(given.text, names, columns)
    others = [column for column in range(columns) if column != image]
    named = [column for column in others if column < len(names) and names[column].lower() in _TEXT_NAMES]
    if len(others) == 1 or len(named) == 1:
        return (named or others)[0]
    if not others:
        raise BadInput("The table has images in its one column, but no texts.")
    raise BadInput(f"The table has {columns} columns; say which holds the text, with --text-column.")


def _is_path(field: bytes) -> bool:
    return has_image_suffix(_without_caption_number(field))


def _without_caption_number(field: bytes) -> str:
    return _CAPTION_NUMBER.sub("", field.decode(errors="replace").strip())


class _ImageFields(Sequence[ImageSource]):
    """Images that are base64 fields: 24 bytes of memory each, since a table may have millions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows, self._starts, self._lengths = array("q"), array("q"), array("q")

    def key(self, field: bytes) -> bytes:
        """Equal for equal images. Raises ImageRejected where the field is not base64."""
        return hashlib.blake2b(canonical(field), digest_size=16).digest()

    def add(self, field: bytes, row: Row) -> None:
        self._rows.append(row.number)
        self._starts.append(row.start + row.line.index(field))
        self._lengths.append(len(field))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ImageSource: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageSource]: ...

    def __getitem__(self, index: int | slice) -> ImageSource | list[ImageSource]:
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        return ImageSource(f"row {self._rows[index]}", partial(self._read, index))

    def _read(self, at: int) -> bytes:
        return decode_field(read_part(self._path, self._starts[at], self._lengths[at]))


class _ImageFiles(list[ImageSource]):
    """Images whose paths are in the table."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._finder = ImageFinder(folder)

    def key(self, field: bytes) -> bytes:
        return _without_caption_number(field).encode()

    def add(self, field: bytes, row: Row) -> None:
        self.append(ImageSource.file(self._finder.find(_without_caption_number(field))))
