"""Which texts a model cannot read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.models.known_models import DEFAULT_MODEL, list_models
from clipcore.scripts import Script, unread_script

ENGLISH, CHINESE = ("en",), ("zh",)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("沙发上的猫", Script.HAN),
        ("貓坐在沙發上 on sofa", Script.HAN),
        ("кошка на диване", Script.CYRILLIC),
        ("ネコ", Script.KANA),
        ("ﾈｺ", Script.KANA),  # narrow letters
        ("고양이", Script.HANGUL),
        ("قطة على الأريكة", Script.ARABIC),
        ("γάτα", Script.GREEK),
        ("แมว", Script.THAI),
        ("კატა", Script.OTHER),
    ],
)
def test_a_query_that_an_english_model_cannot_read_is_told_by_its_script(text, script):
    assert unread_script(text, ENGLISH) is script


@pytest.mark.parametrize("text", ["a cat on a sofa", "die Katze, über dem Sofa", "a 猫 on a sofa", "ＣＡＴ", "café №5"])
def test_what_is_mostly_latin_is_read_by_an_english_model(text):
    assert unread_script(text, ENGLISH) is None


@pytest.mark.parametrize("text", ["", "🐱", "123 !?", "_", "\ud800", "\u200b"])
def test_a_text_without_letters_fits_every_model(text):
    assert unread_script(text, ENGLISH) is unread_script(text, CHINESE) is None


def test_a_chinese_model_reads_chinese_with_a_latin_name_in_it_and_no_english():
    assert unread_script("穿着 NBA 球衣的人", CHINESE) is None
    assert unread_script("T恤", CHINESE) is None
    assert unread_script("a cat on a sofa", CHINESE) is Script.LATIN


@pytest.mark.parametrize("languages", [(), ("mul",), ("en", "mul"), ("xx",)])
def test_nothing_is_said_of_a_model_of_many_or_unknown_languages(languages):
    assert unread_script("猫", languages) is None


def test_a_model_of_two_languages_reads_both():
    assert unread_script("猫", ("en", "zh")) is unread_script("cat", ("en", "zh")) is None
    assert unread_script("кошка", ("en", "zh")) is Script.CYRILLIC


@given(st.text())
def test_any_text_gets_an_answer_that_is_never_a_script_that_is_read(text):
    assert unread_script(text, ENGLISH) is not Script.LATIN
    assert unread_script(text, CHINESE) is not Script.HAN


def test_every_known_model_can_be_asked_and_the_default_reads_everything():
    for model in list_models():
        assert set(model.languages) <= {"en", "zh", "mul"}, "a new language needs its scripts"
        if model.id == DEFAULT_MODEL:
            assert unread_script("猫", model.languages) is None
