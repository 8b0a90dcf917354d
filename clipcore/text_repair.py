"""What CLIP's tokenizer does to a text before it looks for words, with the standard library alone.

The original calls `ftfy.fix_text` and then unescapes HTML twice. ftfy's repairs are done here as its documentation
describes them (https://ftfy.readthedocs.io/en/latest/fixes.html), all but one: text that was decoded as the wrong
encoding ("sÃ³" for "só") is left as it is, since telling it apart takes ftfy's tables of what looks wrong.
"""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5


def clean(text: str) -> str:
    """As `clip.tokenize` sees it: repaired, HTML entities resolved, whitespace made single spaces, in lower case."""
    text = _unescape(_unescape(repair(text)))
    return " ".join(text.split()).lower()


def _unescape(text: str) -> str:
    """Python refuses to read a number of more than 4,300 digits; one far above the last character is U+FFFD to it."""
    return html.unescape(_ENDLESS_NUMBER.sub("&#9999999999", text))


def repair(text: str) -> str:
    """Line by line, since the first `<` says that this is markup and its entities, from there on, are meant."""
    markup = False
    lines = []
    for line in text.split("\n"):
        markup = markup or "<" in line
        lines.append(_repair_line(line, entities=not markup))
    return "\n".join(lines)


def _repair_line(line: str, *, entities: bool) -> str:
    """Until nothing changes, since one repair can lay bare what another is for; nobody means more than _MOST_ROUNDS."""
    for _ in range(_MOST_ROUNDS):
        before = line
        if entities:
            line = _ENTITY.sub(_resolved, _NESTED.sub("&", line))
        line = line.translate(_PLAINER)
        # Halves of a pair become their character, a half without its other becomes U+FFFD.
        line = line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        line = _TERMINAL_COLOURS.sub("", line).translate(_UNWANTED)
        line = unicodedata.normalize("NFC", line)
        if line == before:
            break
    return line


def _resolved(entity: re.Match[str]) -> str:
    whole, name = entity[0], entity[0][1:]
    if whole.startswith("&#"):
        plain = html.unescape(whole)
        return whole if ";" in plain else plain
    if name in html5:
        return html5[name]
    # Capitals of an entity that has no capitals of its own: &NTILDE; is meant to be Ñ.
    lower = name.lower()
    if name == lower.upper() and lower in html5 and html.unescape(whole) == whole:
        return html5[lower].upper()
    return whole


def _plainer() -> dict[int, str]:
    """What stands for characters that only look different: ligatures, full and half width, curly quotes, and bytes of
    Windows-1252 that were taken for control characters.
    """
    quotes = dict.fromkeys(map(ord, "\u02bc\u2018\u2019\u201a\u201b"), "'")
    quotes |= dict.fromkeys(range(0x201C, 0x2020), '"')
    ligatures = {ord(char): unicodedata.normalize("NFKC", char) for char in "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬆ"}
    ligatures[ord("ﬅ")] = "ſt"
    widths = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFF0)}
    windows = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
    lines = dict.fromkeys((0x0D, 0x2028, 0x2029), "\n")
    return {0x3000: " "} | widths | ligatures | quotes | windows | lines


_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
# An ampersand that was escaped again and again, which would else lose one escape a round: `&amp;amp;amp;`.
_NESTED = re.compile(r"&(?:(?:amp|AMP|#0{0,22}38|#[xX]0{0,21}26);)+")
_MOST_ROUNDS = 100
_ENDLESS_NUMBER = re.compile(r"&#[0-9]{4301,}")
_PLAINER = _plainer()
_TERMINAL_COLOURS = re.compile("\x1b\\[[\\d;]*[a-zA-Z]")
# Control characters but for whitespace, deprecated Arabic ones, interlinear annotation, object replacement, and the
# byte order mark.
_UNWANTED = dict.fromkeys(
    (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))
)
