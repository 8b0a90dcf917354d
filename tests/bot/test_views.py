from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from unicodedata import category

import discord
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.discord_io.components import ActionButton, ActionMenu
from bot.features.formatting import TagFormatter, plain, short_plain, strength, visible
from bot.features.labels import refusal_of
from bot.features.labels_view import LabelsShown, labels_view, score_lines
from bot.features.privacy import privacy_view
from bot.features.result_page import LARGEST_PAGE, Frame, Shown, page_view
from bot.i18n import CHINESE, ENGLISH, Texts
from bot.indexing.label_edits import LabelsRefused, Problem
from bot.indexing.labels import LabelBook, NamedLabel, ShippedLabels
from bot.indexing.tagger import ScoredLabel
from bot.label_names import is_label_name
from bot.models import (
    Asked,
    ChannelRef,
    Image,
    ImageRef,
    ImageState,
    Match,
    RemoteImage,
    SearchResult,
    Source,
    Strength,
    Tag,
)
from bot.store.labels import DEFAULT, LabelSet, OwnLabel
from bot.store.retagging import Progress

CAT = NamedLabel("cat", "🐈", "cat", "猫")
TAGS = TagFormatter(LabelBook([CAT]))
REF = ImageRef(ChannelRef(1, 2), 1_457_000_000_000_000_000, 4, Source.ATTACHMENT, 5)


def shown(
    number: int = 1, *, tags: tuple[str, ...] = ("cat",), description: str | None = None, spoiler: bool = False
) -> Match:
    image = Image(number, REF, ImageState.READY, tags=tuple(Tag(tag, 0.9) for tag in tags))
    remote = RemoteImage(
        Source.ATTACHMENT, 4, "https://cdn.discordapp.com/a.png", description=description, spoiler=spoiler
    )
    return Match(image, 0.5, remote)


def framed(texts: Texts = ENGLISH, heading: str = "heading", *, asked: Asked = Asked.WORDS, **changes: Any) -> Frame:
    frame = Frame(77, 5, asked, heading, texts, TAGS, logit_scale=100.0, page_size=LARGEST_PAGE)
    return replace(frame, **changes)


def found(*matches: Match, **changes: Any) -> SearchResult:
    result = SearchResult(matches, searched=True, total=len(matches), threshold=0.25)
    return replace(result, **changes)


GALLERY, LIST = Shown(), Shown(listed=True)
BOTH = pytest.mark.parametrize("view", [GALLERY, LIST], ids=["gallery", "list"])


def words_of(view: discord.ui.LayoutView) -> str:
    return "\n".join(item.content for item in items(view, discord.ui.TextDisplay))


def pictures(view: discord.ui.LayoutView) -> list[tuple[str | None, bool]]:
    """Alt text, and whether it is covered."""
    galleries = [item for gallery in items(view, discord.ui.MediaGallery) for item in gallery.items]
    return [(item.description, item.spoiler) for item in [*galleries, *items(view, discord.ui.Thumbnail)]]


def items(view: discord.ui.LayoutView, kind: type) -> list:
    return [item for item in view.walk_children() if isinstance(item, kind)]


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize("asked", Asked)
@BOTH
def test_the_largest_page_keeps_to_discords_limits(view: Shown, asked: Asked, texts: Texts) -> None:
    worst = tuple("*" * 60 + str(number) for number in range(5))
    matches = [replace(shown(1 << 40 | number, tags=worst), copies=1234, alike=123) for number in range(LARGEST_PAGE)]
    result = found(*matches, unreachable=18, first=180, total=200, more=True, foldable=True, unverified=True)
    frame = framed(
        texts,
        " · ".join([short_plain("*" * 300)] * 2) + "x" * 400,
        asked=asked,
        notes=(texts.search.only_public, "n" * 200),
    )
    page = page_view(result, replace(view, page=18), frame)
    assert counted(page.to_components()) <= 40
    assert page.content_length() <= 4000
    assert all(len(gallery.items) <= 10 for gallery in items(page, discord.ui.MediaGallery))


def counted(components: list) -> int:
    inner = [part for one in components for part in one.get("components", [])]
    accessories = sum("accessory" in one for one in components)
    return len(components) + accessories + (counted(inner) if inner else 0)


def test_an_answer_says_what_discord_did_not_answer_for() -> None:
    for matches, part in (((), "I found something, but Discord"), ((shown(),), "3 more matched, but Discord")):
        assert part in words_of(page_view(found(*matches, unreachable=3), GALLERY, framed()))


@BOTH
def test_a_picture_has_its_number_tags_author_channel_time_and_a_link_to_its_message(view: Shown) -> None:
    page = page_view(found(shown(), first=10, total=30), view, framed())
    ref = REF
    for part in ("heading", "**11**", "🐈 cat", "<@5>", "<#2>", f"<t:{int(ref.created_at.timestamp())}:R>"):
        assert part in words_of(page)
    assert f"[{ENGLISH.search.open_message}]({ref.message_url})" in words_of(page)
    assert pictures(page) == [("A picture tagged: cat", False)]
    assert "%" not in words_of(page)


def test_how_well_a_picture_matches_is_said_in_words_apart_from_its_tags() -> None:
    for score, words in ((0.5, "strong match"), (0.26, "fair match"), (0.1, "weak match")):
        said = words_of(page_view(found(replace(shown(), score=score)), LIST, framed()))
        [line] = [line for line in said.split("\n") if words in line]
        assert "cat" not in line
    assert "match" not in words_of(page_view(found(shown()), LIST, framed(asked=Asked.FILTER)))


def test_the_list_has_each_pictures_size() -> None:
    sized = replace(shown(), image=replace(shown().image, width=640, height=480))
    assert "640 × 480" in words_of(page_view(found(sized), LIST, framed()))


@BOTH
def test_folded_copies_are_counted_and_it_is_said_that_they_are_folded(view: Shown) -> None:
    folded = replace(shown(), copies=1, alike=3)
    said = words_of(page_view(found(folded, foldable=True), view, framed()))
    assert "+1 copy · +3 near copies" in said
    assert ENGLISH.search.copies_once in said
    each = words_of(page_view(found(shown(), shown(2), foldable=True), replace(view, folded=False), framed()))
    assert ENGLISH.search.copies_each in each
    assert ENGLISH.search.copies_once not in words_of(page_view(found(shown()), view, framed()))


def test_the_total_is_honest() -> None:
    page = tuple(shown(number) for number in range(5))
    for result, said in (
        (found(*page), "5 pictures found"),
        (found(*page[:1]), "1 picture found"),
        (found(*page, total=9), "9 pictures found · 1–5 shown"),
        (found(*page[:4], first=5, total=9), "9 pictures found · 6–9 shown"),
        (found(*page, total=200, more=True), "more than 200 pictures found · 1–5 shown"),
    ):
        assert f"-# {said}" in words_of(page_view(result, GALLERY, framed())).split("\n")


@BOTH
@pytest.mark.parametrize("covered", [True, False])
def test_of_a_spoiler_and_in_an_answer_about_one_everything_is_covered(view: Shown, covered: bool) -> None:
    """covered: the answer is about a spoiler, whereas the match itself is none."""
    match = shown(tags=("cat", "our||mascot"), description="my cat", spoiler=not covered)
    page = page_view(found(match), view, framed(covered=covered))
    assert "||🐈 cat · our\\|\\|mascot||" in words_of(page)
    assert pictures(page) == [(ENGLISH.search.image_alt_spoiler, True)]
    [menu] = items(page, ActionMenu)
    assert [option.description for option in menu.item.options] == [None]


@BOTH
def test_that_the_words_stand_in_a_picture_is_said_in_both_views_and_not_of_a_spoiler(view: Shown) -> None:
    written = ENGLISH.search.written
    for match, is_said in ((shown(), True), (shown(spoiler=True), False)):
        assert written not in words_of(page_view(found(match), view, framed()))
        page = page_view(found(replace(match, written=True)), view, framed())
        assert (written in words_of(page)) == is_said


@BOTH
def test_the_posters_own_description_is_the_alt_text(view: Shown) -> None:
    page = page_view(found(shown(description="d" * 2000)), view, framed())
    assert pictures(page) == [("d" * 1024, False)]


@BOTH
def test_known_tags_are_shown_in_the_readers_language(view: Shown) -> None:
    page = page_view(found(shown(tags=("cat", "our mascot"))), view, framed(CHINESE))
    assert "🐈 猫 · our mascot" in words_of(page)


@pytest.mark.parametrize("asked", Asked)
def test_an_answer_without_matches_repeats_the_question_and_says_what_to_do(asked: Asked) -> None:
    nothing = found(nearest=True, total=20)
    page = page_view(nothing, GALLERY, framed(heading="“cats” · in <#2>", asked=asked, limited=True))
    said = words_of(page)
    assert said.startswith("“cats” · in <#2>\n")
    assert ENGLISH.search.no_matches[asked] in said
    assert ENGLISH.search.hint_limits in said
    assert (ENGLISH.search.hint_other_words in said) == (asked is Asked.WORDS)
    [button] = items(page, ActionButton)
    assert button.item.label == ENGLISH.search.show_nearest
    without = page_view(found(), GALLERY, framed(asked=asked))
    assert ENGLISH.search.hint_limits not in words_of(without)
    assert ENGLISH.search.hint_nearest not in words_of(without)
    assert items(without, ActionButton) == []


def test_who_can_see_nothing_is_told_so_and_offered_nothing() -> None:
    page = page_view(SearchResult((), searched=False), GALLERY, framed())
    assert words_of(page) == f"heading\n{ENGLISH.search.nothing_to_search}"
    assert not items(page, ActionButton)


def buttons(page: discord.ui.LayoutView) -> dict[str, tuple[str, bool]]:
    """By label: what a button leads to, and whether it can be pressed."""
    pressed = items(page, ActionButton)
    return {one.item.label: (one.custom_id.split(":", 4)[4], not one.item.disabled) for one in pressed}


def test_pages_are_turned_between_the_first_and_the_last() -> None:
    texts, page = ENGLISH.search, tuple(shown(number) for number in range(10))
    for first, before, after in ((0, False, True), (10, True, True), (20, True, False)):
        number = first // 10
        led = buttons(page_view(found(*page, first=first, total=23), replace(LIST, page=number), framed()))
        assert led[texts.previous_page] == (f"{number - 1}:l", before)
        assert led[texts.next_page] == (f"{number + 1}:l", after)
        assert led[texts.gallery_view] == (f"{number}:-", True)
    assert texts.next_page not in buttons(page_view(found(*page), GALLERY, framed()))
    assert texts.show_near_copies not in buttons(page_view(found(*page), GALLERY, framed()))
    led = buttons(page_view(found(*page, foldable=True), replace(LIST, page=2), framed()))
    assert led[texts.show_near_copies] == ("0:lu", True)


@given(st.integers(-1, 500), st.booleans(), st.booleans())
def test_what_is_shown_survives_a_restart_in_the_buttons(page: int, listed: bool, folded: bool) -> None:
    shown_ = Shown(page, listed, folded)
    assert Shown.of(*shown_.arguments) == shown_
    assert all(re.fullmatch(r"[\w-]+", argument) for argument in shown_.arguments)


@pytest.mark.parametrize(
    "view",
    [
        page_view(found(shown(7), total=30, foldable=True), GALLERY, framed()),
        page_view(found(nearest=True, total=3), GALLERY, framed()),
        privacy_view(None, 5, ENGLISH),
    ],
)
def test_every_button_with_an_action_is_dynamic_so_that_it_works_after_a_restart(view: discord.ui.LayoutView) -> None:
    """discord.py rebuilds a dynamic item from its custom id; any other button is forgotten with the process."""
    assert view.is_persistent()
    with_action = [one for one in view.walk_children() if one.is_dispatchable()]
    assert with_action
    assert {type(one) for one in with_action} <= {ActionButton, ActionMenu}
    owners = {one.custom_id.split(":")[2] for one in items(view, ActionButton)}
    assert owners == {"@5"}, "whoever asked turns the pages"


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 0.99), st.floats(1, 200), st.sampled_from(Asked))
def test_a_better_score_is_never_said_to_match_less_well(
    a: float, b: float, threshold: float, scale: float, asked: Asked
) -> None:
    low, high = (list(Strength).index(strength(score, asked, threshold, scale)) for score in sorted((a, b)))
    assert high <= low


def test_what_does_not_match_is_weak_and_the_same_image_is_strong() -> None:
    for asked in (Asked.WORDS, Asked.LIKENESS):
        assert strength(0.79, asked, 0.8, 100) is Strength.WEAK
        assert strength(0.8, asked, 0.8, 100) is Strength.FAIR
        assert strength(1.0, asked, 0.8, 100) is Strength.STRONG


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
    """Both views of an answer with matches of this tag, and the tags below an image; and the alt texts and options."""
    matches = tuple(
        shown(number, tags=("cat", text), description=description, spoiler=spoiler)
        for number, spoiler in enumerate((False, True))
    )
    views = [page_view(found(*matches), view, framed(texts)) for view in (GALLERY, LIST)]
    words = [*map(words_of, views), TAGS.line([Tag(text, 0.9)], chinese=texts is CHINESE)]
    alts = [str(alt) for view in views for alt, _ in pictures(view)]
    options = [str(one.description) for view in views for menu in items(view, ActionMenu) for one in menu.item.options]
    return "\n".join(words), "\n".join(alts + options)


@settings(deadline=None)
@given(nasty.filter(lambda text: len(visible(text)) > 0 and len(plain(text)) < 40), st.sampled_from(TEXTS))
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
