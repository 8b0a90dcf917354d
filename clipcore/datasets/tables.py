"""A table of texts and images: read once from end to end, remembered by places in the file, read again when wanted.

Tab-separated `text, url-safe base64 image` (EasyNLP's one-to-one TSV) and its kin, and files that name images
beside a text: Flickr's captions, lists of labels and paths.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from clipcore.datasets.files import ImageFinder, has_image_suffix
from clipcore.datasets.pairs import Problem
from clipcore.datasets.rows import (
    Row,
    begins_as_image,
    canonical,
    decode_field,
    first_rows,
    open_table,
    read_rows,
    split_fields,
)
from clipcore.encoding.batch import ImageSource
from clipcore.errors import BadInput

# Flickr8k and Flickr30k number the captions of an image: `1000092795.jpg#0`.
_CAPTION_NUMBER = re.compile(r"#\d+$")
_TEXT_NAMES = frozenset(
    ["text", "texts", "caption", "captions", "title", "comment", "sentence", "raw", "query", "word"]
    + ["label", "labels", "class", "category"]
)
_IMAGE_NAMES = frozenset(
    ["image", "images", "image", "images", "photo", "img", "imgs", "base64", "image_base64", "image_name"]
    + ["file", "filename", "file_name", "filepath", "path"]
)
_OTHER_NAMES = frozenset(["id", "key", "index", "number", "comment_number", "image_id", "text_id", "split"])


@dataclass(frozen=True, slots=True)
class Columns:
    """What a person says of a table; each None is judged from the first rows.

    text, image: a name from the header row, or a number from 1. header: whether the first row names the columns.
    """

    text: str | None = None
    image: str | None = None
    header: bool | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """text, image: columns from 0. columns: how many a row has. in_files: images are paths, else base64."""

    delimiter: str
    text: int
    image: int
    columns: int
    header: bool
    in_files: bool


def delimiter_of(lines: Sequence[str]) -> str:
    """A tab where any line has one; else a bar, as Flickr30k's captions have; else a comma."""
    return next((mark for mark in "\t|" if any(mark in line for line in lines)), ",")


def find_layout(rows: Sequence[Sequence[bytes]], delimiter: str, told: Columns) -> Layout:
    """rows: the first of the table, in fields. Raises BadInput with what to say in `told`."""
    names = _header(rows, told)
    body = rows[1:] if names else rows
    in_files = not _count(body, begins_as_image)
    is_image = _is_path if in_files else begins_as_image
    votes = _count(body, is_image)
    if told.image is not None:
        image = find_column(told.image, names)
    elif votes:
        image = votes.most_common(1)[0][0]
    else:
        raise BadInput("No column holds images: neither base64 nor names of image files.")
    columns = len(names) or _width(body, lambda row: len(row) > image and is_image(row[image])) or len(rows[0])
    text = _text_column(told, names, columns, image)
    if image == text:
        raise BadInput("The texts and the images cannot be in the same column.")
    return Layout(delimiter, text, image, columns, bool(names), in_files)


def find_column(told: str, names: Sequence[str]) -> int:
    """told: a name, or a number from 1. Returns the column from 0. Raises BadInput."""
    if told in names:
        return names.index(told)
    if told.isdecimal() and int(told) > 0:
        return int(told) - 1
    known = f"it has {', '.join(names)}" if names else "it has no header row, so give its number, from 1"
    raise BadInput(f"The table has no column {told!r}; {known}.")


def without_caption_number(name: str) -> str:
    return _CAPTION_NUMBER.sub("", name)


def _header(rows: Sequence[Sequence[bytes]], told: Columns) -> list[str]:
    names = [field.decode(errors="replace").strip() for field in rows[0]]
    if told.header is not None:
        return names if told.header else []
    asked = {name for name in (told.text, told.image) if name is not None and not name.isdecimal()}
    known = {name.lower() for name in names} <= _TEXT_NAMES | _IMAGE_NAMES | _OTHER_NAMES
    return names if known or (asked and asked <= set(names)) else []


def _text_column(told: Columns, names: Sequence[str], columns: int, image: int) -> int:
    if told.text is not None:
        return find_column(told.text, names)
    others = [column for column in range(columns) if column != image]
    named = [column for column in others if column < len(names) and names[column].lower() in _TEXT_NAMES]
    if len(others) == 1 or len(named) == 1:
        return (named or others)[0]
    if not others:
        raise BadInput("The table has images in its one column, but no texts.")
    raise BadInput(f"The table has {columns} columns; say which holds the text, with --text-column.")


def _is_path(field: bytes) -> bool:
    return has_image_suffix(without_caption_number(field.decode(errors="replace").strip()))


def _count(rows: Sequence[Sequence[bytes]], holds: Callable[[bytes], bool]) -> Counter[int]:
    """In how many rows each column holds that."""
    return Counter(column for row in rows for column, field in enumerate(row) if holds(field))


def _width(rows: Sequence[Sequence[bytes]], counts: Callable[[Sequence[bytes]], bool]) -> int | None:
    widths = Counter(len(row) for row in rows if counts(row))
    return widths.most_common(1)[0][0] if widths else None


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lazy(Sequence[T], Generic[T]):
    length: int
    make: Callable[[int], T]

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            chosen = range(self.length)[index]
            return Lazy(len(chosen), lambda at: self.make(chosen[at]))
        return self.make(range(self.length)[index])


class KeptImages(Protocol):
    def keep(self, field: bytes, row: int, start: int) -> int:
        """field: the image's, which begins at byte `start` of the file. Returns the image's place among those kept.
        Raises BadInput where it is none.
        """
        ...

    def sources(self) -> Lazy[ImageSource]: ...


class ImagesInFields:
    """Images that are base64 fields of the table: 24 bytes each, and a hash while reading where they are merged."""

    def __init__(self, path: Path, *, merge: bool) -> None:
        self._path = path
        self._merge = merge
        self._rows, self._starts, self._lengths = array("q"), array("q"), array("q")
        self._seen: dict[bytes, int] = {}

    def keep(self, field: bytes, row: int, start: int) -> int:
        core = canonical(field)
        if core is None:
            raise BadInput("Its image is not base64.")
        new = len(self._rows)
        if self._merge:
            known = self._seen.setdefault(hashlib.blake2b(core, digest_size=16).digest(), new)
            if known < new:
                return known
        self._rows.append(row)
        self._starts.append(start)
        self._lengths.append(len(field))
        return new

    def sources(self) -> Lazy[ImageSource]:
        self._seen.clear()
        return Lazy(len(self._rows), self._source)

    def _source(self, at: int) -> ImageSource:
        read = partial(_read_field, self._path, self._starts[at], self._lengths[at])
        return ImageSource(f"row {self._rows[at]}", read)


class ImagesInFiles:
    """Images that the table names; see `ImageFinder`."""

    def __init__(self, folder: Path, *, merge: bool) -> None:
        self._finder = ImageFinder(folder)
        self._merge = merge
        self._paths: list[Path] = []
        self._seen: dict[str, int] = {}

    def keep(self, field: bytes, row: int, start: int) -> int:
        name = without_caption_number(field.decode(errors="replace").strip())
        if self._merge and name in self._seen:
            return self._seen[name]
        self._paths.append(self._finder.find(name))
        return self._seen.setdefault(name, len(self._paths) - 1) if self._merge else len(self._paths) - 1

    def sources(self) -> Lazy[ImageSource]:
        paths = self._paths
        return Lazy(len(paths), lambda at: ImageSource.file(paths[at]))


def _read_field(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return decode_field(file.read(length))


@dataclass(frozen=True, slots=True)
class Table:
    """texts: one a usable row. rows: int64 [texts], their numbers. image_of: int64 [texts], each one's place in
    `images`, which stand in the order of their first rows.
    """

    texts: list[str]
    rows: npt.NDArray[np.int64]
    image_of: npt.NDArray[np.int64]
    images: Lazy[ImageSource]
    problems: list[Problem]


def read_table(path: Path, folder: Path, told: Columns, *, merge: bool) -> Table:
    """folder: where relative image paths begin. merge: rows with the same image share it.

    Rows that cannot be used are problems. Raises BadInput where no row can be.
    """
    layout = find_table_layout(path, told)
    images = ImagesInFiles(folder, merge=merge) if layout.in_files else ImagesInFields(path, merge=merge)
    reading = _Reading(layout, images)
    with open_table(path) as file:
        for row in _body(read_rows(file), layout):
            reading.take(row)
    if not reading.texts:
        first = f"; {reading.problems[0].name}: {reading.problems[0].reason}" if reading.problems else "."
        raise BadInput(f"No row of {str(path)!r} can be used{first}")
    rows, image_of = np.asarray(reading.rows, np.int64), np.asarray(reading.image_of, np.int64)
    return Table(reading.texts, rows, image_of, images.sources(), reading.problems)


def find_table_layout(path: Path, told: Columns) -> Layout:
    """From its first rows. Raises BadInput where they do not tell."""
    with open_table(path) as file:
        sample = [row.line for row in first_rows(read_rows(file)) if row.line.strip()]
    if not sample:
        raise BadInput(f"{str(path)!r} is empty.")
    delimiter = delimiter_of([line.decode(errors="replace") for line in sample])
    try:
        return find_layout([_fields_or_none(line, delimiter) for line in sample], delimiter, told)
    except BadInput as error:
        raise BadInput(f"{str(path)!r} cannot be used: {error}") from error


def _fields_or_none(line: bytes, delimiter: str) -> list[bytes]:
    try:
        return split_fields(line, delimiter)
    except ValueError:
        return []


def _body(rows: Iterator[Row], layout: Layout) -> Iterator[Row]:
    filled = (row for row in rows if not row.is_blank)
    return islice(filled, int(layout.header), None)


@dataclass(slots=True)
class _Reading:
    layout: Layout
    images: KeptImages
    texts: list[str] = field(default_factory=list)
    rows: array[int] = field(default_factory=lambda: array("q"))
    image_of: array[int] = field(default_factory=lambda: array("q"))
    problems: list[Problem] = field(default_factory=list)

    def take(self, row: Row) -> None:
        try:
            fields = self._fields(row)
            text = _text(fields[self.layout.text])
            before = fields[: self.layout.image]
            start = row.start + sum(map(len, before)) + len(before)
            image = self.images.keep(fields[self.layout.image], row.number, start)
        except (BadInput, ValueError) as error:
            self.problems.append(Problem(row.name, str(error)))
        else:
            self.texts.append(text)
            self.rows.append(row.number)
            self.image_of.append(image)

    def _fields(self, row: Row) -> list[bytes]:
        if row.problem:
            raise BadInput(row.problem)
        fields = split_fields(row.line, self.layout.delimiter, self.layout.columns)
        if len(fields) != self.layout.columns:
            raise BadInput(f"It has {len(fields)} columns instead of {self.layout.columns}.")
        return fields


def _text(field: bytes) -> str:
    try:
        text = field.decode().strip()
    except UnicodeDecodeError as error:
        raise BadInput("Its text is not UTF-8.") from error
    if not text:
        raise BadInput("Its text is empty.")
    return text
