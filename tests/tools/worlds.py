"""A small world of made-up sprites, so that the generator can be tested without the artwork."""

from __future__ import annotations

import numpy as np

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tools.emoji_concepts import ARTISTS, Concept, read_labels
from tools.emoji_scenes import SIZES, Pixels
from tools.emoji_words import Category, Word, Wording, plain_emoji

LABELS = BUNDLED_DIRECTORY / "labels.json"


def shipped_concepts() -> list[Concept]:
    return read_labels(LABELS)


def made_up_sprites(count: int) -> dict[int, Pixels]:
    """Each concept and artist a colour of its own, opaque in the middle half."""
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (count, len(ARTISTS), 1, 1, 3))
    sprites = {}
    for size in SIZES:
        sprite = np.zeros((count, len(ARTISTS), size, size, 4), np.uint8)
        sprite[..., :3] = colours
        sprite[:, :, size // 4 : -size // 4, size // 4 : -size // 4, 3] = 255
        sprites[size] = sprite
    return sprites


def small_wording(concepts: list[Concept]) -> Wording:
    """Words for the shipped concepts without the package that they come from: the first forty are animals."""
    members = frozenset(range(40))
    words = tuple(
        Word(text, chinese, members) for text, chinese in (("animal", False), ("beasts", False), ("动物", True))
    )
    return Wording(
        categories=(Category("animal", words, members),),
        tags=(Word("pet", False, frozenset({0, 1}), frozenset({2})), Word("宠物", True, frozenset({0, 1}))),
        emoji=tuple((plain_emoji(concept.emoji),) for concept in concepts),
        absent_en=("parliament", "quantum", "yesterday", "invoice", "tax", "senate", "protocol", "justice", "theorem"),
        absent_zh=("量子", "会议", "昨天", "法律", "政治", "经济", "哲学", "逻辑", "历史", "合同", "星期三"),
        absent_emoji=("🦫", "🔣"),
    )
