"""Labels in files: JSON, CSV, or one label a line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bot.indexing.label_edits import (
    MAX_LABELS,
    Imported,
    LabelsRefused,
    Problem,
    known_sets,
    own_label,
    split_prompts,
)
from bot.indexing.labels import ShippedLabels
from bot.label_names import label_key
from bot.store.labels import LabelSet, OwnLabel

MAX_FILE_BYTES = 256 * 1024

_COLUMNS = ("name", "prompts", "threshold", "language")
_SPACE = re.compile(r"\s*")
_decoder = json.JSONDecoder()

Entry = tuple[int, OwnLabel]
"""A label and its line."""


def read_labels(data: bytes, shipped: ShippedLabels) -> Imported:
    """What a file holds: JSON, CSV whose first row names the columns, or lines like `name` or `name: prompt; prompt`.

    Raises LabelsRefused, with the line.
    """
    if len(data) > MAX_FILE_BYTES:
        raise LabelsRefused(Problem.TOO_LARGE)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelsRefused(Problem.NO_TEXT, line=data.count(b"\n", 0, error.start) + 1) from error
    if text.lstrip().startswith(("{", "[")):
        return _from_json(text, shipped)
    lines = text.splitlines()
    head = next((line for line in lines if line.strip()), "")
    separator = next((one for one in ",;\t" if _is_header(head.split(one))), None)
    labels = _distinct(_from_lines(lines) if separator is None else _from_csv(lines, separator))
    if not labels:
        raise LabelsRefused(Problem.NO_LABELS)
    return Imported(labels)


def write_labels(chosen: LabelSet) -> bytes:
    """As `read_labels` reads it: JSON with a label a line, so that a message can name the line."""
    labels = [
        {"name": label.name}
        | ({"prompts": label.prompts} if label.prompts else {})
        | ({"threshold": label.threshold} if label.threshold is not None else {})
        | ({"language": label.language} if label.language is not None else {})
        for label in chosen.own
    ]
    lines = ",\n".join("    " + json.dumps(label, ensure_ascii=False) for label in labels)
    head = f'  "sets": {json.dumps(chosen.shipped)},\n  "without": {json.dumps(chosen.without, ensure_ascii=False)},\n'
    return f'{{\n{head}  "labels": [\n{lines}\n  ]\n}}\n'.encode()


def _distinct(entries: Iterable[Entry]) -> tuple[OwnLabel, ...]:
    lines: dict[str, int] = {}
    found: list[OwnLabel] = []
    for line, label in entries:
        key = label_key(label.name)
        if key in lines:
            raise LabelsRefused(Problem.TWICE, label.name, line, lines[key])
        if len(found) == MAX_LABELS:
            raise LabelsRefused(Problem.TOO_MANY, line=line)
        lines[key] = line
        found.append(label)
    return tuple(found)


def _label(line: int, name: str, prompts: Iterable[str] = (), threshold: object = None, language: str = "") -> Entry:
    try:
        return line, own_label(name, prompts, _whole_number(threshold), language)
    except LabelsRefused as refused:
        raise refused.at(line) from refused


def _whole_number(threshold: object) -> int | None:
    match threshold:
        case None:
            return None
        case bool():
            pass
        case int():
            return threshold
        case str():
            text = threshold.strip().removesuffix("%").strip()
            if not text:
                return None
            if text.isascii() and text.isdigit() and len(text) < 9:
                return int(text)
    raise LabelsRefused(Problem.THRESHOLD, str(threshold)[:20])


# -- lines and CSV


def _from_lines(lines: Sequence[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, _, prompts = line.replace("：", ":", 1).partition(":")
            yield _label(number, name, split_prompts(prompts))


def _is_header(cells: Sequence[str]) -> bool:
    named = [cell.strip().strip('"').casefold() for cell in cells]
    return len(named) > 1 and "name" in named and set(named) <= set(_COLUMNS)


def _from_csv(lines: Sequence[str], separator: str) -> Iterator[Entry]:
    rows = csv.reader(lines, delimiter=separator)
    columns: list[str] | None = None
    begins = 1
    try:
        for cells in rows:
            line, begins = begins, rows.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = [cell.strip().casefold() for cell in cells]
                continue
            if len(cells) > len(columns):
                raise LabelsRefused(Problem.ENTRY, line=line)
            row = dict(zip(columns, cells, strict=False))
            prompts = split_prompts(row.get("prompts", ""))
            yield _label(line, row.get("name", ""), prompts, row.get("threshold"), row.get("language", ""))
    except csv.Error as error:
        raise LabelsRefused(Problem.ENTRY, line=rows.line_num) from error


# -- JSON


def _from_json(text: str, shipped: ShippedLabels) -> Imported:
    """A list of names or of objects; or an object with such a list as `labels`, and beside it `sets` and `without`; or
    an object of names, each with a prompt or a list of prompts.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise LabelsRefused(Problem.JSON, line=error.lineno) from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise LabelsRefused(Problem.JSON) from error
    start = len(text) - len(text.lstrip())
    parts = list(_parts(text, start))
    sets: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    if text[start] == "[":
        labels = _distinct(_entry(text, at, None, value) for at, _, value in parts)
    elif any(name == "labels" for _, name, _ in parts):
        found = {name: (at, value) for at, name, value in parts}
        at, listed = found["labels"]
        if not isinstance(listed, list):
            raise LabelsRefused(Problem.ENTRY, line=_line(text, at))
        labels = _distinct(_entry(text, place, None, value) for place, _, value in _parts(text, at))
        sets = _names(text, *found["sets"]) if "sets" in found else None
        without = _names(text, *found["without"]) if "without" in found else ()
    else:
        labels = _distinct(_entry(text, at, name, value) for at, name, value in parts)
    if sets is not None:
        try:
            sets = known_sets(sets, shipped)
        except LabelsRefused as refused:
            raise refused.at(_line(text, found["sets"][0])) from refused
    if not labels and not sets:
        raise LabelsRefused(Problem.NO_LABELS)
    return Imported(labels, sets, without)


def _entry(text: str, at: int, name: str | None, value: object) -> Entry:
    line = _line(text, at)
    match value:
        case str() if name is None:
            return _label(line, value)
        case str() if name is not None:
            return _label(line, name, split_prompts(value))
        case list() if name is not None and all(isinstance(one, str) for one in value):
            return _label(line, name, value)
        case {"name": str(own), **rest} if name is None and rest.keys() <= set(_COLUMNS):
            prompts, language = rest.get("prompts") or [], rest.get("language") or ""
            prompts = split_prompts(prompts) if isinstance(prompts, str) else prompts
            if isinstance(language, str) and isinstance(prompts, list) and all(isinstance(one, str) for one in prompts):
                return _label(line, own, prompts, rest.get("threshold"), language)
    raise LabelsRefused(Problem.ENTRY, line=line)


def _names(text: str, at: int, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value) or len(value) > MAX_LABELS:
        raise LabelsRefused(Problem.ENTRY, line=_line(text, at))
    return tuple(value)


def _parts(text: str, at: int) -> Iterator[tuple[int, str | None, Any]]:
    """The entries of a JSON list or object that begins here, and is sound: where each begins, its name in an object,
    and its value.
    """
    at = _after_space(text, at + 1)
    while text[at] not in "]}":
        begins, name = at, None
        value, at = _decoder.raw_decode(text, at)
        if text[_after_space(text, at)] == ":":
            name = value
            begins = _after_space(text, _after_space(text, at) + 1)
            value, at = _decoder.raw_decode(text, begins)
        yield begins, name, value
        at = _after_space(text, at)
        at = _after_space(text, at + 1) if text[at] == "," else at


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
