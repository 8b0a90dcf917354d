"""The page of an answer: large pictures with a line for each, or a list with the details of each; and its buttons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import discord

from bot.discord_io.components import ActionButton, ActionMenu, View
from bot.features.formatting import TagFormatter, strength, visible
from bot.i18n import CHINESE, Texts
from bot.models import Asked, Match, SearchResult

LARGEST_PAGE = 10
"""Pictures that a gallery may have; as many list entries fit the 40 components of a message."""

_ALT_TEXT_LIMIT = 1024  # developer docs, components reference, unfurled media
_OPTION_LIMIT = 100
# Ten lines of each view, with headings and notes, stay below the 4000 characters that a message may show.
_TAGS_BELOW_GALLERY, _TAGS_IN_LIST = 60, 110


@dataclass(frozen=True, slots=True)
class Shown:
    """Which page of an answer is shown, and how: what its buttons carry. listed: as a list with details. folded: near
    copies once.
    """

    page: int = 0
    listed: bool = False
    folded: bool = True

    @property
    def arguments(self) -> tuple[str, str]:
        flags = {"l": self.listed, "u": not self.folded}
        return str(self.page), "".join(flag for flag, is_set in flags.items() if is_set) or "-"

    @classmethod
    def of(cls, page: str, flags: str) -> Self:
        return cls(int(page), "l" in flags, "u" not in flags)


@dataclass(frozen=True, slots=True)
class Frame:
    """What all pages of one answer have in common.

    heading: what was asked, as it is said back. owner: the member who may turn the pages. covered: whether all pictures
    are shown as spoilers, and not only those that are. limited: whether the question had any limits. notes: sentences
    that are shown below.
    """

    answer_id: int
    owner: int
    asked: Asked
    heading: str
    texts: Texts
    tags: TagFormatter
    logit_scale: float
    page_size: int
    covered: bool = False
    limited: bool = False
    notes: tuple[str, ...] = ()


def page_view(result: SearchResult, shown: Shown, frame: Frame) -> View:
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(frame.heading))
    if not result.matches:
        view.add_item(discord.ui.TextDisplay(_nothing(result, frame)))
    elif shown.listed:
        for number, match in enumerate(result.matches, result.first + 1):
            view.add_item(_list_entry(number, match, result, frame))
    else:
        view.add_item(discord.ui.MediaGallery(*(_gallery_item(match, frame) for match in result.matches)))
        lines = (_line(number, match, frame) for number, match in enumerate(result.matches, result.first + 1))
        view.add_item(discord.ui.TextDisplay("\n".join(lines)))
    if below := "\n".join(f"-# {line}" for line in _below(result, shown, frame)):
        view.add_item(discord.ui.TextDisplay(below))
    if result.matches:
        view.add_item(discord.ui.ActionRow(_more_like_this(result, frame)))
    if buttons := list(_buttons(result, shown, frame)):
        view.add_item(discord.ui.ActionRow(*buttons))
    return view


# -- the pictures


def _gallery_item(match: Match, frame: Frame) -> discord.MediaGalleryItem:
    return discord.MediaGalleryItem(
        match.remote.url, description=_alt_text(match, frame), spoiler=_is_covered(match, frame)
    )


def _line(number: int, match: Match, frame: Frame) -> str:
    parts = (_posted(match, frame), *_counts(match, frame), _tags(match, frame, _TAGS_BELOW_GALLERY))
    return f"**{number}** {' · '.join(filter(None, (*parts, _link(match, frame))))}"


def _list_entry(number: int, match: Match, result: SearchResult, frame: Frame) -> discord.ui.Section[View]:
    texts, image = frame.texts.search, match.image
    how_well = None
    if frame.asked is not Asked.FILTER and not match.written:  # which says more than how much it looks like them
        how_well = texts.strengths[strength(match.score, frame.asked, result.threshold, frame.logit_scale)]
    size = f"{image.width} × {image.height}" if image.width and image.height else None
    first = " · ".join(filter(None, (f"**{number}**", how_well, size, *_counts(match, frame), _link(match, frame))))
    lines = filter(None, (first, _posted(match, frame), _tags(match, frame, _TAGS_IN_LIST)))
    thumbnail: discord.ui.Thumbnail[View] = discord.ui.Thumbnail(
        match.remote.url, description=_alt_text(match, frame), spoiler=_is_covered(match, frame)
    )
    return discord.ui.Section("\n".join(lines), accessory=thumbnail)


def _posted(match: Match, frame: Frame) -> str:
    ref = match.image.ref
    when = f"<t:{int(ref.created_at.timestamp())}:R>"
    return frame.texts.search.posted.format(
        author=f"<@{ref.author_id}>", channel=f"<#{ref.channel.channel_id}>", when=when
    )


def _counts(match: Match, frame: Frame) -> Iterator[str]:
    if match.copies:
        yield frame.texts.search.copies.format(match.copies)
    if match.alike:
        yield frame.texts.search.alike.format(match.alike)
    if match.written and not _is_covered(match, frame):
        yield frame.texts.search.written


def _link(match: Match, frame: Frame) -> str:
    return f"[{frame.texts.search.open_message}]({match.image.ref.message_url})"


def _tags(match: Match, frame: Frame, max_characters: int) -> str:
    chinese = frame.texts is CHINESE
    line = frame.tags.line(match.image.tags, chinese=chinese, max_characters=max_characters)
    return f"||{line}||" if line and _is_covered(match, frame) else line  # who uncovers it may uncover its tags, too


def _alt_text(match: Match, frame: Frame) -> str:
    """The poster's own, else the tags. It cannot be covered."""
    texts = frame.texts.search
    if _is_covered(match, frame):
        return texts.image_alt_spoiler
    names = frame.tags.names(match.image.tags, chinese=frame.texts is CHINESE)
    tagged = texts.image_alt.format(tags=names) if names else texts.image_alt_without_tags
    return (visible(match.remote.description or "") or tagged)[:_ALT_TEXT_LIMIT]


def _is_covered(match: Match, frame: Frame) -> bool:
    return frame.covered or match.remote.spoiler


# -- what is said about them


def _nothing(result: SearchResult, frame: Frame) -> str:
    texts = frame.texts.search
    if result.unreachable:
        return texts.matches_unreachable
    if not result.searched:
        return texts.unverified if result.unverified else texts.nothing_to_search
    hints = []
    if frame.asked is Asked.WORDS:
        hints.append(texts.hint_other_words)
    if frame.limited:
        hints.append(texts.hint_limits)
    if result.nearest:
        hints.append(texts.hint_nearest)
    return "\n".join([texts.no_matches[frame.asked], *(f"- {hint}" for hint in hints)])


def _below(result: SearchResult, shown: Shown, frame: Frame) -> Iterator[str]:
    texts = frame.texts.search
    if result.matches:
        yield _total(result, frame)
        if result.unreachable:
            yield texts.more_unreachable.format(result.unreachable)
        if result.foldable or any(match.copies for match in result.matches):
            yield texts.copies_once if shown.folded else texts.copies_each
    if result.unverified and (result.matches or result.searched):
        yield texts.unverified
    yield from frame.notes


def _total(result: SearchResult, frame: Frame) -> str:
    texts = frame.texts.search
    if result.nearest:
        return texts.these_are_nearest
    total = (texts.more_than if result.more else texts.found).format(result.total)
    if result.total == len(result.matches):
        return total
    return f"{total} · {texts.places.format(first=result.first + 1, last=result.first + len(result.matches))}"


# -- what can be done with them


def _more_like_this(result: SearchResult, frame: Frame) -> ActionMenu:
    texts = frame.texts.search
    options = []
    for number, match in enumerate(result.matches, result.first + 1):
        names = "" if _is_covered(match, frame) else frame.tags.names(match.image.tags, chinese=frame.texts is CHINESE)
        option = discord.SelectOption(
            label=texts.picture_number.format(number=number),
            value=str(match.image.id),
            description=names[:_OPTION_LIMIT] or None,
        )
        options.append(option)
    return ActionMenu("like", options=options, placeholder=texts.more_like_this)


def _buttons(result: SearchResult, shown: Shown, frame: Frame) -> Iterator[ActionButton]:
    texts = frame.texts.search

    def button(label: str, emoji: str, to: Shown, *, disabled: bool = False) -> ActionButton:
        return ActionButton(
            "page", frame.answer_id, *to.arguments, owner=frame.owner, label=label, emoji=emoji, disabled=disabled
        )

    page, last = result.first // frame.page_size, (result.total - 1) // frame.page_size
    if result.nearest and not result.matches:
        yield button(texts.show_nearest, "🔭", replace(shown, page=0))
    if not result.matches:
        return
    if last > 0:
        yield button(texts.previous_page, "◀️", replace(shown, page=page - 1), disabled=page == 0)
        yield button(texts.next_page, "▶️", replace(shown, page=page + 1), disabled=page == last)
    view, emoji = (texts.gallery_view, "🖼️") if shown.listed else (texts.list_view, "📋")
    yield button(view, emoji, replace(shown, page=page, listed=not shown.listed))
    if result.foldable:
        label = texts.show_near_copies if shown.folded else texts.fold_near_copies
        yield button(label, "🧬", replace(shown, page=0, folded=not shown.folded))
