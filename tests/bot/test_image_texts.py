"""When somebody's words stand in an image, as plain texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.image_texts import fold_text, is_searchable, stands_in

texts = st.text(st.sampled_from("aZé ß1.-\n\u3000猫咖ｂ่"), max_size=30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Opening hours\n9:00 – 17:30", "opening HOURS"),
        ("Opening hours\n9:00 – 17:30", "hours 9:00"),
        ("营业时间 9:00 至 17:30", "时间9:00至"),
        ("今日营\n业时间", "营业"),
        ("ＳＡＬＥ 50％", "sale 50%"),
        ("STRASSE", "straße"),
        ("a start, an art", "art"),
        ("我爱Python语言", "python"),
        ("one, two", "one, two"),
    ],
)
def test_words_stand_in_a_text_however_it_is_written_and_broken_into_lines(text: str, words: str) -> None:
    assert stands_in(fold_text(text), fold_text(words))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a start", "art"),
        ("artful", "art"),
        ("music at night", "cat"),
        ("12300", "123"),
        ("hours, opening", "opening hours"),
    ],
)
def test_a_part_of_a_word_is_no_word(text: str, words: str) -> None:
    assert not stands_in(fold_text(text), fold_text(words))


@pytest.mark.parametrize(("words", "searchable"), [("a", False), ("", False), ("猫", True), ("ok", True), ("ไ", True)])
def test_one_letter_tells_nothing_and_one_chinese_character_does(words: str, searchable: bool) -> None:
    assert is_searchable(fold_text(words)) == searchable


@given(texts)
def test_a_folded_text_is_folded(text: str) -> None:
    folded = fold_text(text)
    assert fold_text(folded) == folded == folded.strip()
    assert "\n" not in folded and "  " not in folded


@given(texts, texts, texts)
def test_whole_words_are_found_wherever_they_stand(before: str, words: str, after: str) -> None:
    folded = fold_text(words)
    if folded:
        assert stands_in(fold_text(f"{before} {words} {after}"), folded)


@given(texts, texts)
def test_nothing_stands_in_a_text_that_does_not_have_its_characters(text: str, words: str) -> None:
    if (folded := fold_text(words)) and stands_in(fold_text(text), folded):
        assert folded in fold_text(text)
