from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.label_names import label_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("ＣＡＴ　ＦＯＯＤ", "cat food"),
        ("  red\n apple ", "red apple"),
        ("pan\u200bda", "panda"),
        ("\u202epanda\u2069", "panda"),
        ("❤️", "❤"),
        ("cat\u3164", "cat"),
        ("ﾈｺ", "ネコ"),
        ("İstanbul", "i\u0307stanbul"),
    ],
)
def test_names_that_read_the_same_have_one_key(one: str, other: str) -> None:
    assert label_key(one) == label_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("cat", "cats"), ("resume", "résumé"), ("red apple", "redapple"), ("猫", "狗")]
)
def test_names_that_read_differently_have_different_keys(one: str, other: str) -> None:
    assert label_key(one) != label_key(other)


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_a_key_is_its_own_key_and_that_of_every_normal_form(name: str, form: str) -> None:
    key = label_key(name)
    assert label_key(key) == key
    assert label_key(normalize(form, name)) == key  # type: ignore[arg-type]
    assert label_key(f" \u200b{name}\t") == key
