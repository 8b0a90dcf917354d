"""How many bytes of files may be in memory at once."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    turn: asyncio.Future[None]
    count: int


class ByteBudget:
    """At most `most` bytes are held, but for one file alone, which is let in however large it is.

    Who asks first is served first: a small file does not overtake a large one, which would else wait for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def held(self) -> int:
        return self._held

    def share(self) -> Share:
        """Of nothing, at first. Left as a context, it gives back what it has."""
        return Share(self)

    async def _take(self, count: int) -> None:
        if not self._waiting and self._fits(count):
            self._held += count
            return
        waiting = _Waiting(asyncio.get_running_loop().create_future(), count)
        self._waiting.append(waiting)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._waiting.remove(waiting)
                self._let_in()
            else:  # let in and given up in the same moment
                self._give_back(count)
            raise

    def _give_back(self, count: int) -> None:
        self._held -= count
        self._let_in()

    def _let_in(self) -> None:
        """A turn that was cancelled is taken out of the line by its own task, which lets in those behind it."""
        while self._waiting and not self._waiting[0].turn.cancelled() and self._fits(self._waiting[0].count):
            waiting = self._waiting.popleft()
            self._held += waiting.count
            waiting.turn.set_result(None)

    def _fits(self, count: int) -> bool:
        return not self._held or self._held + count <= self._most


class Share:
    """What one file has of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._count = 0

    async def take(self, count: int) -> None:
        """Waits until there is room for so many bytes in place of those it has."""
        self.shrink(0)
        await self._budget._take(count)
        self._count = count

    def shrink(self, count: int) -> None:
        """Gives back what it has beyond so many bytes."""
        beyond = max(0, self._count - count)
        self._count -= beyond
        self._budget._give_back(beyond)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.shrink(0)
