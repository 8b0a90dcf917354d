"""What a command says, where it says it, and the code it ends with.

stdout carries the result alone, for people or, with --json, as one JSON document; progress and complaints go to stderr.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from clipcore.dataset.pairs import Problem
from clipcore.features import SkippedPicture
from clipcore.folder.paths import shown, visible
from clipcore.types import Vectors

DONE, FAILED, MISUSED, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


class Answer(Protocol):
    """What came of one thing that was to be encoded."""

    @property
    def name(self) -> str: ...

    @property
    def vector(self) -> Vectors | None: ...

    @property
    def reason(self) -> str: ...


AnswerT = TypeVar("AnswerT", bound=Answer)


class Skips:
    """Names each skipped picture or row at once, and remembers them for the end."""

    def __init__(self) -> None:
        self.names_and_reasons: list[tuple[str, str]] = []

    def picture(self, skipped: SkippedPicture) -> None:
        self.add(skipped.source.name, skipped.reason)

    def add(self, name: str, reason: str) -> None:
        self.names_and_reasons.append((shown(name), reason))
        say_skipped(name, reason)

    def problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.add(problem.name, problem.reason)

    def watch(self, answers: Iterable[AnswerT]) -> Iterator[AnswerT]:
        """The same answers; those without a vector are named as they go by."""
        for answer in answers:
            if answer.vector is None:
                self.add(answer.name, answer.reason)
            yield answer

    @property
    def exit_code(self) -> int:
        return SKIPPED if self.names_and_reasons else DONE

    def as_json(self) -> list[dict[str, str]]:
        return [{"name": name, "reason": reason} for name, reason in self.names_and_reasons]


def say(line: str) -> None:
    """To a person, beside the result."""
    print(line, file=sys.stderr, flush=True)


def say_skipped(name: str, reason: str) -> None:
    say(f"skipped {visible(name)}: {reason}")


def let_any_name_pass() -> None:
    """A pipe gets the very bytes of a file's name, UTF-8 or not. For results that are no JSON."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=2))
