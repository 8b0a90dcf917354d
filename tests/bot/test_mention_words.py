"""What a mention asks for, and that talk which happens to name the bot asks for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.features.mention_words import Request, Wish, read_request

BOT = 900_000_000_000_000_009
NAME = f"<@{BOT}>"


def read(text: str) -> Request | None:
    return read_request(text, BOT, most_words=300)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("find a cat", "a cat"),
        ("Find me a cat on a sofa, please!", "a cat on a sofa, please"),
        ("could you find a cat?", "a cat"),
        ("please search for red cars", "red cars"),
        ("show me a cat", "a cat"),
        ("look for 🐼", "🐼"),
        ("find\na  cat", "a cat"),
        ("find similar cats", "similar cats"),
        ("找 沙发上的猫", "沙发上的猫"),
        ("找一只猫。", "一只猫"),
        ("帮我找一下红色的车", "红色的车"),
        ("搜索 猫", "猫"),
        ("find 猫", "猫"),
        ("找 a cat", "a cat"),
    ],
)
@pytest.mark.parametrize("name", [NAME, f"<@!{BOT}>", f"{NAME}:", f" {NAME},"])
def test_a_message_that_begins_with_the_bots_name_and_find_asks_for_what_follows(
    text: str, words: str, name: str
) -> None:
    assert read(f"{name} {text}") == Request(Wish.FIND, words)


@pytest.mark.parametrize(
    "text",
    [
        "similar", "Similar?", "more like this please", "find similar pictures", "show me similar ones", "look-alikes",
        "alike", "similar to this", "相似", "有没有类似的？", "找相似的图片", "类似的吗", "找和这张相似的",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{name} {text}", "{text} {name}", "{text}, {name}!"])
def test_words_for_look_alikes_ask_for_them_before_and_after_the_name(text: str, form: str) -> None:
    assert read(form.format(name=NAME, text=text)) == Request(Wish.SIMILAR)


@pytest.mark.parametrize("text", ["help", "Help!", "what can you do?", "帮助", "怎么用？", "你会做什么"])
@pytest.mark.parametrize("form", ["{name} {text}", "{text} {name}"])
def test_words_for_help_ask_for_help(text: str, form: str) -> None:
    assert read(form.format(name=NAME, text=text)) == Request(Wish.HELP)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "像", "dissimilarity", "find", "找", "找不到图片了", "搜索不到", "找到了", "找谁", "thank you"],
)
def test_whatever_else_follows_the_name_is_not_understood_and_starts_no_search(text: str) -> None:
    assert read(f"{NAME} {text}") == Request(Wish.UNKNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "", "similar", "find a cat", f"I asked {NAME} to find a cat", f"thanks, {NAME}", f"I can't find a cat {NAME}",
        f"find a cat {NAME}", f"help yourself {NAME} is down", f"这张好像 {NAME}", f"{NAME[:-1]}1> similar",
        f"<@900000000000000008> {NAME} similar to what", f"看看 {NAME} 怎么用",
    ],
)  # fmt: skip
def test_talk_that_does_not_begin_with_the_name_asks_for_nothing(text: str) -> None:
    assert read(text) is None


@given(st.text(), st.text())
def test_any_text_is_a_request_only_where_it_names_the_bot(before: str, after: str) -> None:
    assert read(before + after) is None
    read(f"{before}{NAME}{after}")


def test_a_query_longer_than_a_command_takes_is_not_understood() -> None:
    assert read(f"{NAME} find {'x' * 300}") == Request(Wish.FIND, "x" * 300)
    assert read(f"{NAME} find {'x' * 301}") == Request(Wish.UNKNOWN)
