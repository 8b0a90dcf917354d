"""Announcements: what the bot says of new images by itself is made in the background, and never holds anything up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import discord
from cachetools import LRUCache

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.keyed_lock import KeyedLock
from bot.logging import get_logger
from bot.models import Image, utc_now

log = get_logger(__name__)

MAX_AGE = timedelta(minutes=10)  # nobody is looking any more at what catch-up finds
MAX_WAITING = 256
MAX_WAITING_IN_CHANNEL = 24
_CONCURRENCY = 4
_TIMEOUT_S = 60.0

Work = Callable[[], Awaitable[None]]


class Announcements:
    """Runs what is said of new images, and what is taken back of it. All of it is optional: it is not repeated after a
    failure or a restart, and skipped while MAX_WAITING are unfinished.

    Discord allows about one reaction a second in a channel, and discord.py waits for that. So new announcements of one
    channel are made one after the other, and skipped while MAX_WAITING_IN_CHANNEL wait: a slow channel holds up no
    other one. Whatever concerns one message is done in the order of its calls.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._channel_lock = KeyedLock()
        self._message_lock = KeyedLock()
        self._waiting: Counter[int] = Counter()  # by channel
        self._announced: LRUCache[int, None] = LRUCache(1024)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        """Stops. What waits, or comes later, is not done. Idempotent."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await self.settled()

    async def settled(self) -> None:
        """Waits until nothing waits or is being done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def announce(self, image: Image, work: Work) -> None:
        """Something new, once about each message, while it is new. image: one of that message."""
        ref = image.ref
        if utc_now() - ref.created_at > MAX_AGE or ref.message_id in self._announced:
            return
        self._announced[ref.message_id] = None
        if self._waiting[image.ref.channel.channel_id] < MAX_WAITING_IN_CHANNEL:
            self._begin(image, work, new=True)
        else:
            log.warning("an announcement is skipped: too many wait in its channel", image_id=image.id)

    def correct(self, image: Image, work: Work) -> None:
        """Changes, or takes back, what was announced."""
        self._begin(image, work, new=False)

    def _begin(self, image: Image, work: Work, *, new: bool) -> None:
        if self._closed:
            return
        if len(self._tasks) >= MAX_WAITING:
            log.warning("an announcement is skipped or stays: too many announcements wait", image_id=image.id)
            return
        task = asyncio.create_task(self._in_turn(image, work, new=new), name="announce")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if new:
            channel_id = image.ref.channel.channel_id
            self._waiting[channel_id] += 1
            task.add_done_callback(lambda _: self._leave(channel_id))

    def _leave(self, channel_id: int) -> None:
        self._waiting[channel_id] -= 1
        if not self._waiting[channel_id]:
            del self._waiting[channel_id]

    async def _in_turn(self, image: Image, work: Work, *, new: bool) -> None:
        ref = image.ref
        async with AsyncExitStack() as turn:
            if new:
                await turn.enter_async_context(self._channel_lock(ref.channel.channel_id))
            await turn.enter_async_context(self._message_lock(ref.message_id))
            await turn.enter_async_context(self._slots)
            await self._try(image, work)

    async def _try(self, image: Image, work: Work) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await work()
        except discord.HTTPException as error:
            # No permission to write or react there, or the message is gone.
            log.info("an announcement could not be made or taken back", status=error.status, image_id=image.id)
        except (ImageGone, ImageForbidden, ImageUnreachable) as error:
            log.info("an announcement could not be made or taken back", reason=str(error), image_id=image.id)
        except Exception:  # the process goes on without this announcement
            log.exception("an announcement could not be made or taken back", image_id=image.id)
