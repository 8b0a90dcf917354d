"""CLIP's tokenizer, word for word as OpenAI published it, from merges that ship with the package."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, models, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder

from clipcore.errors import BadInput, TextTooLong
from clipcore.text_repair import clean

CONTEXT_LENGTH = 77
START, END = 49406, 49407
_SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END}
_MERGES = Path(__file__).parent / "vocabulary" / "clip_merges.txt.gz"
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
