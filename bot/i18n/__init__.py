"""Every text that members read. Each module here but `catalog` is a language, and has a `LANGUAGE`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules

import discord

from bot.i18n.catalog import Language, Texts
from bot.i18n.en import ENGLISH
from bot.i18n.zh import CHINESE

__all__ = ["CHINESE", "ENGLISH", "Texts", "command_text", "languages", "texts_for"]


def languages(path: Iterable[str]) -> list[Language]:
    """Those of the files in these folders."""
    names = sorted(module.name for module in iter_modules(path) if module.name != "catalog")
    return [import_module(f"{__name__}.{name}").LANGUAGE for name in names]


def _choices(english: object, translated: object) -> Iterator[tuple[str, str]]:
    """The texts that a command offers as choices: those that are named by what they stand for."""
    for field in fields(english):  # type: ignore[arg-type]
        text, other = getattr(english, field.name), getattr(translated, field.name)
        if is_dataclass(text):
            yield from _choices(text, other)
        elif isinstance(text, Mapping):
            yield from ((text[key], other[key]) for key in text)


_BY_LOCALE = {locale: language for language in languages(__path__) for locale in language.locales}
_COMMANDS = {
    locale: dict(_choices(ENGLISH, language.texts)) | {**language.commands}
    for locale, language in _BY_LOCALE.items()
    if language.texts is not ENGLISH
}


def texts_for(locale: discord.Locale | None) -> Texts:
    """The texts in a member's language (in public, in the server's); in English where there is no translation."""
    language = None if locale is None else _BY_LOCALE.get(locale)
    return ENGLISH if language is None else language.texts


def command_text(english: str, locale: discord.Locale) -> str | None:
    """The name or description of a command, option or choice in this language. None: Discord shows the English one."""
    return _COMMANDS.get(locale, {}).get(english)
