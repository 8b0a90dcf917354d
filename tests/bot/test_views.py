from __future__ import annotations

import discord
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.features.privacy import forget_me_view
from bot.features.search_views import (
    ConfirmForget,
    Look,
    MoreLikeThis,
    TagWords,
    answer_view,
    likeness_percent,
    percent,
    plain,
    short_query,
)
from bot.i18n import CHINESE, ENGLISH
from bot.indexing.labels import LabelBook, NamedLabel
from bot.models import ChannelRef, Image, ImageRef, ImageState, Match, RemoteImage, SearchResult, Source, Tag

MOST_RESULTS = 6
CAT = NamedLabel("cat", "🐈", "cat", "猫")
WORDS = TagWords(LabelBook([CAT]))
REF = ImageRef(ChannelRef(1, 2), 1_457_000_000_000_000_000, 4, Source.ATTACHMENT, 5)


def shown(number: int = 1, *, tags: tuple[str, ...] = ("cat",), description: str | None = None) -> Match:
    image = Image(number, REF, ImageState.READY, tags=tuple(Tag(tag, 0.9) for tag in tags))
    remote = RemoteImage(
        Source.ATTACHMENT, 4, "https://cdn.discordapp.com/a.png", description=description, spoiler=True
    )
    return Match(image, 0.5, remote)


def look(heading: str = "heading", note: str | None = None, chinese: bool = False) -> Look:
    texts = CHINESE if chinese else ENGLISH
    return Look(texts, WORDS, lambda score: round(100 * score), heading, texts.nothing_alike, note)


def items(view: discord.ui.LayoutView, kind: type) -> list:
    return [item for item in view.walk_children() if isinstance(item, kind)]


def test_the_largest_answer_keeps_to_discords_limits() -> None:
    worst = tuple("*" * 60 + str(number) for number in range(5))
    images = tuple(shown(number, tags=worst) for number in range(MOST_RESULTS))
    view = answer_view(SearchResult(images, searched=True), look(short_query("*" * 300), note="n" * 200))
    components = view.to_components()
    assert counted(components) <= 40
    assert view.content_length() <= 4000


def counted(components: list) -> int:
    inner = [part for one in components for part in one.get("components", [])]
    accessories = sum("accessory" in one for one in components)
    return len(components) + accessories + (counted(inner) if inner else 0)


def test_a_result_says_how_well_it_fits_what_it_shows_who_posted_it_where_and_when() -> None:
    view = answer_view(SearchResult((shown(),), searched=True), look())
    words = "\n".join(item.content for item in items(view, discord.ui.TextDisplay))
    for part in ("heading", "**50%**", "🐈 cat", "<@5>", "<#2>", f"<t:{int(REF.created_at.timestamp())}:R>"):
        assert part in words
    [thumbnail] = items(view, discord.ui.Thumbnail)
    assert thumbnail.description == "A picture tagged: cat"
    assert thumbnail.spoiler


def test_the_posters_own_description_is_the_alt_text() -> None:
    [thumbnail] = items(
        answer_view(SearchResult((shown(description="d" * 2000),), searched=True), look()), discord.ui.Thumbnail
    )
    assert thumbnail.description == "d" * 1024


def test_known_tags_are_shown_in_the_readers_language() -> None:
    view = answer_view(SearchResult((shown(tags=("cat", "our mascot")),), searched=True), look(chinese=True))
    words = "\n".join(item.content for item in items(view, discord.ui.TextDisplay))
    assert "🐈 猫 · our mascot" in words


@pytest.mark.parametrize(("searched", "sentence"), [(True, ENGLISH.nothing_alike), (False, ENGLISH.nothing_to_search)])
def test_an_empty_handed_answer_says_why(searched: bool, sentence: str) -> None:
    [text] = items(answer_view(SearchResult((), searched=searched), look()), discord.ui.TextDisplay)
    assert text.content == sentence


def ordinary_buttons(view: discord.ui.LayoutView) -> list[discord.ui.Item]:
    """Buttons whose callback is lost when the bot restarts: all that are handled but not dynamic."""
    return [
        item for item in view.walk_children() if item.is_dispatchable() and not isinstance(item, discord.ui.DynamicItem)
    ]


def test_every_button_is_dynamic_and_so_survives_a_restart() -> None:
    result, confirmation = answer_view(SearchResult((shown(7),), searched=True), look()), forget_me_view(5, ENGLISH)
    assert items(result, MoreLikeThis) and items(confirmation, ConfirmForget)
    assert ordinary_buttons(result) == ordinary_buttons(confirmation) == []
    assert result.is_persistent() and confirmation.is_persistent()

    button: discord.ui.Button[discord.ui.LayoutView] = discord.ui.Button(label="x", custom_id="not-dynamic")
    confirmation.add_item(discord.ui.ActionRow(button))
    assert ordinary_buttons(confirmation) == [button]


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 0.99), st.floats(1, 200))
def test_percentages_grow_with_the_score_and_stay_percentages(
    a: float, b: float, threshold: float, scale: float
) -> None:
    low, high = sorted((a, b))
    assert 1 <= percent(low, threshold, scale) <= percent(high, threshold, scale) <= 99
    assert 1 <= likeness_percent(low, threshold) <= likeness_percent(high, threshold) <= 100


def test_the_threshold_is_half_way_and_the_same_image_is_a_hundred() -> None:
    assert percent(0.25, 0.25, 100) == 50
    assert likeness_percent(0.8, 0.8) == 50
    assert likeness_percent(1.0, 0.8) == 100


@given(st.text(max_size=80))
def test_text_by_people_can_neither_mention_nor_leave_its_line(text: str) -> None:
    harmless = plain(f"{text} @everyone <@900000000000000001> **b**\n# heading")
    assert "@everyone" not in harmless
    assert "<@900000000000000001>" not in harmless
    assert "**b**" not in harmless
    assert "\n" not in harmless


def test_reactions_use_each_emoji_once_and_one_for_all_own_labels() -> None:
    tags = [Tag("cat", 0.9), Tag("猫", 0.8), Tag("our mascot", 0.7), Tag("our flag", 0.6)]
    assert WORDS.emoji(tags) == ["🐈", "🏷️"]
