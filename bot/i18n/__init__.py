"""Every text that members read. A language is an instance of `Texts`, so none can lack a text."""

from __future__ import annotations

import discord

from bot.i18n.catalog import Texts
from bot.i18n.en import ENGLISH
from bot.i18n.zh import CHINESE, COMMANDS

__all__ = ["CHINESE", "ENGLISH", "Texts", "command_text", "texts_for"]

_CHINESE_LOCALES = frozenset({discord.Locale.chinese, discord.Locale.taiwan_chinese})
_CHINESE_CHOICES = {text: CHINESE.tagging.modes[mode] for mode, text in ENGLISH.tagging.modes.items()}


def texts_for(locale: discord.Locale | None) -> Texts:
    """The texts in a member's language (in public, in the server's); in English where there is no translation."""
    return CHINESE if locale in _CHINESE_LOCALES else ENGLISH


def command_text(english: str, locale: discord.Locale) -> str | None:
    """The name or description of a command, option or choice in this language. None: Discord shows the English one."""
    return (COMMANDS | _CHINESE_CHOICES).get(english) if locale in _CHINESE_LOCALES else None
