"""Which emoji the bundled model knows, and what they are called in English and Simplified Chinese.

Names come from emojibase-data; the selection and a few clearer names from emoji_selection.json beside this file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

ARTISTS = ("google", "twitter")
MAX_SYNONYMS = 3
WHOLE_GROUPS = frozenset({3, 4, 5, 6, 7})
"""emojibase's numbers: animals and nature, food and drink, travel and places, activities, objects."""
SELECTION = Path(__file__).with_name("emoji_selection.json")


class Selection(TypedDict):
    """left_out, brought_in: code points such as "1F431", parted by spaces; names: code points to [English, Chinese]."""

    left_out: str
    brought_in: str
    names: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing the model knows. id: the emoji's code points in lower case, joined by "-"."""

    id: str
    emoji: str
    en: str
    zh: str
    synonyms_en: tuple[str, ...]
    synonyms_zh: tuple[str, ...]


def load_concepts(art: Path) -> list[Concept]:
    """Reads the unpacked npm packages under `art`. The order is emojibase's, so it is the same every time."""
    english = _by_code(art / "emojibase-data" / "en" / "data.json")
    chinese = _by_code(art / "emojibase-data" / "zh" / "data.json")
    selection: Selection = json.loads(SELECTION.read_text("utf-8"))
    codes = [code for code, entry in english.items() if code in chinese and _is_chosen(code, entry, selection)]
    drawn = [code for code in codes if all(sprite_path(art, artist, code.lower()).exists() for artist in ARTISTS)]
    names_en = {code: _name(code, english[code], selection, 0) for code in drawn}
    names_zh = {code: _name(code, chinese[code], selection, 1) for code in drawn}
    synonyms_en = _synonyms(names_en, english)
    synonyms_zh = _synonyms(names_zh, chinese)
    return [
        Concept(
            code.lower(), english[code]["emoji"], names_en[code], names_zh[code], synonyms_en[code], synonyms_zh[code]
        )
        for code in drawn
    ]


def sprite_path(art: Path, artist: str, concept_id: str) -> Path:
    """Where an artist's 64 x 64 image of an emoji lies; some file names carry a variation selector."""
    folder = art / f"emoji-datasource-{artist}" / "img" / artist / "64"
    plain = folder / f"{concept_id}.png"
    return plain if plain.exists() else folder / f"{concept_id}-fe0f.png"


def labels_json(concepts: Iterable[Concept]) -> str:
    """The shipped labels file: one concept a line."""
    lines = (json.dumps(asdict(concept), ensure_ascii=False) for concept in concepts)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def read_labels(path: Path) -> list[Concept]:
    """The concepts back from a labels file."""
    return [
        Concept(
            **{**entry, "synonyms_en": tuple(entry["synonyms_en"]), "synonyms_zh": tuple(entry["synonyms_zh"])},
        )
        for entry in json.loads(path.read_text("utf-8"))
    ]


def _by_code(path: Path) -> dict[str, dict[str, Any]]:
    return {entry["hexcode"]: entry for entry in json.loads(path.read_text("utf-8"))}


def _is_chosen(code: str, entry: dict[str, Any], selection: Selection) -> bool:
    if code in selection["left_out"].split():
        return False
    whole = entry.get("group") in WHOLE_GROUPS and entry.get("gender") is None
    return whole or code in selection["brought_in"].split()


def _name(code: str, entry: dict[str, Any], selection: Selection, language: int) -> str:
    label: str = selection["names"][code][language] if code in selection["names"] else entry["label"]
    return label.replace("’", "'")


def _synonyms(names: dict[str, str], entries: dict[str, dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Only words that point to one concept: a tag two concepts share would call a right answer wrong in training."""
    words = {code: _candidates(name, entries[code]) for code, name in names.items()}
    uses = Counter(word for found in words.values() for word in found)
    taken = {name.lower() for name in names.values()}
    return {
        code: tuple(word for word in found if uses[word] == 1 and word not in taken)[:MAX_SYNONYMS]
        for code, found in words.items()
    }


def _candidates(name: str, entry: dict[str, Any]) -> list[str]:
    """The original label, then the tags that share a word (in Chinese: a character) with the name."""
    tags = [str(tag).replace("’", "'").lower() for tag in entry.get("tags", ())]
    parts = set(name.lower().split()) if name.isascii() else set(name)
    alike = [tag for tag in tags if parts & (set(tag.split()) if tag.isascii() else set(tag))]
    ordered = [str(entry["label"]).replace("’", "'").lower(), *alike]
    return [word for word in dict.fromkeys(ordered) if word != name.lower() and not word.isdigit()]
