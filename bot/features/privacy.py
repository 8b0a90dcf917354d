"""/privacy explains what is stored; /forget-me deletes the data of the member's images in this guild."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.client import Interaction, answer, answered, sentence_view
from bot.i18n import Texts, texts_for

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

View = discord.ui.LayoutView


class PrivacyCog(commands.Cog, name="privacy"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._bot.add_dynamic_items(ConfirmForget)

    async def cog_unload(self) -> None:
        self._bot.remove_dynamic_items(ConfirmForget)

    @app_commands.command(name="privacy", description="What Magpie stores, and how to delete it")
    @app_commands.guild_only()
    async def privacy(self, interaction: Interaction) -> None:
        await answer(interaction, texts_for(interaction.locale).privacy)

    @app_commands.command(name="forget-me", description="Delete the data of your pictures in this server")
    @app_commands.guild_only()
    async def forget_me(self, interaction: Interaction) -> None:
        view = forget_me_view(interaction.user.id, texts_for(interaction.locale))
        await interaction.response.send_message(view=view, ephemeral=True)


class ConfirmForget(discord.ui.DynamicItem[discord.ui.Button[View]], template=r"magpie:forget:(?P<user_id>\d{1,19})"):
    """Confirms /forget-me, for the member that it was shown to."""

    def __init__(self, user_id: int, label: str = "…") -> None:
        super().__init__(
            discord.ui.Button(label=label, style=discord.ButtonStyle.danger, custom_id=f"magpie:forget:{user_id}")
        )
        self.user_id = user_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(int(match["user_id"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await answered(interaction, self._forget(interaction))

    async def _forget(self, interaction: Interaction) -> None:
        texts = texts_for(interaction.locale)
        if interaction.user.id != self.user_id or interaction.guild_id is None:
            await answer(interaction, texts.not_your_button)
            return
        await interaction.response.defer()
        # "Up to now" by Discord's clock, which made the interaction's id: this machine's clock may be wrong.
        forgotten = await interaction.client.services.registry.forget_author(
            interaction.guild_id, self.user_id, up_to_message=interaction.id
        )
        waits = forgotten is None
        sentence = texts.forget_me_waits if waits else texts.forget_me_done.format(count=len(forgotten or ()))
        await interaction.edit_original_response(view=sentence_view(sentence))


def forget_me_view(user_id: int, texts: Texts) -> View:
    view = sentence_view(texts.forget_me_ask)
    view.add_item(discord.ui.ActionRow(ConfirmForget(user_id, texts.forget_me_confirm)))
    return view
