"""Every language has every text, and nothing that members read stands outside the languages."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import discord
import pytest

import bot.i18n
from bot.i18n import CHINESE, ENGLISH, command_text, languages, texts_for
from bot.i18n.catalog import Counted, Language
from bot.models import TaggingMode
from tests.bot.commands import all_commands, strings_of

ROOT = Path(__file__).parents[2]
Wording = str | Counted | tuple[str, ...] | Mapping[object, str]


def every_text(section: object, path: str = "") -> Iterator[tuple[str, Wording]]:
    """Each text of a language, by the path of its fields."""
    for field in fields(section):  # type: ignore[arg-type]
        text = getattr(section, field.name)
        if is_dataclass(text):
            yield from every_text(text, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", text


ENGLISH_TEXTS = dict(every_text(ENGLISH))
OTHERS = [language for language in languages(bot.i18n.__path__) if language.texts is not ENGLISH]


@pytest.fixture(params=OTHERS, ids=[str(language.locales[0]) for language in OTHERS])
def other(request) -> Language:
    """Each language but English."""
    return request.param


def test_chinese_is_a_language() -> None:
    assert CHINESE in [language.texts for language in OTHERS]


def test_a_language_has_the_placeholders_that_english_has(other: Language) -> None:
    texts = dict(every_text(other.texts))
    assert {path: placeholders(text) for path, text in texts.items()} == {
        path: placeholders(text) for path, text in ENGLISH_TEXTS.items()
    }


def test_a_language_words_the_choices_that_english_words(other: Language) -> None:
    def choices(texts: Mapping[str, Wording]) -> dict[str, set[object]]:
        return {path: set(text) for path, text in texts.items() if isinstance(text, Mapping)}

    assert choices(dict(every_text(other.texts))) == choices(ENGLISH_TEXTS)


def test_a_text_about_a_number_has_the_forms_of_its_language(other: Language) -> None:
    for path, text in {**ENGLISH_TEXTS, **dict(every_text(other.texts))}.items():
        if isinstance(text, Counted):
            assert set(text.forms) <= set(text.plural_forms), path
            assert "other" in text.forms, path


def test_every_tagging_mode_has_a_name() -> None:
    assert set(ENGLISH.tagging.modes) == set(TaggingMode)


async def test_commands_are_named_as_they_are_called_in_the_language(other: Language) -> None:
    commands = await all_commands()
    assert_named({path: wordings(text) for path, text in ENGLISH_TEXTS.items()}, {*called(commands, None)})
    texts = {path: wordings(text) for path, text in every_text(other.texts)}
    assert_named(texts, {*called(commands, other.locales[0])})


def assert_named(texts: Mapping[str, Iterable[str]], known: Collection[tuple[str, ...]]) -> None:
    for path, some in texts.items():
        for named in (name for wording in some for name in re.findall(r"`/([^`]+)`", wording)):
            words = tuple(named.split())
            whole, group = (words[: len(one)] == one for one in known), (one[: len(words)] == words for one in known)
            assert any(whole) or any(group), f"{path}: /{named}"


def called(commands: Iterable[Mapping[str, Any]], locale: discord.Locale | None) -> Iterator[tuple[str, ...]]:
    """The commands that can be used, by their names in this language."""
    for command in commands:
        name = command["name"] if locale is None else command["name_localizations"][locale.value]
        inner = [option for option in command.get("options", ()) if option["type"] in (1, 2)]  # subcommands and groups
        for rest in called(inner, locale) if inner else [()]:
            yield (name, *rest)


def wordings(text: Wording) -> Iterable[str]:
    """All that a text may say."""
    if isinstance(text, Counted):
        return text.forms.values()
    if isinstance(text, Mapping):
        return text.values()
    return [text] if isinstance(text, str) else text


def placeholders(text: Wording) -> set[str]:
    """Of a text in several forms: those of all forms. A form may leave out the number, as "one picture" does."""
    names = {name for wording in wordings(text) for _, name, _, _ in Formatter().parse(wording) if name is not None}
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


def test_a_language_with_more_forms_gets_all_of_them() -> None:
    polish = Counted("pl", one="{count} obraz", few="{count} obrazy", many="{count} obrazów", other="{count} obrazu")
    assert [polish.format(count) for count in (1, 3, 5, 22)] == ["1 obraz", "3 obrazy", "5 obrazów", "22 obrazy"]


def test_texts_follow_the_reader_and_fall_back_to_english() -> None:
    assert texts_for(discord.Locale.chinese) is CHINESE
    assert texts_for(discord.Locale.taiwan_chinese) is CHINESE
    assert texts_for(discord.Locale.american_english) is ENGLISH
    assert texts_for(discord.Locale.french) is ENGLISH
    assert texts_for(None) is ENGLISH


async def test_every_string_of_every_command_is_translated_and_no_translation_is_left_over(other: Language) -> None:
    used = {text for command in await all_commands() for text in strings_of(command)}
    assert {text for text in used if command_text(text, other.locales[0]) is None} == set()
    assert set(other.commands) - used == set()


async def test_what_commands_are_called_keeps_to_discords_limits(other: Language) -> None:
    for text in {text for command in await all_commands() for text in strings_of(command)}:
        for wording in (text, command_text(text, other.locales[0]) or ""):
            assert 1 <= len(wording) <= 100, wording


def test_a_third_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    english = (ROOT / "bot" / "i18n" / "en.py").read_text(encoding="utf-8")
    german = english.replace(".american_english, discord.Locale.british_english", ".german,").replace('"en"', '"de"')
    (tmp_path / "de.py").write_text(german.replace('"Something went wrong', '"Etwas ging schief'), encoding="utf-8")
    monkeypatch.setattr(bot.i18n, "__path__", [*bot.i18n.__path__, str(tmp_path)])
    try:
        [found] = [one for one in languages(bot.i18n.__path__) if discord.Locale.german in one.locales]
    finally:
        sys.modules.pop("bot.i18n.de", None)
    assert found.texts.errors.failed.startswith("Etwas ging schief")


# What shows its text to people: by keyword, or as the first argument.
SHOWN_BY_KEYWORD = {"label", "placeholder", "content", "title", "description"}
SHOWN_FIRST = {"TextDisplay", "sentence_view", "reply", "send_message"}
DECLARATIONS = {"command", "describe", "Group", "ContextMenu"}  # translated by their English wording
WORDS = re.compile(r"[^\W\d_]{2,}")


def untranslated(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in DECLARATIONS:
            continue
        shown = [word.value for word in node.keywords if word.arg in SHOWN_BY_KEYWORD]
        if name in SHOWN_FIRST or (name == "answer" and len(node.args) > 1):
            shown += node.args[1:2] if name == "answer" else node.args[:1]
        for value in shown:
            parts = value.values if isinstance(value, ast.JoinedStr) else [value]
            for part in parts:
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and WORDS.search(part.value):
                    yield f"{path.name}:{node.lineno}: {part.value!r}"


def test_nothing_that_members_read_is_written_where_it_cannot_be_translated() -> None:
    found = [one for room in ("features", "discord_io") for path in (ROOT / "bot" / room).glob("*.py")
             for one in untranslated(path)]  # fmt: skip
    assert not found, "\n".join(found)


def test_an_untranslated_text_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "feature.py"
    file.write_text('answer(interaction, f"Found {n} pictures")\nActionButton("like", label="More")\nTextDisplay("·")')
    assert len(list(untranslated(file))) == 3  # of the first, both pieces
