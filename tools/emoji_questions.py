"""What the bundled model is asked in training beside captions: names, plurals, emoji, kinds of things, and words that
nothing here answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tools.emoji_captions import SINGLE_EN, SINGLE_ZH, with_article
from tools.emoji_concepts import Concept
from tools.emoji_plurals import plural
from tools.emoji_words import Word, Wording, is_held_out_member, is_held_out_word

PLURAL_EN = ("{x}", "{x}", "{x}", "two {x}", "some {x}", "many {x}", "lots of {x}", "photos of {x}", "pictures of {x}")
PLURAL_ZH = ("两个{x}", "几个{x}", "一些{x}", "很多{x}", "{x}们", "许多{x}的照片")
KIND_EN = ("{x}", "{x}", "{x}", "{ax}", "a photo of {ax}", "pictures of {x}", "some {x}")
KIND_ZH = ("{x}", "{x}", "{x}", "{x}的照片", "一些{x}", "一张{x}的图片")
EMOJI = ("{x}", "{x}", "{x}", "{x}{x}", "a photo of {x}", "{x} emoji", "{x}的照片", "{x}!")
SHARES = {"name": 0.16, "plural": 0.18, "emoji": 0.14, "tag": 0.18, "category": 0.17, "absent": 0.17}
SHOWN_SHARE = 0.8
"""How often a question is for something that the batch shows."""
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class Question:
    """right: the concepts that answer it; undecided: those of which nothing is said. All others are wrong."""

    text: str
    right: frozenset[int]
    undecided: frozenset[int] = frozenset()


class Questions:
    """Draws questions. Held-out plurals, members of categories and words for nothing here never come up."""

    def __init__(self, concepts: list[Concept], wording: Wording) -> None:
        self._concepts = concepts
        self._wording = wording
        self._kinds = {word.text: word.right for category in wording.categories for word in category.words}
        self._tags_of: list[list[Word]] = [[] for _ in concepts]
        for tag in wording.tags:
            for index in tag.right:
                self._tags_of[index].append(tag)
        self._absent = [
            [word for word in words if not is_held_out_word(word)] for words in (wording.absent_en, wording.absent_zh)
        ]

    def draw(self, count: int, shown: Sequence[int], rng: np.random.Generator) -> list[Question]:
        """shown: the concepts in the batch's images."""
        kinds = rng.choice(list(SHARES), size=count, p=list(SHARES.values()))
        return [self._ask(str(kind), shown, rng) for kind in kinds]

    def _ask(self, kind: str, shown: Sequence[int], rng: np.random.Generator) -> Question:
        chinese = bool(rng.random() < 0.5)
        if kind == "absent":
            return Question(self._nothing_here(chinese, rng), frozenset())
        if kind == "category":
            return self._category(chinese, rng)
        place = (
            int(_pick(shown, rng)) if shown and rng.random() < SHOWN_SHARE else int(rng.integers(len(self._concepts)))
        )
        if kind == "tag" and (tags := [tag for tag in self._tags_of[place] if tag.chinese == chinese]):
            tag = _pick(tags, rng)
            return Question(_of_kind(tag.text, chinese, rng), tag.right, tag.undecided)
        concept, right = self._concepts[place], frozenset({place})
        if kind == "emoji":
            return Question(_pick(EMOJI, rng).format(x=_pick(self._wording.emoji[place], rng)), right)
        if kind == "plural":
            many = concept.zh if chinese else plural(concept.en)
            if chinese or (many != concept.en and not is_held_out_word(many)):
                text = _pick(PLURAL_ZH if chinese else PLURAL_EN, rng).format(x=many)
                return Question(text, right, self._kind(many) - right)
        name = concept.zh if chinese else concept.en
        text = _pick(SINGLE_ZH if chinese else SINGLE_EN, rng).format(x=name, ax=with_article(name))
        return Question(text, right, self._kind(name) - right)

    def _kind(self, name: str) -> frozenset[int]:
        """What else goes by a concept's name: an owl is a bird, too."""
        return self._kinds.get(name, frozenset())

    def _category(self, chinese: bool, rng: np.random.Generator) -> Question:
        category = _pick(self._wording.categories, rng)
        word = _pick([word for word in category.words if word.chinese == chinese], rng)
        unheard = frozenset(i for i in word.right if is_held_out_member(category.id, self._concepts[i]))
        return Question(_of_kind(word.text, chinese, rng), word.right - unheard, word.undecided | unheard)

    def _nothing_here(self, chinese: bool, rng: np.random.Generator) -> str:
        if rng.random() < 0.1:
            return _pick(self._wording.absent_emoji, rng)
        if rng.random() < 0.35:
            return gibberish(self._absent[1] if chinese else [], rng)
        words = [_pick(self._absent[chinese], rng) for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.5 else 1)]
        text = ("" if chinese else " ").join(words)
        return _of_kind(text, chinese, rng)


def gibberish(characters: Sequence[str], rng: np.random.Generator) -> str:
    """Letters at random, syllables that mean nothing, a slip of the hand over the keys, or figures; where words are
    given, their characters thrown together."""
    length = int(rng.integers(3, 10))
    if characters:
        return "".join(_pick(_pick(characters, rng), rng) for _ in range(max(2, length // 2)))
    kind = int(rng.integers(4))
    if kind == 0:
        return _of("abcdefghijklmnopqrstuvwxyz", length, rng)
    if kind == 1:
        return "".join(_of("bcdfghjklmnprstvwz", 1, rng) + _of("aeiou", 1, rng) for _ in range(length // 2 + 1))
    if kind == 2:
        return _of(_pick(KEYS, rng)[int(rng.integers(4)) :], length, rng)
    return _of("0123456789!?.-#", length, rng)


def _of_kind(text: str, chinese: bool, rng: np.random.Generator) -> str:
    return _pick(KIND_ZH if chinese else KIND_EN, rng).format(x=text, ax=with_article(text))


def _pick(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    return choices[int(rng.integers(len(choices)))]


def _of(alphabet: str, length: int, rng: np.random.Generator) -> str:
    return "".join(_pick(alphabet, rng) for _ in range(length))
