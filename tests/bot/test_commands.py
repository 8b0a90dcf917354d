from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest
from discord import app_commands

from tests.bot.commands import all_commands, bot_with_commands

MANAGE_GUILD = discord.Permissions(manage_guild=True).value


async def commands_by_name() -> dict[str, dict[str, Any]]:
    return {command["name"]: command for command in await all_commands()}


async def test_the_commands_are_those_that_the_readme_promises() -> None:
    commands = await commands_by_name()
    assert set(commands) == {
        "find", "browse", "similar", "Find similar pictures", "Show tags", "privacy", "tagging", "labels", "help",
        "tags", "map", "magpie", "reposts",
    }  # fmt: skip
    limits = ["channel", "author", "after", "before", "tag"]
    beside = ["exclude", "image", "sort", "count", "share"]
    assert [option["name"] for option in commands["find"]["options"]] == ["query", *limits, *beside]
    assert [option["name"] for option in commands["find"]["options"] if option["required"]] == ["query"]
    assert [option["name"] for option in commands["browse"]["options"]] == [*limits, "sort", "count"]
    assert not any(option["required"] for option in commands["browse"]["options"])
    assert [option["name"] for option in commands["similar"]["options"]] == ["image", "message"]
    assert {option["name"] for option in commands["labels"]["options"]} == {
        "list", "add", "remove", "use", "import", "export", "test", "clear", "reset",
    }  # fmt: skip
    assert [choice["value"] for choice in commands["tagging"]["options"][0]["choices"]] == [
        "off", "silent", "reaction", "reply",
    ]  # fmt: skip


async def test_every_command_is_for_servers_only() -> None:
    for command in await all_commands():
        assert command["contexts"] == [0] or command["dm_permission"] is False


async def test_settings_are_offered_to_moderators_only() -> None:
    commands = await commands_by_name()
    for name, command in commands.items():
        wanted = MANAGE_GUILD if name in ("tagging", "labels", "reposts", "magpie") else None
        assert command["default_member_permissions"] == wanted


async def test_members_without_manage_server_are_refused_even_where_the_server_opened_the_commands() -> None:
    bot = await bot_with_commands()
    groups = [bot.tree.get_command(name) for name in ("labels", "reposts", "magpie")]
    inner = [command for group in groups if isinstance(group, app_commands.Group) for command in group.walk_commands()]
    commands = [command for command in inner if isinstance(command, app_commands.Command)]
    assert len(commands) > 4
    member = SimpleNamespace(permissions=discord.Permissions(manage_messages=True, manage_channels=True))
    manager = SimpleNamespace(permissions=discord.Permissions(manage_guild=True))
    for command in (bot.tree.get_command("tagging"), *commands):
        assert isinstance(command, app_commands.Command)
        with pytest.raises(app_commands.MissingPermissions):
            await checks_of(command, member)
        await checks_of(command, manager)


async def checks_of(command: app_commands.Command[Any, ..., Any], interaction: object) -> None:
    for check in command.checks:
        assert await discord.utils.maybe_coroutine(check, cast(Any, interaction))


async def test_chinese_names_are_sent_for_both_chinese_locales() -> None:
    commands = await commands_by_name()
    assert commands["find"]["name_localizations"] == {"zh-CN": "找图", "zh-TW": "找图"}
    assert commands["Find similar pictures"]["name_localizations"] == {"zh-CN": "查找相似图片", "zh-TW": "查找相似图片"}


async def test_nothing_that_the_bot_sends_can_ping() -> None:
    bot = await bot_with_commands()
    assert bot.allowed_mentions is not None
    assert bot.allowed_mentions.to_dict() == {"parse": []}
    assert bot.intents.value == 33281  # guilds, guild messages, message content
