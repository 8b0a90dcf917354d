"""Whether a model can read what somebody wrote: the script of a text against the languages of its training.

A model of English captions gives a Chinese query some embedding, too, and then finds any images. The script tells that
in advance; which language is written in it is not guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum


class Script(StrEnum):
    LATIN = "latin"
    HAN = "han"
    KANA = "kana"
    HANGUL = "hangul"
    CYRILLIC = "cyrillic"
    GREEK = "greek"
    ARABIC = "arabic"
    HEBREW = "hebrew"
    DEVANAGARI = "devanagari"
    THAI = "thai"
    OTHER = "other"


def unread_script(text: str, languages: Sequence[str]) -> Script | None:
    """The script that most of the text's words are in, if the model reads none of it; None otherwise.

    languages: as on the model's card. None as well for a text without letters, such as emoji, and for a model of
    unknown languages or of many.
    """
    if not languages or not all(language in _WRITTEN_IN for language in languages):
        return None
    read = frozenset[Script]().union(*(_WRITTEN_IN[language] for language in languages))
    words = Counter(_scripts_of_words(text))
    if sum(count for script, count in words.items() if script in read) * 2 >= words.total():
        return None
    return max(words.keys() - read, key=words.__getitem__)


def _scripts_of_words(text: str) -> Iterable[Script]:
    """Chinese and Japanese have no spaces; their words are mostly two characters."""
    for run in _WORD.findall(unicodedata.normalize("NFKC", text)):
        scripts = [_script_of(letter) for letter in run]
        yield from scripts[::2] if scripts[0] in (Script.HAN, Script.KANA) else scripts[:1]


def _script_of(letter: str) -> Script:
    return _BY_NAME.get(re.split("[ -]", unicodedata.name(letter, ""))[0], Script.OTHER)


# By ISO 639 code. Models of many languages ("mul") are left out, since they read any script.
_WRITTEN_IN: dict[str, frozenset[Script]] = {"en": frozenset({Script.LATIN}), "zh": frozenset({Script.HAN})}
# By the first word of their letters' names in Unicode. Ideographs have no letters of other scripts between them.
_BY_NAME = {
    "CJK": Script.HAN,
    **{name: Script.KANA for name in ("HIRAGANA", "KATAKANA")},
    **{script.name: script for script in Script},
}
_HAN_OR_KANA = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_HAN_OR_KANA}]+|[^\\W\\d_{_HAN_OR_KANA}]+")
