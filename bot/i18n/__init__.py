"""Every word that people read from the bot. A language is an instance of `Texts`, so none can lack a text."""

from __future__ import annotations

import discord

from bot.i18n.catalog import Texts
from bot.i18n.en import ENGLISH
from bot.i18n.zh import CHINESE, COMMANDS

__all__ = ["CHINESE", "ENGLISH", "Texts", "command_text", "texts_for"]

_CHINESE_LOCALES = frozenset({discord.Locale.chinese, discord.Locale.taiwan_chinese})


def texts_for(locale: discord.Locale | None) -> Texts:
    """The texts for a person's (or, in public, a server's) language; English where theirs is not spoken."""
    return CHINESE if locale in _CHINESE_LOCALES else ENGLISH


def command_text(english: str, locale: discord.Locale) -> str | None:
    """A command's name or description in this language. None: Discord shows the English one."""
    return COMMANDS.get(english) if locale is discord.Locale.chinese else None
