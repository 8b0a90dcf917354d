"""Which column of a table is encoded, as what, and which others go along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clipcore.dataset.layout import find_column
from clipcore.dataset.picture_field import begins_as_picture
from clipcore.dataset.rows import Row
from clipcore.errors import BadInput


class Kind(StrEnum):
    """What the column holds: words, base64 pictures, or the paths of picture files."""

    AUTO = "auto"
    TEXT = "text"
    PICTURE = "picture"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person says. column and append: names, or numbers from 1; no column means the only one.

    names: the columns', where the table has no header row (EasyNLP's input schema). header: whether the first row names
    the columns instead. kind: AUTO tells base64 pictures from texts by the first rows.
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
    pictures = sum(begins_as_picture(field) for field in filled)
    return Kind.PICTURE if pictures and 2 * pictures >= len(filled) else Kind.TEXT
