"""/privacy says what is kept; /forget-me deletes what is kept of the asker's images in this server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.features.search_views import ConfirmForget, sentence_view
from bot.i18n import Texts, texts_for

if TYPE_CHECKING:
    from bot.discord_io.client import Interaction, MagpieBot
    from bot.indexing.indexer import Indexer


def forget_me_view(user_id: int, texts: Texts) -> discord.ui.LayoutView:
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(texts.forget_me_ask))
    row: discord.ui.ActionRow[discord.ui.LayoutView] = discord.ui.ActionRow()
    row.add_item(ConfirmForget(user_id, texts.forget_me_confirm))
    view.add_item(row)
    return view


class PrivacyCog(commands.Cog, name="privacy"):
    def __init__(self, bot: MagpieBot, indexer: Indexer) -> None:
        self._bot = bot
        self._indexer = indexer

    async def cog_load(self) -> None:
        self._bot.add_dynamic_items(ConfirmForget)

    async def cog_unload(self) -> None:
        self._bot.remove_dynamic_items(ConfirmForget)

    @app_commands.command(name="privacy", description="What Magpie keeps, and how to have it deleted")
    @app_commands.guild_only()
    async def privacy(self, interaction: Interaction) -> None:
        texts = texts_for(interaction.locale)
        await interaction.response.send_message(view=sentence_view(texts.privacy), ephemeral=True)

    @app_commands.command(name="forget-me", description="Delete what Magpie keeps of your pictures in this server")
    @app_commands.guild_only()
    async def forget_me(self, interaction: Interaction) -> None:
        view = forget_me_view(interaction.user.id, texts_for(interaction.locale))
        await interaction.response.send_message(view=view, ephemeral=True)

    @commands.Cog.listener()
    async def on_forget_confirmed(self, interaction: Interaction, user_id: int) -> None:
        texts = texts_for(interaction.locale)
        if interaction.user.id != user_id or interaction.guild_id is None:
            await interaction.response.send_message(view=sentence_view(texts.not_your_button), ephemeral=True)
            return
        await interaction.response.defer()
        # Up to now by Discord's clock: this machine's may be wrong.
        gone = await self._indexer.forget_author(interaction.guild_id, user_id, up_to_message=interaction.id)
        await interaction.edit_original_response(view=sentence_view(texts.forget_me_done.format(count=len(gone))))
