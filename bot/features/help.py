"""/help: what Magpie can do, and who may use what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, permission_names, sentence_view
from bot.i18n import Texts, command_text, texts_for

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

Command = app_commands.Command[Any, ..., Any] | app_commands.Group | app_commands.ContextMenu


class HelpCog(commands.Cog, name="help"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    @app_commands.command(name="help", description="What Magpie can do, and who may use what")
    @app_commands.guild_only()
    async def help(self, interaction: Interaction) -> None:
        words = described(self._bot.tree.get_commands(), interaction.locale)
        await interaction.response.send_message(view=sentence_view(words), ephemeral=True)


def described(known: Iterable[Command], locale: discord.Locale) -> str:
    """Each command with what it does, by who may use it, as the clients of this locale call it."""
    texts = texts_for(locale)
    by_permission: defaultdict[str, list[str]] = defaultdict(list)
    for command in known:
        by_permission[permission_names(_needed(command), texts)].append(_line(command, locale, texts))
    everybodys = by_permission.pop("", [])
    lines = [texts.help.introduction, "", texts.help.for_everybody, *everybodys, "", texts.mentions.help]
    for permission, its in by_permission.items():
        lines += ["", texts.help.with_permission.format(permission=permission), *its]
    return "\n".join(lines)


def _needed(command: Command) -> list[str]:
    """discord.py's names of the permissions that the command states."""
    permissions = command.default_permissions
    return [] if permissions is None else [name for name, wanted in permissions if wanted]


def _line(command: Command, locale: discord.Locale, texts: Texts) -> str:
    def shown(english: str) -> str:
        return command_text(english, locale) or english

    if isinstance(command, app_commands.ContextMenu):
        return f"- {texts.help.menu.format(name=shown(command.name))}"
    line = f"- `/{shown(command.name)}` {shown(command.description)}"
    if isinstance(command, app_commands.Group):
        line += ": " + " · ".join(f"`{shown(one.name)}`" for one in command.commands)
    return line
