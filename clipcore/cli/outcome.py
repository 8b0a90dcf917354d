"""What a command says, where it says it, and the code it ends with.

stdout carries the result alone, for people or, with --json, as one JSON document; progress and complaints go to stderr.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from clipcore.features import SkippedPicture

DONE, FAILED, MISUSED, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


class Skips:
    """Names each skipped picture or row at once, and remembers them for the end."""

    def __init__(self) -> None:
        self.names_and_reasons: list[tuple[str, str]] = []

    def picture(self, skipped: SkippedPicture) -> None:
        self.add(skipped.source.name, skipped.reason)

    def add(self, name: str, reason: str) -> None:
        self.names_and_reasons.append((name, reason))
        say(f"skipped {name}: {reason}")

    @property
    def exit_code(self) -> int:
        return SKIPPED if self.names_and_reasons else DONE

    def as_json(self) -> list[dict[str, str]]:
        return [{"name": name, "reason": reason} for name, reason in self.names_and_reasons]


def say(line: str) -> None:
    """To a person, beside the result."""
    print(line, file=sys.stderr, flush=True)


def let_any_name_pass() -> None:
    """A pipe gets the very bytes of a file's name, UTF-8 or not. For results that are no JSON."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=2))
