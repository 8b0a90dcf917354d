"""CLIP's tokenizer against the original's own answers, and against transformers' where the two agree by design."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.errors import BadInput, TextTooLong
from clipcore.models.bpe import END, START, clean, merges, text_of, token_ids, vocabulary

# Made once by OpenAI's own simple_tokenizer.py, with ftfy; the file names the versions. Sentences in 65 languages,
# emoji, entities, contractions, control characters, halves of surrogate pairs, and mixtures of them all.
RECORDED = Path(__file__).parent / "data" / "clip_tokens.json.gz"


@cache
def recorded() -> list[tuple[str, list[int]]]:
    with gzip.open(RECORDED, "rt", encoding="utf-8") as file:
        return [(text, ids) for text, ids in json.load(file)["texts_and_ids"]]


def words_of(row: np.ndarray) -> list[int]:
    return [int(number) for number in row[1 : int(np.argmax(row == END))]]


def test_more_than_a_thousand_texts_in_many_scripts_become_the_originals_tokens():
    assert len(recorded()) > 1000
    texts = [text for text, _ in recorded()]
    rows = token_ids(texts, 400)
    different = [
        text
        for (text, ids), row in zip(recorded(), rows, strict=True)
        if row.tolist() != [START, *ids, END, *[0] * (398 - len(ids))]
    ]
    assert not different


def test_the_example_of_openais_readme():
    ids = token_ids(["a diagram", "a dog", "a cat"])
    assert ids.shape == (3, 77)
    assert ids.dtype == np.int32
    assert ids[:, :4].tolist() == [[START, 320, 22697, END], [START, 320, 1929, END], [START, 320, 2368, END]]
    assert not ids[:, 4:].any()


def test_one_text_may_be_given_without_a_list_and_none_at_all():
    assert token_ids("a cat").tolist() == token_ids(["a cat"]).tolist()
    assert token_ids([]).shape == (0, 77)
    assert words_of(token_ids("")[0]) == []


def test_a_text_that_is_too_long_is_refused_by_its_place_and_its_words():
    with pytest.raises(TextTooLong, match=r"Text 2 \('cat cat .*…'\) has 102 tokens and the context holds 77"):
        token_ids(["short", "cat " * 100])
    with pytest.raises(RuntimeError):  # what code written for the original expects
        token_ids("cat " * 100)


def test_the_context_holds_exactly_as_many_tokens_as_it_says():
    assert token_ids("cat " * 75)[0, -1] == END
    with pytest.raises(TextTooLong):
        token_ids("cat " * 76)


def test_truncating_keeps_the_beginning_and_the_end_mark_as_the_original_does():
    long = [(text, ids) for text, ids in recorded() if len(ids) > 75]
    assert len(long) > 50
    rows = token_ids([text for text, _ in long], truncate=True)
    assert rows.tolist() == [[START, *ids[:75], END] for _, ids in long]


def test_a_context_without_room_for_the_marks_is_refused():
    with pytest.raises(BadInput, match="no room"):
        token_ids("a", 1, truncate=True)
    assert token_ids("a", 2, truncate=True).tolist() == [[START, END]]


def test_tokens_become_words_again():
    assert text_of(token_ids("A dog & a CAT, 你好 🎉!")[0]) == "a dog & a cat , 你好 🎉!"
    assert text_of([]) == ""


def test_text_in_the_wrong_encoding_is_left_as_it_is_which_the_original_repairs():
    assert clean("sÃ³") == "sã³"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("&amp;amp;lt;b&amp;amp;gt;", "<b>"),
        ("P&EACUTE;REZ &nTILDE;", "pérez &ntilde;"),
        ("a < b &EACUTE; &eacute;", "a < b &eacute; é"),
        ("a < b\n&EACUTE;", "a < b &eacute;"),
        ("&NTILDE;\na < b", "ñ a < b"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("“it’s”", '"it\'s"'),
        ("ＬＯＵＤ　ｶﾞ", "loud ガ"),
        ("oﬃce ŉ", "office 'n"),
        ("\x93quoted\x94", '"quoted"'),
        ("a\u2028b\x0bc\ufeffd", "a bcd"),
        ("\ud83d\ude00 \ud83d", "😀 \ufffd"),
    ],
)
def test_repairs(written, read):
    assert clean(written) == read


@pytest.mark.timeout(20)  # minutes, were an escape resolved by each look at the whole text
@pytest.mark.parametrize(
    ("nested", "read"),
    [
        ("&" + "amp;" * 100_000 + "lt;b", "<b"),
        ("&" + "AMP;#38;#x26;amp;" * 25_000 + "EACUTE;", "é"),
        ("a &amp; " * 100_000, "a &" + " a &" * 99_999),
    ],
)
def test_an_ampersand_escaped_very_often_takes_no_longer_than_other_texts(nested, read):
    assert clean(nested) == read


@pytest.mark.timeout(20)
def test_other_entities_within_entities_are_resolved_as_deep_as_anybody_means_them():
    assert clean("&amp" + "&semi" * 50 + ";") == "&"
    assert "semi" in clean("&amp" + "&semi" * 100_000 + ";")


@pytest.mark.parametrize("escaped", ["&#", "&amp;#", "<&amp;#"])
def test_a_number_too_long_for_python_is_no_character(escaped):
    assert clean(escaped + "9" * 5000 + ";") == clean(escaped + "9" * 50 + ";")


@given(st.text(st.characters()))
def test_any_text_at_all_gives_marks_tokens_and_zeros(text):
    (row,) = token_ids(text, 16, truncate=True).tolist()
    end = row.index(END)
    assert row[0] == START
    assert all(0 <= number < 49408 for number in row)
    assert not any(row[end + 1 :]) or END in row[end + 1 :] or "<|" in text


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_cleaning_a_text_again_changes_nothing_unless_entities_were_resolved(text):
    cleaned = clean(text)
    assert "&" in cleaned or "<" in cleaned or clean(cleaned) == cleaned


def test_transformers_tokenizer_with_the_same_merges_agrees_on_cleaned_texts():
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer(vocab=vocabulary(merges()), merges=merges())
    # It takes the marks for marks wherever they stand, the original not after other punctuation; it keeps U+0345; and
    # "'ſ" is no contraction to it.
    cleaned = [clean(text) for text, _ in recorded()]
    aside = ("<|", "\u0345", "'ſ")
    texts = [text for text in cleaned if clean(text) == text and not any(bit in text for bit in aside)]
    assert len(texts) > 1000
    ours = token_ids(texts, 400)
    assert [words_of(row) for row in ours] == [ids[1:-1] for ids in theirs(texts)["input_ids"]]
