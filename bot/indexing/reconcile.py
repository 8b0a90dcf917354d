"""ChannelReconciler: finds channels and threads that were deleted while the bot was offline, and forgets them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial

from bot.indexing.retry import until_stored
from bot.logging import get_logger
from bot.models import ChannelRef

log = get_logger(__name__)


class ChannelReconciler:
    """Asks Discord for each stored channel that a session does not list, as archived threads are, one request at a
    time for all guilds together.

    stored_channels: the channels and threads of a guild that have images. is_deleted: True only where Discord says so.
    forget: deletes a channel, its threads and their images. pause_s: after each request.
    """

    def __init__(
        self,
        stored_channels: Callable[[int], Awaitable[list[ChannelRef]]],
        is_deleted: Callable[[int], Awaitable[bool]],
        forget: Callable[[int], Awaitable[object]],
        *,
        pause_s: float = 1.0,
    ) -> None:
        self._stored_channels = stored_channels
        self._is_deleted = is_deleted
        self._forget = forget
        self._pause_s = pause_s
        self._one_request = asyncio.Lock()
        self._runs: dict[int, asyncio.Task[None]] = {}

    def begin(self, guild_id: int, listed: Collection[int]) -> None:
        """Replaces a run for this guild that has not ended. listed: ids of its channels and active threads."""
        if (earlier := self._runs.get(guild_id)) is not None:
            earlier.cancel()
        self._runs[guild_id] = asyncio.create_task(
            self._reconcile(guild_id, frozenset(listed)), name=f"reconcile guild {guild_id}"
        )

    async def close(self) -> None:
        for run in self._runs.values():
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)

    async def _reconcile(self, guild_id: int, listed: frozenset[int]) -> None:
        try:
            stored = await until_stored(partial(self._stored_channels, guild_id))
            for channel_id in missing(stored, listed):
                async with self._one_request:
                    if await self._is_deleted(channel_id):
                        await self._forget(channel_id)
                        log.info("channel was deleted while offline; its images are forgotten", channel_id=channel_id)
                    await asyncio.sleep(self._pause_s)
        except Exception:  # the next session tries again
            log.exception("channels could not all be reconciled", guild_id=guild_id)
        finally:
            if self._runs.get(guild_id) is asyncio.current_task():
                del self._runs[guild_id]


def missing(stored: Iterable[ChannelRef], listed: Collection[int]) -> list[int]:
    """The ids to ask for: channels before threads, and the newest first.

    A thread whose channel is missing too is left out: it is deleted with its channel.
    """
    roots: set[int] = set()
    threads: set[int] = set()
    for channel in stored:
        root = channel.channel_id if channel.parent_id is None else channel.parent_id
        if root not in listed:
            roots.add(root)
        elif channel.channel_id not in listed:
            threads.add(channel.channel_id)
    return [*sorted(roots, reverse=True), *sorted(threads - roots, reverse=True)]
