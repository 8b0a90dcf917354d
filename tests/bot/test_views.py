from __future__ import annotations

import re

import discord
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.features.formatting import TagFormatter, image_match_percent, plain, short_query, text_match_percent
from bot.features.privacy import ConfirmForget, forget_me_view
from bot.features.search import MoreLikeThis, Wording, result_view
from bot.i18n import CHINESE, ENGLISH
from bot.indexing.labels import LabelBook, NamedLabel
from bot.models import ChannelRef, Image, ImageRef, ImageState, Match, RemoteImage, SearchResult, Source, Tag

MOST_RESULTS = 6
CAT = NamedLabel("cat", "🐈", "cat", "猫")
TAGS = TagFormatter(LabelBook([CAT]))
REF = ImageRef(ChannelRef(1, 2), 1_457_000_000_000_000_000, 4, Source.ATTACHMENT, 5)


def shown(number: int = 1, *, tags: tuple[str, ...] = ("cat",), description: str | None = None) -> Match:
    image = Image(number, REF, ImageState.READY, tags=tuple(Tag(tag, 0.9) for tag in tags))
    remote = RemoteImage(
        Source.ATTACHMENT, 4, "https://cdn.discordapp.com/a.png", description=description, spoiler=True
    )
    return Match(image, 0.5, remote)


def wording(heading: str = "heading", note: str | None = None, chinese: bool = False) -> Wording:
    texts = CHINESE if chinese else ENGLISH
    return Wording(texts, TAGS, lambda score: round(100 * score), heading, texts.no_matches, note)


def items(view: discord.ui.LayoutView, kind: type) -> list:
    return [item for item in view.walk_children() if isinstance(item, kind)]


def test_the_largest_answer_keeps_to_discords_limits() -> None:
    worst = tuple("*" * 60 + str(number) for number in range(5))
    images = tuple(shown(number, tags=worst) for number in range(MOST_RESULTS))
    result = SearchResult(images, searched=True, unreachable=18)
    view = result_view(result, wording(short_query("*" * 300), note="n" * 200))
    components = view.to_components()
    assert counted(components) <= 40
    assert view.content_length() <= 4000


def counted(components: list) -> int:
    inner = [part for one in components for part in one.get("components", [])]
    accessories = sum("accessory" in one for one in components)
    return len(components) + accessories + (counted(inner) if inner else 0)


def test_an_answer_says_what_discord_did_not_answer_for() -> None:
    for matches, part in (((), "I found something, but Discord"), ((shown(),), "3 more matched, but Discord")):
        view = result_view(SearchResult(matches, searched=True, unreachable=3), wording())
        assert any(part in item.content for item in items(view, discord.ui.TextDisplay))


def test_a_result_has_its_score_tags_author_channel_and_time() -> None:
    view = result_view(SearchResult((shown(),), searched=True), wording())
    words = "\n".join(item.content for item in items(view, discord.ui.TextDisplay))
    for part in ("heading", "**50%**", "🐈 cat", "<@5>", "<#2>", f"<t:{int(REF.created_at.timestamp())}:R>"):
        assert part in words
    [thumbnail] = items(view, discord.ui.Thumbnail)
    assert thumbnail.description == "A picture tagged: cat"
    assert thumbnail.spoiler


def test_the_posters_own_description_is_the_alt_text() -> None:
    [thumbnail] = items(
        result_view(SearchResult((shown(description="d" * 2000),), searched=True), wording()), discord.ui.Thumbnail
    )
    assert thumbnail.description == "d" * 1024


def test_known_tags_are_shown_in_the_readers_language() -> None:
    view = result_view(SearchResult((shown(tags=("cat", "our mascot")),), searched=True), wording(chinese=True))
    words = "\n".join(item.content for item in items(view, discord.ui.TextDisplay))
    assert "🐈 猫 · our mascot" in words


@pytest.mark.parametrize(("searched", "sentence"), [(True, ENGLISH.no_matches), (False, ENGLISH.nothing_to_search)])
def test_an_answer_without_matches_says_why(searched: bool, sentence: str) -> None:
    [text] = items(result_view(SearchResult((), searched=searched), wording()), discord.ui.TextDisplay)
    assert text.content == sentence


@pytest.mark.parametrize(
    ("view", "button"),
    [
        (result_view(SearchResult((shown(7),), searched=True), wording()), MoreLikeThis),
        (forget_me_view(5, ENGLISH), ConfirmForget),
    ],
)
def test_every_button_with_an_action_is_dynamic_so_that_it_works_after_a_restart(
    view: discord.ui.LayoutView, button: type
) -> None:
    """discord.py rebuilds a dynamic item from its custom id; any other button is forgotten with the process."""
    assert view.is_persistent()
    with_action = [one for one in view.walk_children() if one.is_dispatchable()]
    assert [type(one) for one in with_action] == [button]


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 0.99), st.floats(1, 200))
def test_percentages_grow_with_the_score_and_stay_percentages(
    a: float, b: float, threshold: float, scale: float
) -> None:
    low, high = sorted((a, b))
    assert 1 <= text_match_percent(low, threshold, scale) <= text_match_percent(high, threshold, scale) <= 99
    assert 1 <= image_match_percent(low, threshold) <= image_match_percent(high, threshold) <= 100


def test_the_threshold_is_half_way_and_the_same_image_is_a_hundred() -> None:
    assert text_match_percent(0.25, 0.25, 100) == 50
    assert image_match_percent(0.8, 0.8) == 50
    assert image_match_percent(1.0, 0.8) == 100


@given(st.text(max_size=80))
def test_peoples_text_cannot_mention_anyone_or_leave_its_line(text: str) -> None:
    harmless = plain(f"{text} @everyone <@900000000000000001> **b**\n# heading")
    assert "@everyone" not in harmless
    assert "<@900000000000000001>" not in harmless
    assert "**b**" not in harmless
    assert "\n" not in harmless


@given(
    st.sampled_from(
        [
            "<#900000000000000001>",
            "</find:900000000000000001>",
            "<t:1700000000:R>",
            "<a:wave:900000000000000001>",
            "<id:customize>",
            "https://example.org/*x*",
            "[text](https://example.org)",
        ]
    ),
    st.text(max_size=10),
)
def test_peoples_text_renders_nothing_of_discords(code: str, text: str) -> None:
    harmless = plain(f"{text} {code} {text}")
    assert not re.search(r"(?<!\\)(\\\\)*<", harmless), "each < is escaped"
    assert "://" not in harmless


def test_peoples_text_has_no_invisible_characters_but_joiners() -> None:
    assert plain("a\u202eb\u200b\u0007c 👩\u200d🚀") == "abc 👩\u200d🚀"


def test_reactions_use_each_emoji_once_and_one_for_all_of_a_servers_own_labels() -> None:
    tags = [Tag("cat", 0.9), Tag("猫", 0.8), Tag("our mascot", 0.7), Tag("our flag", 0.6)]
    assert TAGS.emoji(tags) == ["🐈", "🏷️"]
