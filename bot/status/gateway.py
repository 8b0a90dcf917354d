"""Watches the connection to Discord, and the commands that come through it."""

from __future__ import annotations

import time
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Interaction, MagpieBot
from bot.status.metrics import Metrics

HEARTBEAT_GRACE_S = 20.0
_BEGAN = "magpie_began"


class GatewayCog(commands.Cog, name="status"):
    """heartbeat_grace: how many seconds late the acknowledgement of a heartbeat may be before that is a problem."""

    def __init__(self, bot: MagpieBot, metrics: Metrics, heartbeat_grace: float = HEARTBEAT_GRACE_S) -> None:
        self._bot = bot
        self._metrics = metrics
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
        self._metrics.connections.labels("new").inc()

    @commands.Cog.listener()
    async def on_resumed(self) -> None:
        self.connected = self.begun = True
        self._metrics.connections.labels("resumed").inc()

    @commands.Cog.listener()
    async def on_disconnect(self) -> None:
        if self.connected:
            self._metrics.disconnects.inc()
        self.connected = False

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Interaction) -> None:
        interaction.extras[_BEGAN] = time.perf_counter()

    @commands.Cog.listener()
    async def on_app_command_completion(
        self, interaction: Interaction, command: app_commands.Command[Any, ..., Any] | app_commands.ContextMenu
    ) -> None:
        if (began := interaction.extras.get(_BEGAN)) is not None:
            self._metrics.commands.labels(command.qualified_name).observe(time.perf_counter() - began)

    @commands.Cog.listener()
    async def on_app_command_failed(self, interaction: Interaction) -> None:
        if interaction.command is not None:
            self._metrics.commands_failed.labels(interaction.command.qualified_name).inc()
