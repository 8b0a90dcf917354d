"""/magpie: what those who may manage the server do with Magpie. Each subject has a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction
from bot.discord_io.messages import ImageChannel
from bot.features.backfill import BackfillCommands
from bot.i18n import ENGLISH
from bot.models import BackfillMode

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MODES = [app_commands.Choice(name=ENGLISH.backfill.modes[mode], value=mode.value) for mode in BackfillMode]

# Checked at every call: a server's settings can open a command to everybody.
_needs_manage_guild = app_commands.checks.has_permissions(manage_guild=True)


class ServerCog(commands.Cog, name="server"):
    magpie = app_commands.Group(
        name="magpie",
        description="Run Magpie on this server",
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._backfill = BackfillCommands(self._bot)

    async def interaction_check(self, interaction: Interaction) -> bool:  # type: ignore[override]
        """Runs before each of these commands: a locked store takes longer than the three seconds that Discord waits."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        return True

    @magpie.command(name="index", description="Index the pictures that were posted before Magpie joined")
    @app_commands.describe(
        channel="A channel, thread or forum; by default, the whole server",
        mode="How to look for pictures; quick by default",
    )
    @app_commands.choices(mode=_MODES)
    @_needs_manage_guild
    async def index(
        self,
        interaction: Interaction,
        channel: ImageChannel | None = None,
        mode: app_commands.Choice[str] | None = None,
    ) -> None:
        await self._backfill.begin(interaction, channel, BackfillMode(mode.value) if mode else BackfillMode.QUICK)
