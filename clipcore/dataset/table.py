"""A table of texts and pictures: read once from end to end, remembered by places in the file, read again when wanted.

Tab-separated `text, url-safe base64 picture` (EasyNLP's one-to-one TSV) and its kin, and files that name pictures
beside a text: Flickr's captions, lists of labels and paths.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.dataset.kept_pictures import KeptPictures, PicturesInFields, PicturesInFiles
from clipcore.dataset.layout import Columns, Layout, delimiter_of, find_layout
from clipcore.dataset.lazy import Lazy
from clipcore.dataset.pairs import Problem
from clipcore.dataset.rows import Row, first_rows, open_table, read_rows, split_fields
from clipcore.errors import BadInput
from clipcore.features import PictureSource


@dataclass(frozen=True, slots=True)
class Table:
    """texts: one a usable row. rows: int64 [texts], their numbers. picture_of: int64 [texts], each one's place in
    `pictures`, which stand in the order of their first rows.
    """

    texts: list[str]
    rows: npt.NDArray[np.int64]
    picture_of: npt.NDArray[np.int64]
    pictures: Lazy[PictureSource]
    problems: list[Problem]


def read_table(path: Path, folder: Path, told: Columns, *, merge: bool) -> Table:
    """folder: where relative picture paths begin. merge: rows with the same picture share it.

    Rows that cannot be used are problems. Raises BadInput where no row can be.
    """
    layout = find_table_layout(path, told)
    pictures = PicturesInFiles(folder, merge=merge) if layout.in_files else PicturesInFields(path, merge=merge)
    reading = _Reading(layout, pictures)
    with open_table(path) as file:
        for row in _body(read_rows(file), layout):
            reading.take(row)
    if not reading.texts:
        first = f"; {reading.problems[0].name}: {reading.problems[0].reason}" if reading.problems else "."
        raise BadInput(f"No row of {str(path)!r} can be used{first}")
    rows, picture_of = np.asarray(reading.rows, np.int64), np.asarray(reading.picture_of, np.int64)
    return Table(reading.texts, rows, picture_of, pictures.sources(), reading.problems)


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
    pictures: KeptPictures
    texts: list[str] = field(default_factory=list)
    rows: array[int] = field(default_factory=lambda: array("q"))
    picture_of: array[int] = field(default_factory=lambda: array("q"))
    problems: list[Problem] = field(default_factory=list)

    def take(self, row: Row) -> None:
        try:
            fields = self._fields(row)
            text = _text(fields[self.layout.text])
            before = fields[: self.layout.picture]
            start = row.start + sum(map(len, before)) + len(before)
            picture = self.pictures.keep(fields[self.layout.picture], row.number, start)
        except (BadInput, ValueError) as error:
            self.problems.append(Problem(row.name, str(error)))
        else:
            self.texts.append(text)
            self.rows.append(row.number)
            self.picture_of.append(picture)

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
