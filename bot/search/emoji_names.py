"""Emoji of a query as words: most models have read far more words than emoji."""

from __future__ import annotations

import re
import unicodedata

# Pictures, and the older symbols that are drawn as emoji. Flags are left as they are: they are pairs of letters.
_EMOJI = re.compile("[\u2600-\u27bf\u2b00-\u2bff\U0001f300-\U0001f3fa\U0001f400-\U0001faff]")
# What follows an emoji and names nothing: gender, the variation selector, the joiner, and tones of skin.
_MODIFIERS = re.compile("\u200d[\u2640\u2642]|[\ufe0f\u200d\U0001f3fb-\U0001f3ff]")
# Of a symbol's shape, in Unicode's names: ❤ is a HEAVY BLACK HEART, whatever its colour.
_SHAPE = re.compile(r"\b(?:BLACK|WHITE|HEAVY|MEDIUM|FACE)\b(?! WITH)")


def with_emoji_named(text: str) -> str:
    """Each emoji by its name in Unicode, as far as Python knows it; a text without any as it is."""
    if _EMOJI.search(text) is None:
        return text
    return " ".join(_EMOJI.sub(_name, _MODIFIERS.sub("", text)).split()) or text


def _name(emoji: re.Match[str]) -> str:
    name = unicodedata.name(emoji[0], "")
    words = _SHAPE.sub("", name).split()
    return f" {' '.join(words).lower()} " if words else emoji[0]
