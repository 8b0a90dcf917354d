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
from rich.table import Table
from rich.text import Text

from clipcore.encoding.batch import Problem
from clipcore.folder_search.paths import shown, visible

DONE, FAILED, MISUSED, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


class Skips:
    """Prints each skipped image or row at once, and collects them for the exit code and JSON."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.as_json: list[dict[str, str]] = []
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        self.as_json.append({"name": shown(problem.name), "reason": problem.reason})
        say_skipped(problem.name, problem.reason)

    @property
    def exit_code(self) -> int:
        return SKIPPED if self.as_json else DONE


def finish(result: Mapping[str, Any], show: Callable[[], object], skips: Skips, *, as_json: bool) -> int:
    """Prints the result, as JSON with what was skipped, or by `show` for people. Returns the exit code."""
    if as_json:
        print_json({**result, "skipped": skips.as_json})
    else:
        show()
    return skips.exit_code


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


def table_of(headings: Sequence[str], rows: Iterable[Sequence[str]], **look: Any) -> Table:  # noqa: ANN401 - of rich
    """A heading that begins with > marks a column of figures, aligned to the right. look: Table's own options."""
    table = Table(**{"box": None, "pad_edge": False, **look})
    for heading in headings:
        if heading.startswith(">"):
            table.add_column(heading[1:], justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


T = TypeVar("T")


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


def tracked(things: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """Yields the same things while a bar shows the progress. total: needed where the things have no length."""
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
