"""/privacy explains what is stored; /forget-me deletes the data of the member's images in this guild."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, answer, sentence_view
from bot.discord_io.components import ActionButton, Press, View
from bot.i18n import Texts, texts_for

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot


class PrivacyCog(commands.Cog, name="privacy"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._bot.actions.add(forget=self._forget)

    @app_commands.command(name="privacy", description="What Magpie stores, and how to delete it")
    @app_commands.guild_only()
    async def privacy(self, interaction: Interaction) -> None:
        await answer(interaction, texts_for(interaction.locale).privacy.explained)

    @app_commands.command(name="forget-me", description="Delete the data of your pictures in this server")
    @app_commands.guild_only()
    async def forget_me(self, interaction: Interaction) -> None:
        view = forget_me_view(interaction.user.id, texts_for(interaction.locale))
        await interaction.response.send_message(view=view, ephemeral=True)

    async def _forget(self, press: Press) -> None:
        interaction = press.interaction
        if interaction.guild_id is None:
            raise app_commands.NoPrivateMessage
        texts = texts_for(interaction.locale)
        await interaction.response.defer()
        # "Up to now" by Discord's clock, which made the interaction's id: this machine's clock may be wrong.
        forgotten = await self._bot.services.registry.forget_author(
            interaction.guild_id, interaction.user.id, up_to_message=interaction.id
        )
        if forgotten is None:
            sentence = texts.privacy.forget_me_waits
        else:
            sentence = texts.privacy.forget_me_done.format(count=len(forgotten))
        await interaction.edit_original_response(view=sentence_view(sentence))


def forget_me_view(user_id: int, texts: Texts) -> View:
    view = sentence_view(texts.privacy.forget_me_ask)
    confirm = ActionButton(
        "forget", owner=user_id, label=texts.privacy.forget_me_confirm, style=discord.ButtonStyle.danger
    )
    view.add_item(discord.ui.ActionRow(confirm))
    return view
