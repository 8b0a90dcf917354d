"""Rows of a table -> features, one outcome a row, in their order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path

from clipcore.datasets.rows import Row, begins_as_image, decode_field
from clipcore.datasets.tables import find_column
from clipcore.encoding.batch import EncodedImage, ImageSource, encode_images
from clipcore.errors import BadInput, ImageRejected, RejectReason
from clipcore.files import read_regular
from clipcore.types import Encoder, Vectors


class Kind(StrEnum):
    """What the column holds: words, base64 images, or the paths of image files."""

    AUTO = "auto"
    TEXT = "text"
    IMAGE = "image"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person says. column and append: names, or numbers from 1; no column means the only one.

    names: the columns', where the table has no header row (EasyNLP's input schema). header: whether the first row names
    the columns instead. kind: AUTO tells base64 images from texts by the first rows.
    """

    column: str | None = None
    kind: Kind = Kind.AUTO
    append: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    header: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """column, append: columns from 0. columns: how many a row has."""

    column: int
    kind: Kind
    append: tuple[int, ...]
    append_names: tuple[str, ...]
    columns: int


def parse_schema(told: str) -> tuple[str, ...]:
    """`text:str:1,image:str:1` -> `text`, `image`: types and lengths say nothing here. Raises BadInput."""
    names = tuple(part.split(":")[0].strip() for part in told.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise BadInput(f"The input schema {told!r} must name each column once, such as text:str:1,image:str:1.")
    return names


def choose(choice: Choice, sample: Sequence[Row]) -> Chosen:
    """sample: the table's first rows, its header row among them. Raises BadInput."""
    rows = [row.line.split(b"\t") for row in sample if not row.problem]
    names = list(choice.names)
    if choice.header and rows:
        names = [field.decode(errors="replace").strip() for field in rows[0]]
        rows = rows[1:]
    widths = Counter(len(row) for row in rows)
    columns = len(names) or (widths.most_common(1)[0][0] if widths else 1)
    column = _column(choice.column, names, columns)
    append = tuple(_column(told, names, columns) for told in choice.append)
    kind = choice.kind
    if kind is Kind.AUTO:
        kind = _kind([row[column] for row in rows if len(row) == columns])
    return Chosen(column, kind, append, tuple(choice.append), columns)


def _column(told: str | None, names: Sequence[str], columns: int) -> int:
    if told is None:
        if columns > 1:
            raise BadInput(f"The table has {columns} columns; say which to encode with --column.")
        return 0
    column = find_column(told, names)
    if column >= columns:
        raise BadInput(f"The table has {columns} columns, so none has the number {told}.")
    return column


def _kind(fields: Sequence[bytes]) -> Kind:
    filled = [field for field in fields if field.strip()]
    images = sum(begins_as_image(field) for field in filled)
    return Kind.IMAGE if images and 2 * images >= len(filled) else Kind.TEXT


@dataclass(frozen=True, slots=True)
class RowFeatures:
    """vector: float32 [dim], unit length; None where the row is broken, and then `reason` is a sentence.
    appended: the columns that go along.
    """

    name: str
    vector: Vectors | None
    appended: tuple[str, ...]
    reason: str = ""


def encode_rows(
    model: Encoder, rows: Iterable[Row], chosen: Chosen, folder: Path, *, batch_size: int, workers: int
) -> Iterator[RowFeatures]:
    """folder: where relative paths of images begin. Memory: a few batches. Raises what the model raises."""
    if chosen.kind is Kind.TEXT:
        return _encode_texts(model, iter(rows), chosen, batch_size)
    return _encode_images(model, rows, chosen, folder, batch_size=batch_size, workers=workers)


def _encode_images(
    model: Encoder, rows: Iterable[Row], chosen: Chosen, folder: Path, *, batch_size: int, workers: int
) -> Iterator[RowFeatures]:
    # Sources are taken a few ahead of the outcomes, in the same order.
    appended: deque[tuple[str, ...]] = deque()

    def sources() -> Iterator[ImageSource]:
        for row in rows:
            appended.append(_appended(row, chosen))
            yield ImageSource(row.name, partial(_image, row, chosen, folder))

    for outcome in encode_images(model, sources(), batch_size=batch_size, workers=workers, whole=True):
        name, along = outcome.source.name, appended.popleft()
        if isinstance(outcome, EncodedImage):
            yield RowFeatures(name, outcome.vector, along)
        else:
            yield RowFeatures(name, None, along, outcome.reason)


def _encode_texts(model: Encoder, rows: Iterator[Row], chosen: Chosen, batch_size: int) -> Iterator[RowFeatures]:
    while batch := list(islice(rows, batch_size)):
        readings = [_text_or_reason(row, chosen) for row in batch]
        vectors = iter(model.encode_texts([text for text, reason in readings if not reason]))
        for row, (_, reason) in zip(batch, readings, strict=True):
            yield RowFeatures(row.name, None if reason else next(vectors), _appended(row, chosen), reason)


def _image(row: Row, chosen: Chosen, folder: Path) -> bytes:
    try:
        field = _field(row, chosen)
    except BadInput as error:
        raise ImageRejected(RejectReason.BROKEN, str(error)) from error
    if chosen.kind is Kind.FILE:
        return read_regular(folder / field.decode(errors="replace").strip())
    return decode_field(field)


def _text_or_reason(row: Row, chosen: Chosen) -> tuple[str, str]:
    try:
        text = _field(row, chosen).decode().strip()
    except UnicodeDecodeError:
        return "", "Its text is not UTF-8."
    except BadInput as error:
        return "", str(error)
    return text, "" if text else "Its text is empty."


def _field(row: Row, chosen: Chosen) -> bytes:
    if row.problem:
        raise BadInput(row.problem)
    fields = row.line.split(b"\t")
    if len(fields) != chosen.columns:
        raise BadInput(f"It has {len(fields)} columns instead of {chosen.columns}.")
    return fields[chosen.column]


def _appended(row: Row, chosen: Chosen) -> tuple[str, ...]:
    """Empty where the row is too short."""
    fields: Sequence[bytes] = row.line.split(b"\t") if chosen.append else ()
    return tuple(fields[at].decode(errors="replace") if at < len(fields) else "" for at in chosen.append)
