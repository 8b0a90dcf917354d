"""What a person asks for: words and pictures, added and taken away, as one direction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipcore.errors import BadInput
from clipcore.folder.paths import from_home, is_file, shown, visible
from clipcore.formats import SUFFIXES, sniff, unsupported_name
from clipcore.types import Calibration, Vectors

_MULTIPLIER = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.+)", re.DOTALL)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_HEAD = 4096
# Two unit vectors that all but cancel leave only rounding behind.
_SHORTEST = 1e-3


@dataclass(frozen=True, slots=True)
class Term:
    """Words, or a picture's file. weight: how much it counts; below 0 it is taken away."""

    weight: float
    words: str = ""
    picture: Path | None = None


def written(terms: Sequence[Term]) -> tuple[str, ...]:
    """As people read them: `sofa`, `+ 2 × beach`, `− crowd`."""
    return tuple(_written(term, is_first=not number) for number, term in enumerate(terms))


def _written(term: Term, *, is_first: bool) -> str:
    sign = "− " if term.weight < 0 else "" if is_first else "+ "
    size = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} × "
    return f"{sign}{size}{term.words if term.picture is None else visible(term.picture.name)}"


def parse_query(words: Sequence[str], plus: Sequence[str], minus: Sequence[str]) -> list[Term]:
    """words: what stands first; several are one phrase, unless there is a picture among them. Raises BadInput."""
    if len(words) > 1 and (pictures := [word for word in words if _picture(word) is not None]):
        raise BadInput(f"Write + or - before each part beside the picture {pictures[0]!r}, such as +'at night'.")
    first = [parse_term(" ".join(words))] if words else []
    if len(words) > 1 and first[0].picture is None:
        for word in words:
            _check_words(word)
    terms = [*first, *(parse_term(text) for text in plus), *(parse_term(text, -1) for text in minus)]
    if not any(term.weight > 0 for term in terms):
        raise BadInput("Say what to look for: words, or the path of a picture. What is only left out finds nothing.")
    return terms


def parse_term(text: str, sign: int = 1) -> Term:
    """`beach`, `2:beach`, `dog.jpg`, `0.5:dog.jpg`. What is the file of a picture is a picture, all else are words.

    Raises BadInput for addresses, for what is plainly meant as a file and is none, and for nothing at all.
    """
    if (found := _picture(text)) is not None:
        return Term(float(sign), picture=found)
    weight, rest = 1.0, text
    if match := _MULTIPLIER.fullmatch(text):
        weight, rest = float(match[1]), match[2]
    if weight == 0:
        raise BadInput(f"In {text!r} the multiplier is 0; leave that part out instead.")
    if (found := _picture(rest)) is not None:
        return Term(sign * weight, picture=found)
    words = " ".join(rest.split())
    _check_words(words)
    return Term(sign * weight, words=words)


def parse_picture(text: str) -> Term:
    """The file of a picture, and nothing else; whether it is one, reading it will tell. Raises BadInput."""
    path = from_home(text)
    if is_file(path):
        return Term(1.0, picture=path)
    _check_is_no_address(text)
    words = not path.suffix and "/" not in text
    raise BadInput(
        f"There is no picture {shown(text)!r}; " + ("for words use `clipcore search`." if words else "check the path.")
    )


def combine(terms: Sequence[Term], vectors: Sequence[Vectors]) -> Vectors:
    """The weighted sum of unit vectors, float32 [dim] each, brought to unit length again.

    Raises BadInput where the parts cancel each other out.
    """
    total = sum((np.float32(term.weight) * vector for term, vector in zip(terms, vectors, strict=True)), np.float32(0))
    length = float(np.linalg.norm(total))
    if length < _SHORTEST:
        raise BadInput("The parts of this query cancel each other out; leave one away.")
    unit: Vectors = np.asarray(total / length, np.float32)
    return unit


def least_match(terms: Sequence[Term], calibration: Calibration) -> float:
    """The cosine from which a match means something. Of words and pictures together it is their weighted mean: a
    starting point, since nobody measured mixtures.
    """
    wanted = [term for term in terms if term.weight > 0]
    lines = [calibration.text_match if term.picture is None else calibration.image_match for term in wanted]
    return float(np.average(lines, weights=[term.weight for term in wanted]))


def _picture(text: str) -> Path | None:
    path = from_home(text)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):  # too long for a name, or a NUL in it: words
        return None
    is_picture = sniff(head) is not None or unsupported_name(head) is not None
    return path if is_picture or path.suffix.lower() in SUFFIXES else None


def _check_words(words: str) -> None:
    if not words:
        raise BadInput('A part of the query is empty; write words such as "a red car", or the path of a picture.')
    _check_is_no_address(words)
    looks_like_path = words.startswith(("./", "../", "/", "~/"))
    if looks_like_path or (" " not in words and Path(words).suffix.lower() in SUFFIXES):
        raise BadInput(f"There is no picture {shown(words)!r}; check the path, or use other words.")


def _check_is_no_address(text: str) -> None:
    if _ADDRESS.match(text):
        raise BadInput("Pictures are not fetched from the web; save it and give the file's path.")
