"""Reads the rows of a text table one at a time, with their byte offsets, and the base64 images in their fields."""

from __future__ import annotations

import base64
import csv
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from clipcore.errors import BadInput, ImageRejected, RejectReason
from clipcore.files import open_regular
from clipcore.images.formats import sniff, unsupported_name

# The largest image that a table holds takes 32 MiB (see ImageLimits), in base64 a third more.
LONGEST_ROW = 64 * 1024 * 1024
# csv has one limit for the process, by default less than an image takes.
csv.field_size_limit(max(LONGEST_ROW, csv.field_size_limit()))
# How much of a table is read to guess its layout.
_SAMPLE_ROWS = 64
_SAMPLE_BYTES = 16 * 1024 * 1024

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# Base64 characters that hold an image format's signature; an AVIF's brands may take 256 bytes.
_HEAD = 344
# In bytes. No image is shorter, while some words begin like the base64 of a signature: "Qk" is a bitmap's.
_MIN_IMAGE = 24


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. number: from 1. start: the byte offset of `line`. line: without the line end; empty where
    the line could not be read, and then `problem` is a sentence.
    """

    number: int
    start: int
    line: bytes
    problem: str = ""

    @property
    def is_blank(self) -> bool:
        return not self.problem and not self.line.strip()

    @property
    def name(self) -> str:
        return f"row {self.number}"

    def fields(self, columns: int, delimiter: str = "\t") -> list[bytes]:
        """Raises BadInput where the number of fields is another, and where the line could not be read."""
        if self.problem:
            raise BadInput(self.problem)
        if delimiter == "," and self.line.count(b'"') % 2:
            raise BadInput("A quoted field continues on the next line.")
        fields = split_fields(self.line, delimiter, columns)
        if len(fields) != columns:
            raise BadInput(f"It has {len(fields)} columns instead of {columns}.")
        return fields


def open_table(path: Path) -> BinaryIO:
    """Opens a table. Raises BadInput where there is no such file, or it is a pipe: tables are read more than once."""
    try:
        return open_regular(path)
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or type(error).__name__}.") from error


def read_rows(file: BinaryIO, *, longest: int = LONGEST_ROW) -> Iterator[Row]:
    """Yields every line, including blank ones. Skips a leading UTF-8 byte order mark, and a `\\r` at the end of a line.
    Raises BadInput for UTF-16.
    """
    start = 0
    for number, line in enumerate(iter(partial(file.readline, longest), b""), start=1):
        if number == 1 and line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise BadInput("The table is in UTF-16; save it as UTF-8.")
        if len(line) == longest and not line.endswith(b"\n"):
            yield Row(number, start, b"", f"It is longer than {longest / 2**20:.0f} MiB.")
            while line and not line.endswith(b"\n"):
                start += len(line)
                line = file.readline(longest)
            start += len(line)
            continue
        mark = len(BOM_UTF8) if number == 1 and line.startswith(BOM_UTF8) else 0
        yield Row(number, start + mark, line[mark:].removesuffix(b"\n").removesuffix(b"\r"))
        start += len(line)


def without_blank_end(rows: Iterable[Row]) -> Iterator[Row]:
    """Drops the blank rows at the end of a table, which editors leave there; blank rows between others stay."""
    blank: list[Row] = []
    for row in rows:
        if row.is_blank:
            blank.append(row)
            continue
        yield from blank
        blank.clear()
        yield row


def with_sample(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    """Returns the first rows, few enough to keep, and all rows, these included."""
    sample: list[Row] = []
    taken = 0
    for row in rows:
        sample.append(row)
        taken += len(row.line)
        if len(sample) == _SAMPLE_ROWS or taken >= _SAMPLE_BYTES:
            break
    return sample, chain(sample, rows)


def split_fields(line: bytes, delimiter: str, columns: int | None = None) -> list[bytes]:
    """Splits a line. columns: the expected number, if known: in a comma-separated line without quotes, further commas
    belong to the last field, as in captions files that were written without quoting.
    """
    if delimiter != ",":
        return line.split(delimiter.encode())
    if b'"' not in line:
        return line.split(b",", -1 if columns is None else columns - 1)
    # surrogateescape: invalid UTF-8 is kept here and reported where the field is read. csv refuses a bare \r.
    parsed = next(csv.reader([line.decode(errors="surrogateescape").replace("\r", " ")]))
    return [field.encode(errors="surrogateescape") for field in parsed]


def find_column(column: str, names: Sequence[str], columns: int) -> int:
    """column: a name, or a number from 1. names: those of the columns, if known. columns: their number. Returns the
    column's index from 0. Raises BadInput.
    """
    if column in names:
        return names.index(column)
    if not column.isdecimal() or int(column) == 0:
        known = f"it has {', '.join(names)}" if names else "it has no header row, so give its number, from 1"
        raise BadInput(f"The table has no column {column!r}; {known}.")
    if int(column) > columns:
        raise BadInput(f"The table has {columns} columns, so there is no column {column}.")
    return int(column) - 1


def text_of(field: bytes) -> str:
    """Raises BadInput where the field is empty or not UTF-8."""
    try:
        text = field.decode().strip()
    except UnicodeDecodeError as error:
        raise BadInput("Its text is not UTF-8.") from error
    if not text:
        raise BadInput("Its text is empty.")
    return text


def decode_field(field: bytes) -> bytes:
    """Decodes base64 in either alphabet, padded or not. Raises ImageRejected where the field is not base64."""
    core = canonical(field)
    return base64.urlsafe_b64decode(core + b"=" * (-len(core) % 4))


def canonical(field: bytes) -> bytes:
    """Normalises base64 to the url-safe alphabet without padding, so that equal bytes give equal text. Raises
    ImageRejected where the field is not base64.
    """
    core = field.strip().rstrip(b"=")
    if b"+" in core or b"/" in core:
        core = core.translate(_TO_URL_SAFE)
    if not core or len(core) % 4 == 1 or core.translate(None, _ALPHABET):
        raise ImageRejected(RejectReason.BROKEN, "Its image is not base64.")
    return core


def begins_as_image(field: bytes) -> bool:
    """Whether the field is base64 that starts with an image format's signature; reads only its first bytes."""
    try:
        head = decode_field(field[:_HEAD])
    except ImageRejected:
        return False
    return len(head) >= _MIN_IMAGE and (sniff(head) is not None or unsupported_name(head) is not None)
