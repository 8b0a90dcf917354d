from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from string import Formatter

import discord
import pytest

from bot.i18n import CHINESE, ENGLISH, command_text, texts_for
from bot.i18n.catalog import Counted
from bot.i18n.zh import COMMANDS
from bot.models import TaggingMode
from tests.bot.commands import all_commands, strings_of

Wording = str | Counted | dict[object, str]


def every_text(section: object, path: str = "") -> Iterator[tuple[str, Wording]]:
    """Each text of a language, by the path of its fields."""
    for field in fields(section):  # type: ignore[arg-type]
        text = getattr(section, field.name)
        if is_dataclass(text):
            yield from every_text(text, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", text


ENGLISH_TEXTS, CHINESE_TEXTS = dict(every_text(ENGLISH)), dict(every_text(CHINESE))


@pytest.mark.parametrize("path", ENGLISH_TEXTS)
def test_both_languages_have_the_same_placeholders(path: str) -> None:
    assert placeholders(ENGLISH_TEXTS[path]) == placeholders(CHINESE_TEXTS[path])


@pytest.mark.parametrize("path", [path for path, text in ENGLISH_TEXTS.items() if isinstance(text, dict)])
def test_both_languages_word_the_same_choices(path: str) -> None:
    english, chinese = ENGLISH_TEXTS[path], CHINESE_TEXTS[path]
    assert isinstance(english, dict)
    assert isinstance(chinese, dict)
    assert set(english) == set(chinese)


def test_both_languages_name_every_tagging_mode() -> None:
    assert set(ENGLISH.tagging.modes) == set(TaggingMode)


def placeholders(text: Wording) -> set[str]:
    """Of a text in several forms: those of all forms. A form may leave out the number, as "one picture" does."""
    wordings = text.forms.values() if isinstance(text, Counted) else text.values() if isinstance(text, dict) else [text]
    names = {name for wording in wordings for _, name, _, _ in Formatter().parse(wording) if name is not None}
    return names - {"count"} if isinstance(text, Counted) else names


@pytest.mark.parametrize(
    ("count", "english", "chinese"),
    [
        (0, "0 pictures", "0 张"),
        (1, "one picture", "1 张"),
        (2, "2 pictures", "2 张"),
        (1234, "1,234 pictures", "1,234 张"),
    ],
)
def test_a_number_takes_the_plural_form_and_the_digits_of_its_language(count: int, english: str, chinese: str) -> None:
    assert Counted("en", one="one picture", other="{count} pictures").format(count) == english
    assert Counted("zh", other="{count} 张").format(count) == chinese


def test_texts_follow_the_reader_and_fall_back_to_english() -> None:
    assert texts_for(discord.Locale.chinese) is CHINESE
    assert texts_for(discord.Locale.taiwan_chinese) is CHINESE
    assert texts_for(discord.Locale.american_english) is ENGLISH
    assert texts_for(discord.Locale.french) is ENGLISH
    assert texts_for(None) is ENGLISH


async def test_every_string_of_every_command_has_a_chinese_wording_and_none_is_left_over() -> None:
    used = {text for command in await all_commands() for text in strings_of(command)}
    assert used == set(COMMANDS) | set(ENGLISH.tagging.modes.values())


async def test_what_commands_are_called_keeps_to_discords_limits() -> None:
    for text in {text for command in await all_commands() for text in strings_of(command)}:
        chinese = command_text(text, discord.Locale.chinese)
        assert chinese is not None
        for wording in (text, chinese):
            assert 1 <= len(wording) <= 100
