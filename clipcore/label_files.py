"""Labels and prompt templates as people write them down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clipcore.errors import BadInput
from clipcore.types import Label

_BLANK = "{}"


def read_labels(path: Path) -> list[Label]:
    """One label a line: `name`, `name: phrase, phrase` or `name<tab>phrase<tab>phrase`. Or JSON: a list of names, or
    an object of names with a phrase or a list of phrases each.

    Raises BadInput with the row, for a label without a name, a label that comes twice, and a file without labels.
    """
    text = _text(path)
    found = list(_from_json(text, path) if path.suffix.lower() == ".json" else _from_lines(text, path))
    if not found:
        raise BadInput(f"{str(path)!r} has no labels; write one a line.")
    seen: set[str] = set()
    for place, label in found:
        if not label.name:
            raise BadInput(f"{place} has no label's name.")
        if label.name in seen:
            raise BadInput(f"{place} names {label.name!r} again; give its phrases beside the first.")
        seen.add(label.name)
    return [label for _, label in found]


def read_templates(path: Path) -> tuple[str, ...]:
    """One template a line, each with one {} where the label's words go. Raises BadInput with the row."""
    templates = tuple(check_template(line, f"Row {row} of {str(path)!r}") for row, line in _lines(_text(path)))
    if not templates:
        raise BadInput(f"{str(path)!r} has no templates; write one a line, such as 'a photo of {{}}.'.")
    return templates


def check_template(template: str, what: str = "The template") -> str:
    """The same template. Raises BadInput, with `what` before it, unless it has one {} and no other brace."""
    rest = template.replace(_BLANK, "", 1)
    if rest == template or "{" in rest or "}" in rest:
        raise BadInput(f"{what} is {template!r}; a template has one {{}} for the words, and no other braces.")
    return template


def split_labels(listed: str) -> list[Label]:
    """`cat, dog, red apple` -> three labels. Raises BadInput where one comes twice or there is none."""
    names = [name for piece in listed.split(",") if (name := " ".join(piece.split()))]
    if not names or len(set(names)) < len(names):
        raise BadInput(f"The labels {listed!r} must be different words with commas between them.")
    return [Label(name) for name in names]


def _from_lines(text: str, path: Path) -> Iterator[tuple[str, Label]]:
    for row, line in _lines(text):
        if "\t" in line:
            name, *phrases = line.split("\t")
        else:
            name, _, listed = line.partition(": ")
            phrases = listed.split(",")
        yield f"Row {row} of {str(path)!r}", _label(name, phrases)


def _from_json(text: str, path: Path) -> Iterator[tuple[str, Label]]:
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not valid JSON: {error}.") from error
    pairs = content.items() if isinstance(content, dict) else [(name, ()) for name in _list_of_words(content, path)]
    for number, (name, phrases) in enumerate(pairs, start=1):
        listed = [phrases] if isinstance(phrases, str) else _list_of_words(phrases, path)
        yield f"Entry {number} of {str(path)!r}", _label(name, listed)


def _list_of_words(content: Any, path: Path) -> list[str]:  # noqa: ANN401 - whatever the JSON holds
    if not isinstance(content, list | tuple) or not all(isinstance(one, str) for one in content):
        raise BadInput(f"{str(path)!r} must hold a list of names, or an object of names with phrases.")
    return list(content)


def _label(name: str, phrases: Sequence[str]) -> Label:
    return Label(name.strip(), tuple(phrase.strip() for phrase in phrases if phrase.strip()))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Those with something on them, with their numbers, from 1."""
    return ((row, line.rstrip()) for row, line in enumerate(text.splitlines(), start=1) if line.strip())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or type(error).__name__}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not in UTF-8; save it so.") from error
