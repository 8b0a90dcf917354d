from __future__ import annotations

from dataclasses import fields
from string import Formatter

import discord
import pytest

from bot.i18n import CHINESE, ENGLISH, Texts, command_text, texts_for
from bot.i18n.zh import COMMANDS
from bot.models import TaggingMode
from tests.bot.commands import all_commands, strings_of


@pytest.mark.parametrize("name", [field.name for field in fields(Texts) if field.name != "tagging_modes"])
def test_both_languages_have_the_same_placeholders(name: str) -> None:
    assert placeholders(getattr(ENGLISH, name)) == placeholders(getattr(CHINESE, name))


def test_both_languages_name_every_tagging_mode() -> None:
    assert set(ENGLISH.tagging_modes) == set(CHINESE.tagging_modes) == set(TaggingMode)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_texts_follow_the_reader_and_fall_back_to_english() -> None:
    assert texts_for(discord.Locale.chinese) is CHINESE
    assert texts_for(discord.Locale.taiwan_chinese) is CHINESE
    assert texts_for(discord.Locale.american_english) is ENGLISH
    assert texts_for(discord.Locale.french) is ENGLISH
    assert texts_for(None) is ENGLISH


async def test_every_string_of_every_command_has_a_chinese_wording_and_none_is_left_over() -> None:
    used = {text for command in await all_commands() for text in strings_of(command)}
    assert used == set(COMMANDS) | set(ENGLISH.tagging_modes.values())


async def test_what_commands_are_called_keeps_to_discords_limits() -> None:
    for text in {text for command in await all_commands() for text in strings_of(command)}:
        chinese = command_text(text, discord.Locale.chinese)
        assert chinese is not None
        for wording in (text, chinese):
            assert 1 <= len(wording) <= 100
