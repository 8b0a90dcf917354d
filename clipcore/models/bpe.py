"""CLIP's tokenizer, word for word as OpenAI published it, from merges that ship with the package."""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html.entities import html5
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, models, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder

from clipcore.errors import BadInput, TextTooLong


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


CONTEXT_LENGTH = 77
START, END = 49406, 49407
_SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END}
_MERGES = Path(__file__).parent.parent / "vocabulary" / "clip_merges.txt.gz"
_END_OF_WORD = "</w>"
# Letters run together, digits stand alone, all else runs together; English contractions and the two marks are units.
# U+0345 falls through, as it does where the original ignores the case of "not a letter": its capital is a letter.
_UNITS = r"<\|startoftext\|>|<\|endoftext\|>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\u0345]+"

Merges = list[tuple[str, str]]
TokenIds = npt.NDArray[np.int32]


def token_ids(texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH, *, truncate: bool = False) -> TokenIds:
    """Returns int32 [n, context_length]: 49406, the text, 49407, and zeros behind.

    truncate: cut what is longer, keeping the end mark. Otherwise it raises TextTooLong. Identical to
    `clip.tokenize` of https://github.com/openai/CLIP, but for text in the wrong encoding (see text_repair.py).
    """
    if context_length < 2:
        raise BadInput(f"A context of {context_length} tokens has no room for the two marks; give 77, as CLIP has.")
    texts = [texts] if isinstance(texts, str) else texts
    ids = np.zeros((len(texts), context_length), np.int32)
    for number, text in enumerate(texts):
        row = [START, *_tokenizer().encode(text), END]
        if len(row) > context_length:
            if not truncate:
                raise TextTooLong(number, text, len(row), context_length)
            row = [*row[: context_length - 1], END]
        ids[number, : len(row)] = row
    return ids


def text_of(ids: Iterable[int]) -> str:
    """The words again, as far as tokens tell: in lower case, a space after each, up to the end mark."""
    return _tokenizer().decode(ids)


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    units: pre_tokenizers.PreTokenizer
    model: models.BPE

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for unit, _ in self.units.pre_tokenize_str(clean(text)):
            if special := _SPECIAL.get(unit):
                ids.append(special)
            else:
                ids.extend(token.id for token in self.model.tokenize(unit))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Bytes of one character may lie in several tokens, so they are joined before they are read."""
        words = takewhile(lambda number: number != END, (int(number) for number in ids if number != START))
        tokens = [self.model.id_to_token(number) for number in words]
        # The decoder's own sign for a space stands where a word ended.
        text: str = ByteLevelDecoder().decode([token.replace(_END_OF_WORD, "Ġ") for token in tokens if token])
        return text.strip()


@cache
def merges() -> Merges:
    """CLIP's own, the earliest learnt first."""
    with gzip.open(_MERGES, "rt", encoding="utf-8") as lines:
        return [(first, second) for first, second in (line.split() for line in lines)]


def vocabulary(learned: Merges) -> dict[str, int]:
    """Token -> id: the bytes, the bytes that end a word, what each merge makes of two tokens, and the two marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + _END_OF_WORD for letter in letters), *map("".join, learned), *_SPECIAL]
    return {token: number for number, token in enumerate(tokens)}


@cache
def _tokenizer() -> _Tokenizer:
    units = [
        pre_tokenizers.Split(Regex(_UNITS), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    model = models.BPE(vocabulary(merges()), merges(), end_of_word_suffix=_END_OF_WORD)
    return _Tokenizer(pre_tokenizers.Sequence(units), model)
