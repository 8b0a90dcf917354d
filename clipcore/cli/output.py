"""Output of the commands, and their exit codes.

The result goes to stdout, as text or with --json as one JSON document; progress and warnings go to stderr.
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
    """Prints each skipped image or row at once, and collects them for the exit code and JSON."""

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
    """Prints a line to stderr."""
    print(line, file=sys.stderr, flush=True)


def say_skipped(name: str, reason: str) -> None:
    say(f"skipped {visible(name)}: {reason}")


def let_any_name_pass() -> None:
    """Makes stdout write file names byte for byte, UTF-8 or not; not for JSON."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=2))


T = TypeVar("T")


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


def tracked(things: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """Yields the same things while a bar shows the progress. total: None where it is unknown."""
    with _bar() as progress:
        yield from progress.track(things, total=total, description=doing)


@contextmanager
def counted(doing: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Shows a bar, and gives the function to call once for each thing done."""
    with _bar() as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)


def watched() -> bool:
    """Whether a bar would be shown, and so whether it is worth counting the total."""
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
