"""Progress with rate and time left, on stderr, and silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

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
