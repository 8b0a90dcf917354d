"""Turns what was found into words: scores, tags, and text that cannot break out of its place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import discord

from bot.index.labels import LabelBook
from bot.records import Tag

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
    """The same for two pictures, where a cosine of 1 is a known end: the same picture. 50 at the threshold."""
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
