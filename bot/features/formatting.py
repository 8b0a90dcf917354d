"""How scores, tags and people's text appear in messages."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from unicodedata import category

import discord
from babel.dates import format_timedelta

from bot.discord_io.messages import LABEL_EMOJI
from bot.i18n import Texts
from bot.indexing.labels import LabelBook
from bot.label_names import label_key
from bot.models import Asked, Strength, Tag

_JOINERS = "\u200c\u200d"  # of emoji, and of Persian and Indian scripts
_MARKUP = re.compile(r"[\\*_~`|<>\[\]#@:/]|^[-+]")
_SHORT = 100
_FAIR, _STRONG = 0.5, 0.75  # of what `strength` goes by
_TAG_LINE_CHARACTERS = 300


def strength(score: float, asked: Asked, threshold: float, logit_scale: float) -> Strength:
    """How well an image matches that has this score. A weak match is one below the threshold."""
    share = _of_words(score, threshold, logit_scale) if asked is Asked.WORDS else _of_likeness(score, threshold)
    if share < _FAIR:
        return Strength.WEAK
    return Strength.STRONG if share >= _STRONG else Strength.FAIR


def _of_words(score: float, threshold: float, logit_scale: float) -> float:
    """A cosine of a text and an image as a share: a half at the model's threshold, growing with the score.

    A logistic curve over the distance from the threshold. Its slope follows the model's logit scale, because a small
    distance means more where a model spreads its cosines less; a quarter of it keeps good and better apart.
    """
    return 1 / (1 + math.exp(-(score - threshold) * logit_scale / 4))


def _of_likeness(score: float, threshold: float) -> float:
    """A cosine of two images as a share: a half at the model's threshold, 1 for the same image."""
    return 0.5 + 0.5 * (score - threshold) / max(1 - threshold, 1e-6)


def visible(text: str) -> str:
    """People's text on one line, without control characters and without invisible ones, which may turn the direction
    of what follows. As it is for what renders no markup: alt text and suggestions.
    """
    shown = (char for char in text if char.isspace() or char in _JOINERS or category(char) not in ("Cc", "Cf", "Cs"))
    return " ".join("".join(shown).split())


def plain(text: str) -> str:
    """People's text on one line, with nothing that Discord would render, wherever it stands: no markup, mention, link,
    timestamp, command, invite or emoji code, and nothing invisible.
    """
    return discord.utils.escape_mentions(_MARKUP.sub(r"\\\g<0>", visible(text)))


def short_plain(text: str) -> str:
    """As much of it as a sentence can hold."""
    one_line = visible(text)
    return plain(one_line if len(one_line) <= _SHORT else one_line[: _SHORT - 1] + "…")


def listed(mentions: Sequence[str], texts: Texts, *, most: int = 15) -> str:
    """As many as a line of a page holds, so that it keeps to 4000 characters however many there are."""
    shown = " ".join(mentions[:most])
    left = len(mentions) - most
    return shown if left <= 0 else f"{shown} {texts.settings.and_more.format(left)}"


def progress_bar(fraction: float, *, blocks: int = 20) -> str:
    """With the percentage, which is below 100 as long as anything is left."""
    done = max(0.0, min(1.0, fraction))
    filled = int(done * blocks)
    return f"`{'█' * filled}{'░' * (blocks - filled)}` {int(done * 100)} %"


def duration(seconds: float, texts: Texts) -> str:
    """Roughly, as people say it: "12 minutes"."""
    return format_timedelta(timedelta(seconds=max(1.0, seconds)), locale=texts.language, threshold=1.5)


class TagFormatter:
    """Writes tags with the emoji and the Chinese name of their label, where it is a default label."""

    def __init__(self, labels: LabelBook) -> None:
        self._labels = labels

    def use(self, labels: LabelBook) -> None:
        """From now on."""
        self._labels = labels

    def line(self, tags: Sequence[Tag], *, chinese: bool, max_characters: int = _TAG_LINE_CHARACTERS) -> str:
        """The first tags that fit, with their emoji."""
        line = ""
        for tag in for_reader(tags, chinese=chinese):
            label = self._labels.find(tag.label)
            name = plain(self.name(tag.label, chinese=chinese))
            longer = " · ".join(filter(None, (line, f"{label.emoji} {name}" if label is not None else name)))
            if len(longer) > max_characters:
                break
            line = longer
        return line

    def names(self, tags: Sequence[Tag], *, chinese: bool) -> str:
        """For alt text: without emoji."""
        shown = (self.name(tag.label, chinese=chinese) for tag in for_reader(tags, chinese=chinese))
        return ", ".join(map(visible, shown))

    def emoji(self, tags: Sequence[Tag]) -> list[str]:
        """The emoji of these tags, each once. A server's own labels have none and share one."""
        labels = (self._labels.find(tag.label) for tag in tags)
        return list(dict.fromkeys(label.emoji if label is not None else LABEL_EMOJI for label in labels))

    def name(self, label: str, *, chinese: bool) -> str:
        """A label as readers know it: a server's own are as it named them."""
        known = self._labels.find(label)
        shipped = known is not None and label_key(known.en) == label_key(label)
        return known.zh if known is not None and shipped and chinese else label

    def label_of(self, name: str) -> str:
        """The label that a reader means: the reverse of `name`."""
        known = self._labels.find(name)
        return known.en if known is not None else name


def for_reader(tags: Sequence[Tag], *, chinese: bool) -> list[Tag]:
    """Tags whose label is in the reader's language first, those in others last."""
    language = "zh" if chinese else "en"
    return sorted(tags, key=lambda tag: 1 if tag.language is None else 0 if tag.language.startswith(language) else 2)
