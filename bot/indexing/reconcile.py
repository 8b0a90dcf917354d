"""Channels and threads that were deleted while nobody told: what is stored and not there is asked after by id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from bot.models import ChannelRef

log = logging.getLogger(__name__)

# Between two questions, whatever the number of servers: an archived thread is asked after at every new session.
PAUSE_S = 1.0

Places = Callable[[int], Awaitable[list[ChannelRef]]]
IsDeleted = Callable[[int], Awaitable[bool]]
Forget = Callable[[int], Awaitable[object]]


class RollCall:
    """One question at a time. places: those stored of a server; is_deleted: True only where Discord says so."""

    def __init__(self, places: Places, is_deleted: IsDeleted, forget: Forget, *, pause_s: float = PAUSE_S) -> None:
        self._places = places
        self._is_deleted = is_deleted
        self._forget = forget
        self._pause_s = pause_s
        self._turn = asyncio.Lock()
        self._calls: dict[int, asyncio.Task[None]] = {}

    def begin(self, guild_id: int, present: Collection[int]) -> None:
        """present: ids of the server's channels and active threads, as just told. A call still going on is replaced."""
        earlier = self._calls.pop(guild_id, None)
        if earlier is not None:
            earlier.cancel()
        call = asyncio.create_task(self._call(guild_id, frozenset(present)), name=f"roll call of {guild_id}")
        self._calls[guild_id] = call
        call.add_done_callback(lambda done: self._ended(guild_id, done))

    async def close(self) -> None:
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _ended(self, guild_id: int, call: asyncio.Task[None]) -> None:
        if self._calls.get(guild_id) is call:
            del self._calls[guild_id]

    async def _call(self, guild_id: int, present: frozenset[int]) -> None:
        try:
            for channel_id in missing(await self._places(guild_id), present):
                async with self._turn:
                    if await self._is_deleted(channel_id):
                        await self._forget(channel_id)
                        log.info("channel %d was deleted unheard", channel_id)
                    await asyncio.sleep(self._pause_s)
        except Exception:  # the store failed; the next session asks again
            log.exception("the channels of server %d could not all be asked after", guild_id)


def missing(stored: Iterable[ChannelRef], present: Collection[int]) -> list[int]:
    """What to ask after, channels before threads and then newest first.

    A thread under a channel that is missing itself is not asked after: it goes with its channel.
    """
    roots: set[int] = set()
    threads: set[int] = set()
    for place in stored:
        root = place.channel_id if place.parent_id is None else place.parent_id
        if root not in present:
            roots.add(root)
        elif place.channel_id not in present:
            threads.add(place.channel_id)
    return [*sorted(roots, reverse=True), *sorted(threads - roots, reverse=True)]
