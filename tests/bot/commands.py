"""The bot's command tree as Discord gets it, without a store, a model or a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bot.discord_io.client import CommandTranslator, MagpieBot
from bot.features.cogs import add_cogs


async def no_set_up(bot: MagpieBot) -> None:
    """For bots that only log in."""


async def bot_with_commands() -> MagpieBot:
    """Its commands are declared; it has no services to run them with."""
    bot = MagpieBot(no_set_up)
    await add_cogs(bot)
    await bot.tree.set_translator(CommandTranslator())
    return bot


async def all_commands() -> list[dict[str, Any]]:
    """The payloads that `sync` would send."""
    bot = await bot_with_commands()
    translator = bot.tree.translator
    assert translator is not None
    return [await command.get_translated_payload(bot.tree, translator) for command in bot.tree.get_commands()]


def strings_of(payload: dict[str, Any]) -> Iterator[str]:
    """Every name and description that people read, options and choices included."""
    yield payload["name"]
    if payload.get("description"):
        yield payload["description"]
    for part in (*payload.get("options", ()), *payload.get("choices", ())):
        yield from strings_of(part)
