"""The bot's command tree as Discord gets it, without a store, a model or a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from bot.discord_io.client import CommandTranslator, MagpieBot
from bot.features.privacy import PrivacyCog
from bot.features.search import SearchCog
from bot.features.tagging import TagsCog


async def bot_with_commands() -> MagpieBot:
    """The cogs declare their commands; what they would work with is never reached."""
    bot = MagpieBot()
    nothing = cast(Any, None)
    await bot.add_cog(SearchCog(bot, nothing, nothing, nothing, nothing, nothing, nothing))
    await bot.add_cog(TagsCog(nothing, nothing, nothing))
    await bot.add_cog(PrivacyCog(bot, nothing))
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
