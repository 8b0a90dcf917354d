"""Where a table keeps its texts and its pictures, told by a person or judged from its first rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clipcore.dataset.files import has_picture_suffix
from clipcore.dataset.picture_field import begins_as_picture
from clipcore.errors import BadInput

# Flickr8k and Flickr30k number the captions of a picture: `1000092795.jpg#0`.
_CAPTION_NUMBER = re.compile(r"#\d+$")
_TEXT_NAMES = frozenset(
    ["text", "texts", "caption", "captions", "title", "comment", "sentence", "raw", "query", "word"]
    + ["label", "labels", "class", "category"]
)
_PICTURE_NAMES = frozenset(
    ["image", "images", "picture", "pictures", "photo", "img", "imgs", "base64", "image_base64", "image_name"]
    + ["file", "filename", "file_name", "filepath", "path"]
)
_OTHER_NAMES = frozenset(["id", "key", "index", "number", "comment_number", "image_id", "text_id", "split"])


@dataclass(frozen=True, slots=True)
class Columns:
    """What a person says of a table; each None is judged from the first rows.

    text, picture: a name from the header row, or a number from 1. header: whether the first row names the columns.
    """

    text: str | None = None
    picture: str | None = None
    header: bool | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """text, picture: columns from 0. columns: how many a row has. in_files: pictures are paths, else base64."""

    delimiter: str
    text: int
    picture: int
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
    in_files = not _count(body, begins_as_picture)
    is_picture = _is_path if in_files else begins_as_picture
    votes = _count(body, is_picture)
    if told.picture is not None:
        picture = find_column(told.picture, names)
    elif votes:
        picture = votes.most_common(1)[0][0]
    else:
        raise BadInput("No column holds pictures: neither base64 nor names of picture files.")
    columns = len(names) or _width(body, lambda row: len(row) > picture and is_picture(row[picture])) or len(rows[0])
    text = _text_column(told, names, columns, picture)
    if picture == text:
        raise BadInput("The texts and the pictures cannot be in the same column.")
    return Layout(delimiter, text, picture, columns, bool(names), in_files)


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
    asked = {name for name in (told.text, told.picture) if name is not None and not name.isdecimal()}
    known = {name.lower() for name in names} <= _TEXT_NAMES | _PICTURE_NAMES | _OTHER_NAMES
    return names if known or (asked and asked <= set(names)) else []


def _text_column(told: Columns, names: Sequence[str], columns: int, picture: int) -> int:
    if told.text is not None:
        return find_column(told.text, names)
    others = [column for column in range(columns) if column != picture]
    named = [column for column in others if column < len(names) and names[column].lower() in _TEXT_NAMES]
    if len(others) == 1 or len(named) == 1:
        return (named or others)[0]
    if not others:
        raise BadInput("The table has pictures in its one column, but no texts.")
    raise BadInput(f"The table has {columns} columns; say which holds the text, with --text-column.")


def _is_path(field: bytes) -> bool:
    return has_picture_suffix(without_caption_number(field.decode(errors="replace").strip()))


def _count(rows: Sequence[Sequence[bytes]], holds: Callable[[bytes], bool]) -> Counter[int]:
    """In how many rows each column holds that."""
    return Counter(column for row in rows for column, field in enumerate(row) if holds(field))


def _width(rows: Sequence[Sequence[bytes]], counts: Callable[[Sequence[bytes]], bool]) -> int | None:
    widths = Counter(len(row) for row in rows if counts(row))
    return widths.most_common(1)[0][0] if widths else None
