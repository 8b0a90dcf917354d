"""Tells the outside world that a picture is finished, without holding up the next picture."""

from __future__ import annotations

import asyncio
import logging

from bot.index.seams import OnFinished
from bot.records import Picture

log = logging.getLogger(__name__)

AT_ONCE = 4
WAITING_ROOM = 256
LONGEST_S = 60.0


class Announcer:
    """Owns the queue of finished pictures that wait to be announced.

    An announcement is a courtesy: when more wait than there is room for (Discord is slow or refuses), the newest are
    left unsaid rather than let uploads wait. At most once: a crash in between leaves a picture unannounced.
    """

    def __init__(self, on_finished: OnFinished | None) -> None:
        self._on_finished = on_finished
        self._waiting: asyncio.Queue[Picture] = asyncio.Queue(maxsize=WAITING_ROOM)

    def announce(self, picture: Picture) -> None:
        if self._on_finished is None:
            return
        try:
            self._waiting.put_nowait(picture)
        except asyncio.QueueFull:
            log.warning("picture %d is not announced: too many announcements wait", picture.id)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as speakers:
            for _ in range(AT_ONCE):
                speakers.create_task(self._speak())

    async def all_said(self) -> None:
        await self._waiting.join()

    async def _speak(self) -> None:
        while True:
            picture = await self._waiting.get()
            try:
                await self._tell(picture)
            finally:
                self._waiting.task_done()

    async def _tell(self, picture: Picture) -> None:
        if self._on_finished is None:
            return
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._on_finished(picture)
        except Exception:  # one announcement that fails must not silence the next
            log.exception("picture %d could not be announced", picture.id)
