"""Ctrl-C as a wish: work ends where it can be taken up again."""

from __future__ import annotations

import signal
from types import FrameType

from clipcore.cli.output import say


class Interruption:
    """As a context, hears SIGINT and SIGTERM. The second one ends the process at once, as if nobody had listened."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        say("Stopping after this step; once more to stop at once.")
