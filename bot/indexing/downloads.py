"""FairDownloads: downloads at a time, of which none can hold up others by not arriving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot.errors import ImageUnreachable
from clipcore.fair_places import FairPlaces, Owner

Arrived = Callable[[int], None]
"""To be called with the number of bytes, whenever some have arrived."""

STALL_S = 2.0
STALL_BYTES = 32 * 1024
"""A download that gets less in STALL_S has stalled. Eight others that get more take one megabit a second."""


@dataclass(slots=True)
class Download:
    """A download that has a place. complete: what follows in its block may take its time."""

    received: int = 0
    complete: bool = False

    def arrived(self, count: int) -> None:
        self.received += count


class FairDownloads:
    """Owners take turns. A download that has stalled gives its place to the next one and goes on without.

    stalled: how many may go on. Where there is no room for another one, and others wait, it is given up.
    """

    def __init__(self, places: int, *, stalled: int, stall_s: float = STALL_S) -> None:
        self._places = FairPlaces(places)
        self._stalled = FairPlaces(stalled)
        self._stall_s = stall_s

    @asynccontextmanager
    async def place(self, owner: Owner, on_stalled: Callable[[], None] | None = None) -> AsyncIterator[Download]:
        """Waits for a place; the block downloads. Raises ImageUnreachable where the download was given up."""
        await self._places.acquire(owner)
        loop = asyncio.get_running_loop()
        download, holds = Download(), self._places
        timer: asyncio.TimerHandle

        def check() -> None:
            nonlocal holds, timer
            stalled = download.received < STALL_BYTES and not download.complete
            if stalled and self._stalled.take(owner):
                self._places.release(owner)
                holds = self._stalled
                if on_stalled is not None:
                    on_stalled()
            elif stalled and self._places.others_wait(owner):
                limit.reschedule(loop.time())
            else:
                download.received = 0
                timer = loop.call_later(self._stall_s, check)

        limit, timer = asyncio.timeout(None), loop.call_later(self._stall_s, check)
        try:
            async with limit:
                yield download
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ImageUnreachable("the download stalled while others waited") from error
        finally:
            timer.cancel()
            holds.release(owner)
