"""What an answer looks like: a heading, and for each image its thumbnail, score, tags, who, where and when."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import discord

from bot.i18n import CHINESE, Texts
from bot.indexing.labels import LabelBook
from bot.models import Match, SearchResult, Tag

ANY_TAG = "🏷️"
_SHOWN_QUERY = 100
_LINE = 300  # six results with their tags stay below the 4000 characters that a message may show


def percent(score: float, threshold: float, logit_scale: float) -> int:
    """A cosine as a figure for people: 50 where the model begins to find things alike, towards 99 the closer it is.

    A logistic curve over the distance from the threshold. Its slope follows the model's logit scale, because a small
    distance means more where a model spreads its cosines less; a quarter of it leaves room to tell good from better.
    """
    share = 1 / (1 + math.exp(-(score - threshold) * logit_scale / 4))
    return max(1, min(99, round(100 * share)))


def likeness_percent(score: float, threshold: float) -> int:
    """The same for two images, where a cosine of 1 is a known end: the same image. 50 at the threshold."""
    if threshold >= 1:
        return 100 if score >= 1 else 50
    share = 0.5 + 0.5 * (score - threshold) / (1 - threshold)
    return max(1, min(100, round(100 * share)))


def plain(text: str) -> str:
    """Text by people, made harmless: no markup, no mention, one line."""
    return discord.utils.escape_mentions(discord.utils.escape_markdown(" ".join(text.split())))


def short_query(text: str) -> str:
    one_line = " ".join(text.split())
    return plain(one_line if len(one_line) <= _SHOWN_QUERY else one_line[: _SHOWN_QUERY - 1] + "…")


class TagWords:
    """Tags as people read them: with their emoji, and in Chinese where the label is one that Magpie knows."""

    def __init__(self, book: LabelBook) -> None:
        self._book = book

    def line(self, tags: Sequence[Tag], *, chinese: bool, most: int = _LINE) -> str:
        """As many of the tags as fit `most` characters, the first ones first."""
        line = ""
        for tag in tags:
            word = self.word(tag.label, chinese=chinese)
            longer = f"{line} · {word}" if line else word
            if len(longer) > most:
                break
            line = longer
        return line

    def word(self, label: str, *, chinese: bool) -> str:
        known = self._book.find(label)
        if known is None:
            return plain(label)
        return f"{known.emoji} {plain(known.zh if chinese else label)}"

    def emoji(self, tags: Sequence[Tag]) -> list[str]:
        """The emoji of these tags, each once. Labels of a server's own have none and share a plain one."""
        known = (self._book.find(tag.label) for tag in tags)
        return list(dict.fromkeys(label.emoji if label is not None else ANY_TAG for label in known))

    def names(self, tags: Sequence[Tag], *, chinese: bool) -> str:
        """For alt text: names alone."""
        words = []
        for tag in tags:
            known = self._book.find(tag.label)
            words.append(known.zh if known is not None and chinese else tag.label)
        return ", ".join(words)


class MoreLikeThis(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.LayoutView]], template=r"magpie:like:(?P<image_id>\d{1,19})"
):
    """Asks for the look-alikes of one remembered image. Reported as the event `more_like_this`."""

    def __init__(self, image_id: int, label: str = "…") -> None:
        super().__init__(discord.ui.Button(label=label, emoji="🔍", custom_id=f"magpie:like:{image_id}"))
        self.image_id = image_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(int(match["image_id"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        interaction.client.dispatch("more_like_this", interaction, self.image_id)


class ConfirmForget(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.LayoutView]], template=r"magpie:forget:(?P<user_id>\d{1,19})"
):
    """Confirms /forget-me, for the person it was shown to. Reported as the event `forget_confirmed`."""

    def __init__(self, user_id: int, label: str = "…") -> None:
        super().__init__(
            discord.ui.Button(label=label, style=discord.ButtonStyle.danger, custom_id=f"magpie:forget:{user_id}")
        )
        self.user_id = user_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(int(match["user_id"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        interaction.client.dispatch("forget_confirmed", interaction, self.user_id)


View = discord.ui.LayoutView
_ALT_TEXT_LIMIT = 1024  # developer docs, components reference, unfurled media


@dataclass(frozen=True, slots=True)
class Look:
    """How to word an answer. score: a hit's cosine as a percentage; nothing: what to say when nothing is alike."""

    texts: Texts
    tag_words: TagWords
    score: Callable[[float], int]
    heading: str
    nothing: str
    note: str | None = None


def answer_view(result: SearchResult, look: Look) -> View:
    """The layout of one answer, an empty-handed one included. At most six images fit the 40 components allowed."""
    if not result.matches:
        return sentence_view(look.nothing if result.searched else look.texts.nothing_to_search)
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(look.heading))
    for match in result.matches:
        view.add_item(_section(match, look))
        view.add_item(_buttons(match, look.texts))
    if look.note is not None:
        view.add_item(discord.ui.TextDisplay(f"-# {look.note}"))
    return view


def sentence_view(sentence: str) -> View:
    """A sentence alone, in the layout that answers have: a message cannot change between the two kinds."""
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(sentence))
    return view


def _section(match: Match, look: Look) -> discord.ui.Section[View]:
    texts, ref, tags = look.texts, match.image.ref, match.image.tags
    tag_line = look.tag_words.line(tags, chinese=texts is CHINESE) or texts.no_tags
    score = texts.match.format(percent=look.score(match.score))
    when = f"<t:{int(ref.created_at.timestamp())}:R>"
    posted = texts.posted.format(author=f"<@{ref.author_id}>", channel=f"<#{ref.channel.channel_id}>", when=when)
    thumbnail: discord.ui.Thumbnail[View] = discord.ui.Thumbnail(
        match.remote.url, description=_alt_text(match, look), spoiler=match.remote.spoiler
    )
    return discord.ui.Section(f"{score} · {tag_line}\n{posted}", accessory=thumbnail)


def _buttons(match: Match, texts: Texts) -> discord.ui.ActionRow[View]:
    row: discord.ui.ActionRow[View] = discord.ui.ActionRow()
    row.add_item(MoreLikeThis(match.image.id, texts.more_like_this))
    row.add_item(discord.ui.Button(label=texts.open_message, url=match.image.ref.message_url))
    return row


def _alt_text(match: Match, look: Look) -> str:
    """The poster's own description where there is one; it says more than tags."""
    names = look.tag_words.names(match.image.tags, chinese=look.texts is CHINESE)
    made = look.texts.image_alt.format(tags=names) if names else look.texts.image_alt_without_tags
    return (match.remote.description or made)[:_ALT_TEXT_LIMIT]
