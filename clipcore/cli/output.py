"""What a command says, where it says it, and the code it ends with.

stdout carries the result alone, for people or, with --json, as one JSON document; progress and complaints go to stderr.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from clipcore.encoding.batch import Problem, SkippedImage
from clipcore.folder_search.paths import shown, visible

DONE, FAILED, MISUSED, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


class Skips:
    """Names each skipped image or row at once, and remembers them for the end."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.names_and_reasons: list[tuple[str, str]] = []
        self.problems(problems)

    def image(self, skipped: SkippedImage) -> None:
        self.add(skipped.source.name, skipped.reason)

    def add(self, name: str, reason: str) -> None:
        self.names_and_reasons.append((shown(name), reason))
        say_skipped(name, reason)

    def problem(self, problem: Problem) -> None:
        self.add(problem.name, problem.reason)

    def problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problem(problem)

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


T = TypeVar("T")


class _Rate(ProgressColumn):
    """Things a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


def tracked(things: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """The same things, with a bar beside them. total: None where it is not known."""
    with _bar() as progress:
        yield from progress.track(things, total=total, description=doing)


@contextmanager
def counted(doing: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A bar for what is pushed: call what this gives once for each thing done."""
    with _bar() as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)


def watched() -> bool:
    """Whether a bar would be seen, and so whether counting for it is worth the while."""
    return Console(stderr=True).is_terminal


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        transient=True,
        # Results printed meanwhile go above the bar on a terminal, and never to stderr when they go to a file or pipe.
        redirect_stdout=sys.stdout.isatty(),
    )
