"""The words that were recognized in images: how they are kept, and when somebody's words stand among them."""

from __future__ import annotations

import re
from unicodedata import east_asian_width, normalize

# Scripts of South-East Asia that are written without spaces, as are the wide ones of East Asia.
_THAI_TO_KHMER = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")


def fold_text(text: str) -> str:
    """Equal for texts that read the same, whatever their case, their width, and how they are broken into lines: on one
    line, and without spaces beside characters of scripts that have none.
    """
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    words = folded.split()
    parts = [
        (" " if last is not None and not (_is_unspaced(last[-1]) or _is_unspaced(word[0])) else "") + word
        for last, word in zip([None, *words], words, strict=False)
    ]
    return "".join(parts)


def is_searchable(words: str) -> bool:
    """Whether folded words tell anything: one letter alone does not, a Chinese character does."""
    return len(words) > 1 or any(map(_is_unspaced, words))


def stands_in(text: str, words: str) -> bool:
    """Whether these words stand in a text, both folded, as words of their own: `art` does not stand in `start`. Scripts
    without spaces do not tell where a word ends.
    """
    begin = text.find(words)
    while begin >= 0:
        end = begin + len(words)
        if not (_is_one_word(text[begin - 1 : begin], words[0]) or _is_one_word(words[-1], text[end : end + 1])):
            return True
        begin = text.find(words, begin + 1)
    return False


def _is_one_word(left: str, right: str) -> bool:
    """Whether no word ends between two characters that follow each other; either may be missing."""
    return left.isalnum() and right.isalnum() and not (_is_unspaced(left) or _is_unspaced(right))


def _is_unspaced(character: str) -> bool:
    return east_asian_width(character) in ("W", "F") or _THAI_TO_KHMER.match(character) is not None
