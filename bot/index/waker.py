"""A nap that ends early when there is work."""

from __future__ import annotations

import asyncio

from bot.index.seams import Sleep


class Waker:
    """One sleeper, any number of wakers. `sleep` is injected so that tests own the time."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._event = asyncio.Event()

    @property
    def awake(self) -> bool:
        return self._event.is_set()

    def wake(self) -> None:
        self._event.set()

    def reset(self) -> None:
        """Forgets earlier calls of `wake`: call it before looking for work, so that none is missed after."""
        self._event.clear()

    async def nap(self, seconds: float) -> None:
        """Returns after `seconds`, or as soon as somebody wakes."""
        waiting = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._event.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, whoever wakes."""
        await self._sleep(seconds)
