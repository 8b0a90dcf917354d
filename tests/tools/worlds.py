"""A small world of made-up sprites, so that the generator can be tested without the artwork."""

from __future__ import annotations

import numpy as np

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tools.emoji_concepts import ARTISTS, Concept, read_labels
from tools.emoji_scenes import SIZES, Pixels

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
