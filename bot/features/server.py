"""/magpie: what those who may manage the server do with Magpie. Each subject has a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.discord_io.answers import DeferringCog, Interaction, answer
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import managed_guild, needs_manage_guild
from bot.features.backfill import BackfillCommands
from bot.features.forgetting import ForgettingCommands
from bot.features.indexing import begin_catch_up
from bot.features.settings import LONGEST_RETENTION, SettingsCommands
from bot.features.setup import SetupCommand
from bot.features.status import StatusCommand
from bot.i18n import ENGLISH, texts_for
from bot.models import BackfillMode, MemberWish

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MODES = [app_commands.Choice(name=ENGLISH.backfill.modes[mode], value=mode.value) for mode in BackfillMode]
_WISHES = [app_commands.Choice(name=ENGLISH.forgetting.wishes[wish], value=wish.value) for wish in MemberWish]


class ServerCog(DeferringCog, name="server"):
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
        self._forgetting = ForgettingCommands(self._bot)
        self._settings = SettingsCommands(self._bot)
        self._status = StatusCommand(self._bot)
        self._setup = SetupCommand(self._bot, self._backfill)

    @magpie.command(name="setup", description="Set Magpie up for this server, step by step")
    @needs_manage_guild
    async def setup(self, interaction: Interaction) -> None:
        await self._setup.show(interaction)

    @magpie.command(name="index", description="Index the pictures that were posted before Magpie joined")
    @app_commands.describe(
        channel="A channel, thread or forum; by default, the whole server",
        mode="How to look for pictures; quick by default",
    )
    @app_commands.choices(mode=_MODES)
    @needs_manage_guild
    async def index(
        self,
        interaction: Interaction,
        channel: ImageChannel | None = None,
        mode: app_commands.Choice[str] | None = None,
    ) -> None:
        await self._backfill.begin(interaction, channel, BackfillMode(mode.value) if mode else BackfillMode.QUICK)

    @magpie.command(
        name="status", description="What is indexed here, what waits or was given up, and what I may not read"
    )
    @needs_manage_guild
    async def status(self, interaction: Interaction) -> None:
        await self._status.show(interaction)

    @magpie.command(name="settings", description="Which channels are indexed, and for how long")
    @app_commands.describe(
        channel="The channel to set; by default, the whole server",
        indexing="Whether new pictures are indexed; without a channel, those of new channels",
        keep_days="After how many days pictures are deleted; 0: never",
    )
    @needs_manage_guild
    async def settings(
        self,
        interaction: Interaction,
        channel: ImageChannel | None = None,
        indexing: bool | None = None,
        keep_days: app_commands.Range[int, 0, LONGEST_RETENTION] | None = None,
    ) -> None:
        await self._settings.show(interaction, channel, indexing, keep_days)

    @magpie.command(name="pause", description="Take in no new pictures until /magpie resume; nothing is lost")
    @needs_manage_guild
    async def pause(self, interaction: Interaction) -> None:
        """First in memory, so that no watermark moves past what the store then refuses."""
        services, guild, texts = self._bot.services, managed_guild(interaction), texts_for(interaction.locale).pause
        if (await services.rules.of_guild(guild.id)).paused:
            await answer(interaction, texts.already_paused)
            return
        services.catch_up.pause(guild.id)
        try:
            await services.rules.set_paused(guild.id, True)
        except BaseException:
            self._go_on(guild)
            raise
        await answer(interaction, texts.paused)

    @magpie.command(name="resume", description="Take in new pictures again, and those that were posted meanwhile")
    @needs_manage_guild
    async def resume(self, interaction: Interaction) -> None:
        services, guild, texts = self._bot.services, managed_guild(interaction), texts_for(interaction.locale).pause
        if not (await services.rules.of_guild(guild.id)).paused:
            await answer(interaction, texts.not_paused)
            return
        await services.rules.set_paused(guild.id, False)
        self._go_on(guild)
        await answer(interaction, texts.resumed)

    def _go_on(self, guild: discord.Guild) -> None:
        services = self._bot.services
        services.catch_up.resume(guild.id)
        begin_catch_up(services.catch_up, guild)()
        services.backfills.wake(guild.id)

    forget = app_commands.Group(
        name="forget", description="Have pictures forgotten for good; messages stay", parent=magpie
    )

    @forget.command(name="channel", description="Forget the pictures of a channel or thread")
    @app_commands.describe(channel="The channel or thread")
    @needs_manage_guild
    async def forget_channel(self, interaction: Interaction, channel: ImageChannel) -> None:
        await self._forgetting.ask_channel(interaction, channel)

    @forget.command(name="member", description="Forget a member's pictures, or leave the member out")
    @app_commands.describe(member="The member", wish="What to do; by default, forget")
    @app_commands.choices(wish=_WISHES)
    @needs_manage_guild
    async def forget_member(
        self, interaction: Interaction, member: discord.User, wish: app_commands.Choice[str] | None = None
    ) -> None:
        await self._forgetting.ask_member(interaction, member, MemberWish(wish.value) if wish else MemberWish.FORGET)

    @forget.command(name="server", description="Forget all pictures of this server")
    @needs_manage_guild
    async def forget_server(self, interaction: Interaction) -> None:
        await self._forgetting.ask_server(interaction)

    @forget.command(name="picture", description="Forget the pictures of one message")
    @app_commands.describe(message="A link to a message with a picture")
    @needs_manage_guild
    async def forget_picture(self, interaction: Interaction, message: app_commands.Range[str, 1, 300]) -> None:
        await self._forgetting.ask_message(interaction, message)
