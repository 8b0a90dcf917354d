"""Rows of a table -> features, one outcome a row, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from clipcore.dataset.picture_field import decode_field
from clipcore.dataset.rows import Row
from clipcore.errors import BadInput, ImageRejected, RejectReason
from clipcore.extract.columns import Chosen, Kind
from clipcore.features import EncodedPicture, Encoder, PictureSource, encode_pictures
from clipcore.regular_file import read_regular
from clipcore.types import Vectors


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
    """folder: where relative paths of pictures begin. Memory: a few batches. Raises what the model raises."""
    if chosen.kind is Kind.TEXT:
        return _encode_texts(model, iter(rows), chosen, batch_size)
    return _encode_pictures(model, rows, chosen, folder, batch_size=batch_size, workers=workers)


def _encode_pictures(
    model: Encoder, rows: Iterable[Row], chosen: Chosen, folder: Path, *, batch_size: int, workers: int
) -> Iterator[RowFeatures]:
    # Sources are taken a few ahead of the outcomes, in the same order.
    appended: deque[tuple[str, ...]] = deque()

    def sources() -> Iterator[PictureSource]:
        for row in rows:
            appended.append(_appended(row, chosen))
            yield PictureSource(row.name, partial(_picture, row, chosen, folder))

    for outcome in encode_pictures(model, sources(), batch_size=batch_size, workers=workers, whole=True):
        name, along = outcome.source.name, appended.popleft()
        if isinstance(outcome, EncodedPicture):
            yield RowFeatures(name, outcome.vector, along)
        else:
            yield RowFeatures(name, None, along, outcome.reason)


def _encode_texts(model: Encoder, rows: Iterator[Row], chosen: Chosen, batch_size: int) -> Iterator[RowFeatures]:
    while batch := list(islice(rows, batch_size)):
        readings = [_text_or_reason(row, chosen) for row in batch]
        vectors = iter(model.encode_texts([text for text, reason in readings if not reason]))
        for row, (_, reason) in zip(batch, readings, strict=True):
            yield RowFeatures(row.name, None if reason else next(vectors), _appended(row, chosen), reason)


def _picture(row: Row, chosen: Chosen, folder: Path) -> bytes:
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
