"""Whether the bot does its work at this moment: each part is asked, and says in one sentence what is wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.client import Interaction, MagpieBot
from bot.monitoring import metrics
from bot.store.database import Database
from bot.store.errors import StoreError

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str | None]]
"""Gives what is wrong in one sentence, without ids, names and addresses; None where all is well."""


class Phase(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Report:
    """status: "ok", "failing", "starting" or "closing". checks: each part's name with "ok" or what is wrong."""

    status: str
    checks: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return self.status == "ok"


def _nothing() -> Collection[str]:
    return ()


class Health:
    """Nothing is well before `serve` and after `close`, whatever the parts say. A verdict that turns is logged once."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._checks: Mapping[str, Check] = {}
        self._awaited: Callable[[], Collection[str]] = _nothing
        self._failing = False

    def serve(self, checks: Mapping[str, Check], awaited: Callable[[], Collection[str]] = _nothing) -> None:
        """awaited: checks that cannot be well yet. While all others are, the bot is starting and nothing has failed."""
        self._phase, self._checks, self._awaited = Phase.SERVING, checks, awaited

    def close(self) -> None:
        self._phase = Phase.CLOSING

    async def report(self) -> Report:
        if self._phase is not Phase.SERVING:
            return Report(self._phase, {})
        found = {name: await check() or "ok" for name, check in self._checks.items()}
        if self._phase is not Phase.SERVING:  # it may have ended while the database was asked
            return Report(self._phase, {})
        failed = [name for name, told in found.items() if told != "ok"]
        if failed and set(failed) <= set(self._awaited()):
            return Report(Phase.STARTING, found)
        self._log(failed)
        return Report("failing" if failed else "ok", found)

    def _log(self, failed: Sequence[str]) -> None:
        if failed and not self._failing:
            log.warning("no longer well: %s", ", ".join(failed))
        elif self._failing and not failed:
            log.info("all is well again")
        self._failing = bool(failed)


HEARTBEAT_GRACE_S = 20.0
_BEGAN = "magpie_began"


class GatewayCog(commands.Cog, name="status"):
    """heartbeat_grace: how many seconds late the acknowledgement of a heartbeat may be before that is a problem."""

    def __init__(self, bot: MagpieBot, heartbeat_grace: float = HEARTBEAT_GRACE_S) -> None:
        self._bot = bot
        self._grace = heartbeat_grace
        self.connected = False
        self.begun = False

    async def problem(self) -> str | None:
        """What is wrong with the connection, in one sentence."""
        socket: Any = self._bot.ws  # None before the first connection, which its annotation does not know
        if not self.connected or socket is None or not socket.open:
            return "Discord's gateway is not connected; the bot keeps trying by itself."
        silence = self._silence(socket)
        if silence > self._grace:
            return f"Discord has left a heartbeat unanswered for {silence:.0f} seconds."
        return None

    def _silence(self, socket: discord.gateway.DiscordWebSocket) -> float:
        """Seconds by which an acknowledgement is late. discord.py tells its latency only once one has come."""
        keeper = socket._keep_alive
        if keeper is None or keeper.interval is None:
            return 0.0
        return time.perf_counter() - keeper._last_ack - keeper.interval

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self.connected = self.begun = True
        metrics.GATEWAY_CONNECTIONS.labels("new").inc()

    @commands.Cog.listener()
    async def on_resumed(self) -> None:
        self.connected = self.begun = True
        metrics.GATEWAY_CONNECTIONS.labels("resumed").inc()

    @commands.Cog.listener()
    async def on_disconnect(self) -> None:
        if self.connected:
            metrics.GATEWAY_DISCONNECTS.inc()
        self.connected = False

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Interaction) -> None:
        interaction.extras[_BEGAN] = time.perf_counter()

    @commands.Cog.listener()
    async def on_app_command_completion(
        self, interaction: Interaction, command: app_commands.Command[Any, ..., Any] | app_commands.ContextMenu
    ) -> None:
        if (began := interaction.extras.get(_BEGAN)) is not None:
            metrics.COMMAND_SECONDS.labels(command.qualified_name).observe(time.perf_counter() - began)

    @commands.Cog.listener()
    async def on_app_command_failed(self, interaction: Interaction) -> None:
        if interaction.command is not None:
            metrics.COMMANDS_FAILED.labels(interaction.command.qualified_name).inc()


PATIENCE_S = 2.0
KEPT_S = 2.0


class StoreProbe:
    """patience: seconds that a write may take. kept: how long an outcome is good for, so that asking costs little."""

    def __init__(
        self,
        database: Database,
        patience: float = PATIENCE_S,
        kept: float = KEPT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._patience = patience
        self._kept = kept
        self._clock = clock
        self._began = 0.0
        self._writing: asyncio.Task[str | None] | None = None

    async def problem(self) -> str | None:
        """What keeps the database from being written, in one sentence."""
        now = self._clock()
        if self._writing is None or (self._writing.done() and now - self._began > self._kept):
            self._began = now
            self._writing = asyncio.create_task(self._write(), name="probe the database")
        writing = self._writing
        await asyncio.wait({writing}, timeout=max(0.0, self._began + self._patience - now))
        if not writing.done():
            return f"The database has not taken a write for {self._clock() - self._began:.0f} seconds."
        return writing.result()

    async def close(self) -> None:
        """Waits for a write under way, which the database's own time-out ends."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> str | None:
        try:
            await self._database.prove_writable()
        except StoreError as error:
            return str(error)
        return None


INTERVAL_S = 0.1
REMEMBERED = 100
"""Ticks that `worst` looks back on: ten seconds."""


class LoopLag:
    """Asks to be called ten times a second and notes how much later that happens.

    observe: told the lateness in seconds. A long standstill is told as each tick that fell into it would have found it,
    so that it weighs as much as it lasted.
    """

    def __init__(self, observe: Callable[[float], None], interval: float = INTERVAL_S) -> None:
        self._observe = observe
        self._interval = interval
        self._recent: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + interval
        self._handle = self._loop.call_at(self._due, self._tick)

    @property
    def worst(self) -> float:
        """The greatest lateness of the last ten seconds, in seconds."""
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


"""How long one batch may take. On a slow CPU a batch of a large model's takes seconds."""

"""Discord gives a command three seconds; a loop that is later than this cannot answer in time."""
