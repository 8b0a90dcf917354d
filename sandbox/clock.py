"""The sandbox's time: the real one, which a test may push forward, and the ids made from it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

DISCORD_EPOCH_MS = 1_420_070_400_000


class Clock:
    """Unix time in seconds. `advance` lets a test reach an expiry without waiting for it."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds


class SnowflakeSource:
    """Ids that carry their time and only ever grow, as Discord's do: milliseconds << 22, then a counter."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        fresh = (int(self._clock.now() * 1000) - DISCORD_EPOCH_MS) << 22
        self._last = max(fresh, self._last + 1)
        return self._last


def snowflake_time(snowflake: int) -> datetime:
    return datetime.fromtimestamp(((snowflake >> 22) + DISCORD_EPOCH_MS) / 1000, tz=UTC)


def iso(moment: datetime | float) -> str:
    """The notation of Discord's timestamps: microseconds and an explicit offset."""
    if isinstance(moment, float):
        moment = datetime.fromtimestamp(moment, tz=UTC)
    return moment.isoformat(timespec="microseconds")
