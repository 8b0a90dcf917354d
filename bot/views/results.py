"""What an answer looks like: a heading, and for each picture its thumbnail, score, tags, who, where and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import discord

from bot.answers import Answer, ShownPicture
from bot.records import Place
from bot.texts import CHINESE, Texts
from bot.views.buttons import MoreLikeThis
from bot.views.words import TagWords

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


def answer_view(answer: Answer, look: Look) -> View:
    """The layout of one answer, an empty-handed one included. At most six pictures fit the 40 components allowed."""
    if not answer.shown:
        return sentence_view(look.nothing if answer.searched else look.texts.nothing_to_search)
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(look.heading))
    for picture in answer.shown:
        view.add_item(_section(picture, look))
        view.add_item(_buttons(picture, look.texts))
    if look.note is not None:
        view.add_item(discord.ui.TextDisplay(f"-# {look.note}"))
    return view


def sentence_view(sentence: str) -> View:
    """A sentence alone, in the layout that answers have: a message cannot change between the two kinds."""
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(sentence))
    return view


def _section(picture: ShownPicture, look: Look) -> discord.ui.Section[View]:
    texts, tags = look.texts, picture.hit.picture.tags
    tag_line = look.tag_words.line(tags, chinese=texts is CHINESE) or texts.no_tags
    score = texts.match.format(percent=look.score(picture.hit.score))
    when = f"<t:{int(picture.created_at.timestamp())}:R>"
    posted = texts.posted.format(
        author=f"<@{picture.author_id}>", channel=_channel(picture.hit.picture.ref.place), when=when
    )
    thumbnail: discord.ui.Thumbnail[View] = discord.ui.Thumbnail(
        picture.sighting.url, description=_alt_text(picture, look), spoiler=picture.sighting.spoiler
    )
    return discord.ui.Section(f"{score} · {tag_line}\n{posted}", accessory=thumbnail)


def _buttons(picture: ShownPicture, texts: Texts) -> discord.ui.ActionRow[View]:
    row: discord.ui.ActionRow[View] = discord.ui.ActionRow()
    row.add_item(MoreLikeThis(picture.hit.picture.id, texts.more_like_this))
    row.add_item(discord.ui.Button(label=texts.open_message, url=picture.jump_url))
    return row


def _alt_text(picture: ShownPicture, look: Look) -> str:
    """The poster's own description where there is one; it says more than tags."""
    names = look.tag_words.names(picture.hit.picture.tags, chinese=look.texts is CHINESE)
    made = look.texts.picture_alt.format(tags=names) if names else look.texts.picture_alt_without_tags
    return (picture.sighting.description or made)[:_ALT_TEXT_LIMIT]


def _channel(place: Place) -> str:
    return f"<#{place.channel_id}>"
