from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unicodedata import category

import discord
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.discord_io.components import ActionButton
from bot.features.formatting import TagFormatter, image_match_percent, plain, short_plain, text_match_percent, visible
from bot.features.labels import refusal_of
from bot.features.labels_view import LabelsShown, labels_view, score_lines
from bot.features.privacy import privacy_view
from bot.features.search import Wording, found_view, result_view
from bot.i18n import CHINESE, ENGLISH, Texts
from bot.indexing.label_edits import LabelsRefused, Problem
from bot.indexing.labels import LabelBook, NamedLabel, ShippedLabels
from bot.indexing.tagger import ScoredLabel
from bot.label_names import is_label_name
from bot.models import ChannelRef, Image, ImageRef, ImageState, Match, RemoteImage, SearchResult, Source, Tag
from bot.store.labels import DEFAULT, LabelSet, OwnLabel
from bot.store.retagging import Progress

MOST_RESULTS = 6
CAT = NamedLabel("cat", "🐈", "cat", "猫")
TAGS = TagFormatter(LabelBook([CAT]))
SERVICES: Any = SimpleNamespace(
    engine=SimpleNamespace(calibration=SimpleNamespace(text_threshold=0.2), card=SimpleNamespace(logit_scale=100.0)),
    tag_formatter=TAGS,
)
REF = ImageRef(ChannelRef(1, 2), 1_457_000_000_000_000_000, 4, Source.ATTACHMENT, 5)


def shown(
    number: int = 1, *, tags: tuple[str, ...] = ("cat",), description: str | None = None, spoiler: bool = False
) -> Match:
    image = Image(number, REF, ImageState.READY, tags=tuple(Tag(tag, 0.9) for tag in tags))
    remote = RemoteImage(
        Source.ATTACHMENT, 4, "https://cdn.discordapp.com/a.png", description=description, spoiler=spoiler
    )
    return Match(image, 0.5, remote)


def wording(heading: str = "heading", note: str | None = None, chinese: bool = False) -> Wording:
    texts = CHINESE if chinese else ENGLISH
    return Wording(texts, TAGS, lambda score: round(100 * score), heading, texts.search.no_matches, note)


def items(view: discord.ui.LayoutView, kind: type) -> list:
    return [item for item in view.walk_children() if isinstance(item, kind)]


def test_the_largest_answer_keeps_to_discords_limits() -> None:
    worst = tuple("*" * 60 + str(number) for number in range(5))
    images = tuple(shown(number, tags=worst) for number in range(MOST_RESULTS))
    result = SearchResult(images, searched=True, unreachable=18)
    view = result_view(result, wording(short_plain("*" * 300), note="n" * 200))
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
    assert not thumbnail.spoiler


@pytest.mark.parametrize("covered", [True, False])
def test_of_a_spoiler_and_in_an_answer_about_one_everything_is_covered(covered: bool) -> None:
    """covered: the answer is about a spoiler, whereas the match itself is none."""
    match = shown(tags=("cat", "our||mascot"), description="my cat", spoiler=not covered)
    view = result_view(SearchResult((match,), searched=True), replace(wording(), covered=covered))
    words = "\n".join(item.content for item in items(view, discord.ui.TextDisplay))
    assert "||🐈 cat · our\\|\\|mascot||" in words
    [thumbnail] = items(view, discord.ui.Thumbnail)
    assert thumbnail.spoiler
    assert thumbnail.description == ENGLISH.search.image_alt_spoiler


def test_the_posters_own_description_is_the_alt_text() -> None:
    [thumbnail] = items(
        result_view(SearchResult((shown(description="d" * 2000),), searched=True), wording()), discord.ui.Thumbnail
    )
    assert thumbnail.description == "d" * 1024


def test_known_tags_are_shown_in_the_readers_language() -> None:
    view = result_view(SearchResult((shown(tags=("cat", "our mascot")),), searched=True), wording(chinese=True))
    words = "\n".join(item.content for item in items(view, discord.ui.TextDisplay))
    assert "🐈 猫 · our mascot" in words


@pytest.mark.parametrize(
    ("searched", "sentence"), [(True, ENGLISH.search.no_matches), (False, ENGLISH.search.nothing_to_search)]
)
def test_an_answer_without_matches_says_why(searched: bool, sentence: str) -> None:
    [text] = items(result_view(SearchResult((), searched=searched), wording()), discord.ui.TextDisplay)
    assert text.content == sentence


@pytest.mark.parametrize(
    "view", [result_view(SearchResult((shown(7),), searched=True), wording()), privacy_view(None, 5, ENGLISH)]
)
def test_every_button_with_an_action_is_dynamic_so_that_it_works_after_a_restart(view: discord.ui.LayoutView) -> None:
    """discord.py rebuilds a dynamic item from its custom id; any other button is forgotten with the process."""
    assert view.is_persistent()
    with_action = [one for one in view.walk_children() if one.is_dispatchable()]
    assert {type(one) for one in with_action} == {ActionButton}


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


# People's text: what Discord renders, pieces of it, and what hides or turns text.
CODES = [
    "@everyone", "@here", "<@900000000000000001>", "<@&900000000000000001>", "<#900000000000000001>",
    "<a:wave:900000000000000001>", "</find:900000000000000001>", "<t:1700000000:R>", "<id:customize>",
    "https://example.org/*x*", "<https://example.org>", "[**text**](https://example.org)", "discord.gg/abc",
    ":smile:", "**b**", "__u__", "~~s~~", "||s||", "`c`", "```c```", "\\", "#", ">", ">>>", "-", "-#", "|", "*",
    "_", "[", "]",
]  # fmt: skip
INVISIBLE = ["\n", "\r", "\t", "\x00", "\x1b", "\u202e", "\u2066", "\u200b", "\u200f", "\u2028", "\ufeff", "\ud800"]
nasty = st.lists(st.one_of(st.sampled_from(CODES + INVISIBLE), st.text(max_size=5)), max_size=12).map("".join)


@given(nasty)
def test_peoples_text_renders_nothing_of_discords_and_hides_nothing(text: str) -> None:
    shown = plain(text)
    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", shown).replace("@\u200b", "@") == visible(text)
    rest = re.sub(r"\\[^0-9A-Za-z\s]", "", shown)  # Discord shows a character behind a backslash as it is
    assert not set(rest) & set("\\*_~`|<>[]#@:/")
    assert not shown.startswith(("-", "+"))
    assert "@everyone" not in shown
    invisible = {char for char in shown if category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert invisible <= {"\u200b", "\u200c", "\u200d"}


def test_joiners_of_emoji_and_scripts_stay() -> None:
    assert plain("a\u202eb\u200b\u0007c 👩\u200d🚀") == "abc 👩\u200d🚀"


TEXTS = [ENGLISH, CHINESE]


def shown_texts(text: str, description: str | None, texts: Texts) -> tuple[str, str]:
    """An answer about this query, with matches of this tag, and the tags below an image; and the alt texts."""
    matches = tuple(shown(tags=("cat", text), description=description, spoiler=spoiler) for spoiler in (False, True))
    view = found_view(SERVICES, SearchResult(matches, searched=True), texts, text)
    words = [item.content for item in items(view, discord.ui.TextDisplay)]
    words.append(TAGS.line([Tag(text, 0.9)], chinese=texts is CHINESE))
    return "\n".join(words), "\n".join(item.description for item in items(view, discord.ui.Thumbnail))


@given(nasty.filter(lambda text: 0 < len(visible(text)) < 100), st.sampled_from(TEXTS))
def test_every_answer_shows_peoples_text_as_plain_text(text: str, texts: Texts) -> None:
    for description in (text, None):
        words, alt = shown_texts("zzz", description and "zzz", texts)
        expected = words.replace("zzz", plain(text)), alt.replace("zzz", visible(text))
        assert shown_texts(text, description, texts) == expected


@settings(deadline=None)
@given(nasty.filter(is_label_name), st.sampled_from(TEXTS))
def test_answers_about_labels_show_them_as_plain_text(text: str, texts: Texts) -> None:
    expected = [words.replace("zzz", plain(text)) for words in label_answers("zzz", texts)]
    assert label_answers(text, texts) == expected


def label_answers(label: str, texts: Texts) -> list[str]:
    """What /labels list and test say of a label, and why it is refused."""
    chosen = LabelSet((DEFAULT,), (OwnLabel(label, ("a prompt",), 60, "zh"),), (label,))
    shipped = ShippedLabels([CAT])
    view = labels_view(LabelsShown(chosen, 0, (), None), shipped, texts, 0, owner=1)
    scores = [ScoredLabel(one, 70, 50, given=True) for one in shipped.in_force(chosen)]
    return [
        *(item.content for item in items(view, discord.ui.TextDisplay)),
        *score_lines(scores, TAGS, texts, texts.labels.in_server),
        *(refusal_of(LabelsRefused(problem, label, 3, 2), texts) for problem in Problem),
    ]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 400), st.integers(0, 60), st.integers(-3, 40))
def test_labels_are_listed_completely_page_by_page_own_ones_first(own: int, shipped: int, page: int) -> None:
    names = [f"own {number} " + "x" * (number % 50) for number in range(own)]
    defaults = [NamedLabel(f"id {number}", "🐈", f"cat {number}", f"猫 {number}") for number in range(shipped)]
    chosen = LabelSet((DEFAULT,), tuple(map(OwnLabel, names)))
    shown = LabelsShown(chosen, 0, tuple((number, f"channel {number}") for number in range(50)), Progress(1200, 5000))
    pages = [page_of(shown, ShippedLabels(defaults), page) for page in range(60)]
    distinct = list(dict.fromkeys(pages))
    assert pages[: len(distinct)] == distinct
    assert page_of(shown, ShippedLabels(defaults), page) in distinct
    words = "\n".join(distinct)
    expected = [f"**{name.strip()}**" for name in names] + [f"🐈 cat {number}" for number in range(shipped)]
    places = [re.search(re.escape(one) + r"(?!\d)", words) for one in expected]
    found = [place.start() for place in places if place is not None]
    assert len(found) == len(expected)
    assert found == sorted(found)


def page_of(shown: LabelsShown, shipped: ShippedLabels, page: int) -> str:
    view = labels_view(shown, shipped, ENGLISH, page, owner=1)
    assert counted(view.to_components()) <= 40
    assert view.content_length() <= 4000
    head, labels, *_ = [item.content for item in items(view, discord.ui.TextDisplay)]
    assert "1,200 of 5,000" in head
    assert str(len(shown.elsewhere)) in head
    return labels


@pytest.mark.parametrize(("texts", "expected"), [(ENGLISH, "cat, our flag, 吉祥物"), (CHINESE, "吉祥物, 猫, our flag")])
def test_a_reader_sees_the_tags_in_their_language_first(texts: Texts, expected: str) -> None:
    """What a server named itself is shown as it is."""
    tags = [
        Tag("cat", 0.9),
        Tag("our flag", 0.8, language="en" if texts is CHINESE else None),
        Tag("吉祥物", 0.7, language="zh"),
    ]
    assert TAGS.names(tags, chinese=texts is CHINESE) == expected


def test_reactions_use_each_emoji_once_and_one_for_all_of_a_servers_own_labels() -> None:
    tags = [Tag("cat", 0.9), Tag("猫", 0.8), Tag("our mascot", 0.7), Tag("our flag", 0.6)]
    assert TAGS.emoji(tags) == ["🐈", "🏷️"]
