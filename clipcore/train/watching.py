"""Who hears of a run while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from clipcore.train.trainer import Step


class Watcher(Protocol):
    """Hears of a run while it goes on. row: see `Record`."""

    def logged(self, row: dict[str, Any], steps: int) -> None: ...

    def validated(self, row: dict[str, Any], *, best: bool) -> None: ...

    def skipped(self, name: str, reason: str) -> None: ...

    def warned(self, words: str) -> None: ...

    def through(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        """The same steps, perhaps with a bar beside them."""
        ...


class Unwatched:
    def logged(self, row: dict[str, Any], steps: int) -> None: ...

    def validated(self, row: dict[str, Any], *, best: bool) -> None: ...

    def skipped(self, name: str, reason: str) -> None: ...

    def warned(self, words: str) -> None: ...

    def through(self, steps: Iterable[Step], done: int, total: int) -> Iterable[Step]:
        return steps
