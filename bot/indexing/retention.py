"""Deletes what is older than its channel keeps, at each start and then daily."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import until_stored
from bot.logging import get_logger
from bot.store.rules import RuleStore

log = get_logger(__name__)

EVERY_S = 24 * 3600.0
_CHANNELS_AT_ONCE = 100
"""In one transaction, and in one line of the journal where the store cannot do it."""


class Retention:
    """What has expired is forgotten like everything else: from that moment on it is not shown. See `ChannelRules.floor`
    for what counts as expired; it is not accepted either.
    """

    def __init__(self, rules: RuleStore, registry: ImageRegistry) -> None:
        self._rules = rules
        self._registry = registry
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="retention")

    async def close(self) -> None:
        """Stops. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """A retention was changed."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._forget_expired()
            except Exception:  # tomorrow is another day
                log.exception("expired images could not be deleted")
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()

    async def _forget_expired(self) -> None:
        for expired in await until_stored(self._rules.expired):
            guild_id, ids, up_to_message = expired.guild_id, expired.channel_ids, expired.up_to_message
            for at in range(0, len(ids), _CHANNELS_AT_ONCE):
                some = ids[at : at + _CHANNELS_AT_ONCE]
                await self._registry.forget_up_to(guild_id, some, up_to_message, for_good=False)
            log.info("expired images are deleted", guild_id=guild_id, channels=len(ids))
