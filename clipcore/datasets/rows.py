"""The rows of a text table, one at a time, with the place of each: a file of any length in a few megabytes."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clipcore.errors import BadInput, ImageRejected, RejectReason
from clipcore.files import open_regular
from clipcore.images.formats import sniff, unsupported_name

# The largest image that a table holds takes 32 MiB (see ImageLimits), in base64 a third more.
LONGEST_ROW = 64 * 1024 * 1024
# What is looked at to judge how a table is laid out.
_SAMPLE_ROWS = 64
_SAMPLE_BYTES = 16 * 1024 * 1024
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """number: the line's in the file, from 1. start: its first byte's place. line: without its end; empty where
    `problem` says in a sentence why it is not to be had."""

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


def open_table(path: Path) -> BinaryIO:
    """Raises BadInput where there is no such file; a pipe is none, since tables are read more than once."""
    try:
        return open_regular(path)
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or type(error).__name__}.") from error


def read_rows(file: BinaryIO, *, longest: int = LONGEST_ROW) -> Iterator[Row]:
    """Every line, blank ones too. A UTF-8 mark at the beginning is passed over, and so is a `\\r` before a line's
    end. Raises BadInput for UTF-16.
    """
    start = number = 0
    while line := file.readline(longest):
        number += 1
        taken = len(line)
        whole = line.endswith(b"\n") or taken < longest
        if not whole:
            taken += _pass_over_line(file)
        skipped = 0
        if number == 1:
            _refuse_utf16(line)
            skipped = len(_UTF8_MARK) if line.startswith(_UTF8_MARK) else 0
        text = line[skipped:].removesuffix(b"\n").removesuffix(b"\r")
        if not whole:
            yield Row(number, start, b"", f"It is longer than {longest / 2**20:.0f} MiB.")
        else:
            yield Row(number, start + skipped, text)
        start += taken


def without_blank_end(rows: Iterable[Row]) -> Iterator[Row]:
    """Blank rows are rows where others follow; what an editor left at the very end is none."""
    blank: list[Row] = []
    for row in rows:
        if row.is_blank:
            blank.append(row)
            continue
        yield from blank
        blank.clear()
        yield row


def first_rows(rows: Iterator[Row]) -> list[Row]:
    """A sample small enough to keep, and not empty where there are rows."""
    sample: list[Row] = []
    taken = 0
    for row in rows:
        sample.append(row)
        taken += len(row.line)
        if len(sample) == _SAMPLE_ROWS or taken >= _SAMPLE_BYTES:
            break
    return sample


def split_fields(line: bytes, delimiter: str, columns: int | None = None) -> list[bytes]:
    """columns: how many there should be, where that is known. Commas beyond it belong to the last field of a line
    that quotes nothing, as in files whose captions were pasted behind a comma.

    Raises ValueError where a quoted field does not end with its line.
    """
    if delimiter != ",":
        return line.split(delimiter.encode())
    if b'"' not in line:
        return line.split(b",", -1 if columns is None else columns - 1)
    if line.count(b'"') % 2:
        raise ValueError("A quoted field does not end on its own line.")
    # surrogateescape: bytes that are no UTF-8 come through, and are judged where the field is read.
    parsed = next(csv.reader([line.decode(errors="surrogateescape")]))
    return [field.encode(errors="surrogateescape") for field in parsed]


def _pass_over_line(file: BinaryIO) -> int:
    """To the next line; how many bytes that took."""
    passed = 0
    while piece := file.readline(1 << 20):
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed


def _refuse_utf16(line: bytes) -> None:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("The table is in UTF-16; save it as UTF-8.")


_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# Signatures lie within the first bytes; an AVIF's brands may take 256.
_HEAD = 344
# No image is smaller, and some words do begin like base64 of a signature: "Qk" is a bitmap's.
_LEAST = 32


def encode_field(data: bytes) -> bytes:
    """Url-safe, padded: what Python's own and EasyNLP's decoder take."""
    return base64.urlsafe_b64encode(data)


def decode_field(field: bytes) -> bytes:
    """Raises ImageRejected where this is no base64."""
    core = canonical(field)
    if core is None:
        raise ImageRejected(RejectReason.BROKEN, "This is not an image in base64.")
    return base64.urlsafe_b64decode(core + b"=" * (-len(core) % 4))


def canonical(field: bytes) -> bytes | None:
    """The same for every spelling of the same bytes: url-safe, without padding. None where this is no base64."""
    core = field.strip().rstrip(b"=")
    if b"+" in core or b"/" in core:
        core = core.translate(_TO_URL_SAFE)
    is_base64 = core and len(core) % 4 != 1 and not core.translate(None, _ALPHABET)
    return core if is_base64 else None


def begins_as_image(field: bytes) -> bool:
    """Whether the first bytes carry an image format's signature. Cheap, whatever the field's length."""
    head = canonical(field[:_HEAD])
    if head is None or len(head) < _LEAST:
        return False
    data = decode_field(head[: len(head) // 4 * 4])
    return sniff(data) is not None or unsupported_name(data) is not None
