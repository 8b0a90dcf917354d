"""Writes docs/commands.md from the command tree: `make commands` after a change of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import discord

from bot.discord_io.answers import permission_names
from bot.discord_io.client import CommandTranslator, MagpieBot
from bot.features.cogs import add_cogs
from bot.i18n import ENGLISH

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
CHINESE = discord.Locale.chinese.value

_INTRODUCTION = """# Commands

What Discord is told about Magpie's commands, in English and Chinese. `make commands` writes this page.
"""
_SUBCOMMAND, _GROUP = 1, 2
# Developer docs, application commands, "Application Command Option Type".
_TYPES = {
    3: "text", 4: "whole number", 5: "yes or no", 6: "member", 7: "channel", 8: "role", 10: "number", 11: "file",
}  # fmt: skip
Payload = Mapping[str, Any]


async def commands_page() -> str:
    bot = MagpieBot(_no_set_up)
    await add_cogs(bot)
    translator = CommandTranslator()
    await bot.tree.set_translator(translator)
    commands = bot.tree.get_commands(type=discord.AppCommandType.chat_input)
    payloads = [await command.get_translated_payload(bot.tree, translator) for command in commands]
    menus = [await menu.get_translated_payload(bot.tree, translator) for menu in _menus(bot)]
    return "\n".join([_INTRODUCTION, *(line for payload in [*payloads, *menus] for line in _command(payload))])


def _menus(bot: MagpieBot) -> list[discord.app_commands.ContextMenu]:
    return bot.tree.get_commands(type=discord.AppCommandType.message)


async def _no_set_up(bot: MagpieBot) -> None:
    """The commands are only declared."""


def _command(payload: Payload) -> Iterator[str]:
    if payload["type"] == discord.AppCommandType.message.value:
        yield f"## Apps → {payload['name']}\n"
        yield f"{_chinese(payload, 'name')} · in the menu of a message\n"
        return
    yield f"## /{payload['name']}\n"
    yield from _described(payload, _allowed(payload))
    for option in payload.get("options", ()):
        yield from _subcommand(option, f"/{payload['name']}")


def _subcommand(option: Payload, above: str) -> Iterator[str]:
    if option["type"] == _GROUP:
        for inner in option.get("options", ()):
            yield from _subcommand(inner, f"{above} {option['name']}")
    elif option["type"] == _SUBCOMMAND:
        yield f"### {above} {option['name']}\n"
        yield from _described(option)


def _described(payload: Payload, allowed: str = "") -> Iterator[str]:
    yield f"{payload['description']}{allowed}\\\n{_chinese(payload, 'name')} · {_chinese(payload, 'description')}\n"
    options = [option for option in payload.get("options", ()) if option["type"] not in (_SUBCOMMAND, _GROUP)]
    if options:
        yield "| option | | | |\n|---|---|---|---|"
        for option in options:
            yield _row(option)
        yield ""


def _row(option: Payload) -> str:
    kind = _TYPES[option["type"]] + (", required" if option.get("required") else "")
    choices = [choice["name"] for choice in option.get("choices", ())]
    described = option["description"] + (f" ({'; '.join(choices)})" if choices else "")
    chinese = f"{_chinese(option, 'name')} · {_chinese(option, 'description')}"
    return f"| `{option['name']}` | {kind} | {described} | {chinese} |"


def _allowed(payload: Payload) -> str:
    needed = payload.get("default_member_permissions")
    if needed is None:
        return ""
    names = [name for name, wanted in discord.Permissions(int(needed)) if wanted]
    return f" (needs {permission_names(names, ENGLISH)})"


def _chinese(payload: Payload, field: str) -> str:
    return str(payload.get(f"{field}_localizations", {}).get(CHINESE, ""))


if __name__ == "__main__":
    PAGE.write_text(asyncio.run(commands_page()), encoding="utf-8")
