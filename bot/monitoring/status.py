"""All that an operator may look at while the bot runs: put together here, attached to the bot's parts by app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from prometheus_client import REGISTRY

from bot.monitoring.health import GatewayCog, Health, LoopLag, StoreProbe
from bot.monitoring.http import serving
from bot.monitoring.live import Live, Watched
from bot.monitoring.metrics import EVENT_LOOP_LAG_SECONDS, observe_batch
from clipcore.engine.engine import ClipEngine

DEVICE_PATIENCE_S = 30.0
"""How long one batch may take. On a slow CPU a batch of a large model's takes seconds."""

LONGEST_LAG_S = 2.0
"""Discord gives a command three seconds; a loop that is later than this cannot answer in time."""


class Status:
    """Answers from the first moment on; until `watch`, that the bot is starting."""

    def __init__(self) -> None:
        self.health = Health()
        self._lag = LoopLag(EVENT_LOOP_LAG_SECONDS.observe)
        self._live: Live | None = None
        self._probe: StoreProbe | None = None

    @classmethod
    @asynccontextmanager
    async def served(cls, host: str, port: int) -> AsyncIterator[Status]:
        """Raises StartupError where the address cannot be listened on."""
        status = cls()
        try:
            async with serving(host, port, status.health, status._refresh):
                yield status
        finally:
            await status._close()

    async def watch(self, watched: Watched) -> None:
        """The bot is complete: from here on its parts are asked."""
        watched.engine.watch(observe_batch)
        gateway = GatewayCog(watched.bot)
        await watched.bot.add_cog(gateway)
        self._probe = StoreProbe(watched.database)
        self._live = Live(watched, gateway, self._lag)
        REGISTRY.register(self._live)

        self.health.serve(
            {
                "gateway": gateway.problem,
                "device": partial(device_problem, watched.engine),
                "store": self._probe.problem,
                "event_loop": partial(loop_problem, self._lag),
            },
            awaited=lambda: () if gateway.begun else ("gateway",),
        )

    async def _refresh(self) -> None:
        if self._live is not None:
            await self._live.refresh()

    async def _close(self) -> None:
        self._lag.close()
        if self._live is not None:
            REGISTRY.unregister(self._live)  # it is the process's; another bot may be started in it
        if self._probe is not None:
            await self._probe.close()


async def device_problem(engine: ClipEngine, patience: float = DEVICE_PATIENCE_S) -> str | None:
    device = engine.device()
    if not device.alive:
        return "The model's thread has ended; the bot must be started again."
    if device.busy_seconds > patience:
        return f"The model has not answered for {device.busy_seconds:.0f} seconds."
    return None


async def loop_problem(lag: LoopLag, longest: float = LONGEST_LAG_S) -> str | None:
    if lag.worst > longest:
        return f"The event loop stood still for {lag.worst:.1f} seconds, within the last ten."
    return None
