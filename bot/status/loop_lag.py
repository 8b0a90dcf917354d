"""How late the event loop is: what everything that people wait for waits for, too."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

INTERVAL_S = 0.1
REMEMBERED = 100
"""Ticks that `worst` looks back on: ten seconds."""


class LoopLag:
    """Asks to be called ten times a second and notes how much later that happens.

    observe: told the lateness in seconds. A long standstill is told as each tick that fell into it would have found it,
    so that it weighs as much as it lasted.
    """

    def __init__(self, observe: Callable[[float], None], interval: float = INTERVAL_S) -> None:
        self._observe = observe
        self._interval = interval
        self._recent: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + interval
        self._handle = self._loop.call_at(self._due, self._tick)

    @property
    def worst(self) -> float:
        """The greatest lateness of the last ten seconds, in seconds."""
        return max(self._recent)

    def close(self) -> None:
        self._handle.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        late = max(0.0, now - self._due)
        self._recent.append(late)
        self._due = now + self._interval
        self._handle = self._loop.call_at(self._due, self._tick)
        while late >= 0:
            self._observe(late)
            late -= self._interval
