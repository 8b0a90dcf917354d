"""/healthz: whether the bot works right now. Each check answers with one sentence about what is wrong, or None."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Literal

import numpy as np
from discord.ext import commands

from bot.errors import MagpieError
from bot.logging import get_logger
from bot.monitoring import metrics
from clipcore.engine.engine import ClipEngine
from clipcore.errors import ClipError
from clipcore.types import Lane

log = get_logger(__name__)

Check = Callable[[], Awaitable[str | None]]
"""Its sentence contains no ids, names or URLs: anybody who reaches the port can read it."""

BATCH_TIMEOUT_S = 30.0
"""How long one batch may take. On a slow CPU a batch of a large model takes seconds."""

MAX_LOOP_LAG_S = 2.0
"""Discord gives a command three seconds; an event loop that is later than this cannot answer in time."""


@dataclass(frozen=True, slots=True)
class Report:
    """checks: "ok" or what is wrong, by the check's name."""

    status: Literal["starting", "ok", "failing", "closing"]
    checks: Mapping[str, str]


class Health:
    """Runs the checks between `serve` and `close`. Logs when they begin to fail and when they have recovered."""

    def __init__(self) -> None:
        self._phase: Literal["starting", "serving", "closing"] = "starting"
        self._checks: Mapping[str, Check] = {}
        self._starting: Callable[[], bool] = bool
        self._failing = False

    def serve(self, checks: Mapping[str, Check], starting: Callable[[], bool] = bool) -> None:
        """starting: while it is true, a failing "gateway" alone means that the bot is starting."""
        self._phase, self._checks, self._starting = "serving", checks, starting

    def close(self) -> None:
        self._phase, self._checks = "closing", {}

    async def report(self) -> Report:
        found = {name: await check() or "ok" for name, check in self._checks.items()}
        if self._phase != "serving":  # it may have been closed while the checks ran
            return Report(self._phase, {})
        failed = [name for name, result in found.items() if result != "ok"]
        if failed == ["gateway"] and self._starting():
            return Report("starting", found)
        if failed and not self._failing:
            log.warning("health checks failing", **{name: found[name] for name in failed})
        elif self._failing and not failed:
            log.info("health checks recovered")
        self._failing = bool(failed)
        return Report("failing" if failed else "ok", found)


class Status:
    """What /healthz and /metrics tell about one bot. Until `watch`, that it is starting."""

    def __init__(self) -> None:
        self.health = Health()
        self._lag = LoopLag(metrics.EVENT_LOOP_LAG_SECONDS.observe)
        self._probe: StoreProbe | None = None
        self._device: DeviceProbe | None = None
        self._count_pending: Callable[[], Awaitable[int]] | None = None
        self._pending_known = True

    def watch(
        self,
        engine: ClipEngine,
        gateway: GatewayMonitor,
        prove_writable: Callable[[], Awaitable[None]],
        count_pending: Callable[[], Awaitable[int]],
    ) -> None:
        """The bot is complete: from now on its parts are checked."""
        self._probe = StoreProbe(prove_writable)
        self.watch_engine(engine)
        self._count_pending = count_pending
        metrics.EVENT_LOOP_RECENT_LAG_SECONDS.set_function(lambda: self._lag.worst)
        metrics.GATEWAY_CONNECTED.set_function(lambda: not gateway.disconnected_shards())
        metrics.GATEWAY_LATENCY_SECONDS.set_function(lambda: gateway.bot.latency)
        checks: dict[str, Check] = {
            "gateway": gateway.check,
            "device": self._check_device,
            "store": self._probe.check,
            "event_loop": partial(check_loop, self._lag),
        }
        self.health.serve(checks, starting=lambda: not gateway.has_connected)

    def watch_engine(self, engine: ClipEngine) -> None:
        """The one that answers from now on."""
        self._device = DeviceProbe(engine)
        engine.executor.on_batch = metrics.observe_batch
        metrics.watch_engine(engine)

    async def _check_device(self) -> str | None:
        return None if self._device is None else await self._device.check()

    async def refresh(self) -> None:
        """Updates the gauge that needs a query; NaN where the query fails. Call it before a scrape."""
        if self._count_pending is None:
            return
        try:
            metrics.IMAGES_PENDING.set(await self._count_pending())
            self._pending_known = True
        except Exception as error:  # one unknown number must not cost all the others
            metrics.IMAGES_PENDING.set(math.nan)
            if self._pending_known:  # logged once until it works again: scrapes come every few seconds
                log.warning("could not count pending images", error=type(error).__name__)
            self._pending_known = False

    async def close(self) -> None:
        self._lag.close()
        if self._device is not None:
            await self._device.close()
        if self._probe is not None:
            await self._probe.close()


# -- Discord's gateway


class GatewayMonitor(commands.Cog, name="status"):
    """Follows the connection of each shard."""

    def __init__(self, bot: commands.AutoShardedBot) -> None:
        self.bot = bot
        self._in_session: set[int] = set()
        self.has_connected = False

    def disconnected_shards(self) -> list[int]:
        shards = self.bot.shards
        return [
            shard_id
            for shard_id in range(self.bot.shard_count or 1)
            if shard_id not in self._in_session or shard_id not in shards or shards[shard_id].is_closed()
        ]

    async def check(self) -> str | None:
        disconnected, count = self.disconnected_shards(), self.bot.shard_count or 1
        shards = f" on {len(disconnected)} of {count} shards" if count > 1 else ""
        return f"Discord's gateway is not connected{shards}; the bot keeps reconnecting." if disconnected else None

    @commands.Cog.listener()
    async def on_shard_ready(self, shard_id: int) -> None:
        self._session_began(shard_id, "new")

    @commands.Cog.listener()
    async def on_shard_resumed(self, shard_id: int) -> None:
        self._session_began(shard_id, "resumed")

    def _session_began(self, shard_id: int, kind: str) -> None:
        self._in_session.add(shard_id)
        self.has_connected = self.has_connected or not self.disconnected_shards()
        metrics.GATEWAY_CONNECTIONS.labels(kind).inc()

    @commands.Cog.listener()
    async def on_shard_disconnect(self, shard_id: int) -> None:
        if shard_id in self._in_session:
            metrics.GATEWAY_DISCONNECTS.inc()
        self._in_session.discard(shard_id)


# -- the inference device


async def check_device(engine: ClipEngine, limit_s: float = BATCH_TIMEOUT_S) -> str | None:
    if not engine.executor.alive:
        return "The inference thread has ended; the bot must be restarted."
    busy_seconds = engine.executor.busy_seconds
    if busy_seconds > limit_s:
        return f"The model has not finished a batch for {busy_seconds:.0f} seconds."
    return None


class DeviceProbe:
    """Where batches fail in a row, their inputs may be to blame. Then its own decide, and tell of a recovery."""

    def __init__(self, engine: ClipEngine, failures: int = 3, timeout: float = 2.0) -> None:
        self._engine = engine
        self._failures = failures
        self._timeout = timeout
        self._trial: asyncio.Task[None] | None = None

    async def check(self) -> str | None:
        wrong = await check_device(self._engine)
        if wrong is None and self._failed() >= self._failures:
            if self._trial is None or self._trial.done():
                self._trial = asyncio.create_task(self._try(), name="try the device")
            await asyncio.wait({self._trial}, timeout=self._timeout)
            if (failed := self._failed()) >= self._failures:
                return f"The model failed on each of the last {failed} batches: check its device, and restart the bot."
        return wrong

    async def close(self) -> None:
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.gather(self._trial, return_exceptions=True)

    def _failed(self) -> int:
        return max(self._engine.executor.failed_batches.values())

    async def _try(self) -> None:
        with suppress(ClipError):
            await self._engine.encode_texts(["a"], Lane.INTERACTIVE)
        with suppress(ClipError):
            await self._engine.encode_pixels(np.full((8, 8, 3), 128, np.uint8), Lane.INTERACTIVE)


# -- the database


class StoreProbe:
    """timeout: seconds until a write counts as stuck. ttl: seconds for which a result is reused."""

    def __init__(
        self,
        prove_writable: Callable[[], Awaitable[None]],
        timeout: float = 2.0,
        ttl: float = 2.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._prove_writable = prove_writable
        self._timeout = timeout
        self._ttl = ttl
        self._clock = clock
        self._began = 0.0
        self._write: asyncio.Task[str | None] | None = None

    async def check(self) -> str | None:
        now = self._clock()
        if self._write is None or (self._write.done() and now - self._began > self._ttl):
            self._began = now
            self._write = asyncio.create_task(self._try_to_write(), name="probe the database")
        write = self._write
        await asyncio.wait({write}, timeout=max(0.0, self._began + self._timeout - now))
        if not write.done():
            return (
                f"A write to the database has not finished for {self._clock() - self._began:.0f} seconds: "
                "end the program that keeps it locked, or check its disk."
            )
        return write.result()

    async def close(self) -> None:
        """Waits for a running write, which the database's own timeout ends."""
        if self._write is not None:
            await asyncio.wait({self._write})

    async def _try_to_write(self) -> str | None:
        try:
            await self._prove_writable()
        except MagpieError as error:
            return str(error)
        return None


# -- the event loop


class LoopLag:
    """Measures ten times a second how late the event loop calls it.

    observe: receives each lateness in seconds. A long stall is reported as each tick that fell into it would have found
    it, so that it weighs as much as it lasted.
    """

    def __init__(self, observe: Callable[[float], None], interval: float = 0.1) -> None:
        self._observe = observe
        self._interval = interval
        self._recent: deque[float] = deque([0.0], maxlen=100)
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + interval
        self._handle = self._loop.call_at(self._due, self._tick)

    @property
    def worst(self) -> float:
        """The greatest lateness in the last 100 ticks, ten seconds, in seconds."""
        return max(self._recent)

    def close(self) -> None:
        self._handle.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        late = max(0.0, now - self._due)
        self._recent.append(late)
        self._due = now + self._interval
        self._handle = self._loop.call_at(self._due, self._tick)
        while late >= 0:
            self._observe(late)
            late -= self._interval


async def check_loop(lag: LoopLag, limit_s: float = MAX_LOOP_LAG_S) -> str | None:
    if lag.worst > limit_s:
        return f"The event loop was blocked for {lag.worst:.1f} seconds, within the last ten."
    return None
