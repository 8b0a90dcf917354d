from __future__ import annotations

from dataclasses import replace

from bot.features.hints import Hints
from bot.i18n import CHINESE, ENGLISH
from tests.store.samples import CARD

TEXTS = ENGLISH.search


def test_a_member_is_greeted_once_in_each_server() -> None:
    hints = Hints(CARD)
    assert list(hints.for_member((1, 7), "a cat", ENGLISH)) == [TEXTS.hint_first_answer]
    assert list(hints.for_member((1, 7), "a cat", ENGLISH)) == []
    assert list(hints.for_member((1, 8), "a cat", ENGLISH)) == [TEXTS.hint_first_answer]
    assert list(hints.for_member((2, 7), "一只猫", CHINESE)) == [CHINESE.search.hint_first_answer]


def test_who_writes_in_a_script_that_the_model_does_not_read_is_told_which_languages_it_knows() -> None:
    english, both = (Hints(replace(CARD, languages=languages)) for languages in (("en",), ("en", "zh")))
    assert list(english.about("一只猫", CHINESE)) == [CHINESE.search.hint_script.format(languages="英语")]
    assert list(both.about("одна кошка", ENGLISH)) == [TEXTS.hint_script.format(languages="English and Chinese")]
    assert list(both.about("кошка", CHINESE)) == [CHINESE.search.hint_script.format(languages="英语和中文")]
    for fitting in ("a cat", "一只猫", "🐈"):
        assert list(both.about(fitting, ENGLISH)) == []
    assert list(Hints(replace(CARD, languages=("mul",))).about("кошка", ENGLISH)) == []
