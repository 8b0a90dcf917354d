"""How late the event loop is, and whether the gateway noticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import floor

from bot.discord_io.client import MagpieBot

_EVERY_S = 0.005
_GATEWAY_LOGS = ("discord.gateway", "discord.client")


@asynccontextmanager
async def measured_lag() -> AsyncIterator[list[float]]:
    """Seconds by which a task that sleeps for 5 ms, again and again, woke too late."""
    late: list[float] = []
    sampling = asyncio.create_task(_sample(late))
    try:
        yield late
    finally:
        sampling.cancel()


async def _sample(late: list[float]) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        late.append(clock() - due)


@dataclass(slots=True)
class Heartbeats:
    """due: beats that the time was enough for. round_trips: seconds from each beat to Discord's acknowledgement.

    warnings: what discord.py had to say about the connection, such as that a heartbeat is blocked.
    """

    due: int = 0
    round_trips: list[float] = field(default_factory=list)
    warnings: int = 0


@asynccontextmanager
async def counted_heartbeats(bot: MagpieBot, interval_s: float) -> AsyncIterator[Heartbeats]:
    found = Heartbeats()
    ear = _Ear(found)
    for name in _GATEWAY_LOGS:
        logging.getLogger(name).addHandler(ear)
    clock = asyncio.get_running_loop().time
    began = clock()
    counting = asyncio.create_task(_count(bot, found))
    try:
        yield found
    finally:
        counting.cancel()
        found.due = floor((clock() - began) / interval_s)
        for name in _GATEWAY_LOGS:
            logging.getLogger(name).removeHandler(ear)


async def _count(bot: MagpieBot, found: Heartbeats) -> None:
    """Each acknowledgement, seen by its time."""
    last = None
    while True:
        alive = bot._get_websocket(shard_id=0)._keep_alive
        if alive is not None and alive._last_ack != last:
            if last is not None:
                found.round_trips.append(alive.latency)
            last = alive._last_ack
        await asyncio.sleep(0.2)


class _Ear(logging.Handler):
    def __init__(self, found: Heartbeats) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.warnings += 1
