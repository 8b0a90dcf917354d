from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.search.emoji_names import with_emoji_named


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("🐼", "panda"),
        ("🐈🛋️", "cat couch and lamp"),
        ("a 🐼 at night", "a panda at night"),
        ("❤️", "heart"),
        ("⛵", "sailboat"),
        ("👍🏽", "thumbs up sign"),
        ("👩‍🚀", "woman rocket"),
        ("🤷‍♀️", "shrug"),
        ("红色的🍎", "红色的 red apple"),
    ],
)
def test_an_emoji_is_named(text: str, words: str) -> None:
    assert with_emoji_named(text) == words


@pytest.mark.parametrize("text", ["a cat  on a sofa", "5° in © July", "🇫🇷", "→ 猫", ""])
def test_what_has_no_emoji_or_only_flags_stays_as_it_is(text: str) -> None:
    assert with_emoji_named(text) == text


@given(st.text())
def test_any_text_keeps_something_to_search_for(text: str) -> None:
    assert bool(with_emoji_named(text).strip()) == bool(text.strip())
