from __future__ import annotations

import discord
import pytest

from bot.features.help import described
from bot.i18n import CHINESE, ENGLISH, Texts
from tests.bot.commands import bot_with_commands


async def told(locale: discord.Locale) -> str:
    bot = await bot_with_commands()
    return described(bot.tree.get_commands(), locale)


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
async def test_the_help_fits_into_one_message(texts: Texts) -> None:
    locale = discord.Locale.chinese if texts is CHINESE else discord.Locale.british_english
    assert len(await told(locale)) <= 3900


async def test_the_help_says_who_may_use_what() -> None:
    told_to_all = await told(discord.Locale.british_english)
    everybody, managers = told_to_all.split("**For members with Manage Server**")
    assert ENGLISH.mentions.help in everybody
    assert "`/find` Find pictures" in everybody
    assert "*Apps → Find similar pictures*" in everybody
    assert "`/labels` The labels that this server's pictures are tagged with: `list` · `add`" in managers
    assert "/find" not in managers
    assert "/labels" not in everybody


async def test_the_help_calls_commands_as_the_readers_client_does() -> None:
    words = await told(discord.Locale.taiwan_chinese)
    assert "`/找图` 按内容查找图片" in words
    assert "`/标签`" in words
    assert "`添加`" in words
    assert "应用 → 查找相似图片" in words
