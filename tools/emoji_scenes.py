"""Emoji scenes: what is in one, where it stands, and its pixels. Everything random comes from the generator given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tools.emoji_concepts import ARTISTS, Concept, sprite_path

Pixels = npt.NDArray[np.uint8]

SIDE = 60
"""Pixels along each side of a scene."""
SIZES = (20, 24, 28, 32, 36, 40, 44, 48, 52, 56)
"""Pixels along a sprite's side: each is scaled once, when the sprites are loaded."""
BACKGROUNDS = (
    ("white", "白色", (255, 255, 255)),
    ("black", "黑色", (18, 18, 20)),
    ("grey", "灰色", (140, 140, 145)),
    ("red", "红色", (214, 48, 49)),
    ("orange", "橙色", (240, 147, 43)),
    ("yellow", "黄色", (250, 220, 90)),
    ("green", "绿色", (85, 180, 95)),
    ("blue", "蓝色", (66, 133, 230)),
    ("purple", "紫色", (142, 90, 200)),
    ("pink", "粉色", (250, 170, 200)),
    ("brown", "棕色", (130, 88, 60)),
)
HELD_OUT_PAIRS = 10
"""One concept pair in this many is never trained on."""
CELL = 4
"""Pixels of a cell of the grid of positions. One cell in seven is never trained on."""


NOISE = np.random.default_rng(7).standard_normal((32, SIDE, SIDE, 1), np.float32)
"""Grain for backgrounds. Drawn once: drawing it anew costs as much as the rest of an image."""
SHADED = 0.4
"""How many training scenes have shadows under things. Those for evaluation have none: their figures stay comparable."""
SHADOW = 0.18
"""How dark a shadow is at its middle."""


class Relation(Enum):
    ON = "on"
    NEXT_TO = "next to"


@dataclass(frozen=True, slots=True)
class Sprite:
    """A placed emoji. artist: index into ARTISTS; left, top: pixels; size: one of SIZES."""

    concept: int
    artist: int
    size: int
    left: int
    top: int
    flipped: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """What one image shows. The last sprite is drawn on top; background: index into BACKGROUNDS, None if nameless;
    shaded: whether each sprite throws a soft shadow."""

    concepts: tuple[int, ...]
    relation: Relation | None
    sprites: tuple[Sprite, ...]
    background: int | None
    seed: int
    shaded: bool = False


def is_held_out_pair(first: int, second: int) -> bool:
    """Whether a pair is kept for evaluation, whichever way round. A fixed hash: no list to store, no seed to lose."""
    low, high = sorted((first, second))
    return ((low * 2654435761 + high * 40503 + 12345) >> 7) % HELD_OUT_PAIRS == 0


def is_held_out_position(left: int, top: int) -> bool:
    """Whether a sprite's corner lies in a cell that is kept for evaluation."""
    return (left // CELL * 3 + top // CELL * 5) % 7 == 3


def load_sprites(art: Path, concepts: list[Concept]) -> dict[int, Pixels]:
    """Every sprite at every size: {size: uint8 [concepts, artists, size, size, 4]}, RGBA with straight alpha."""
    return scale_sprites([[sprite_path(art, artist, concept.id) for artist in ARTISTS] for concept in concepts])


def scale_sprites(files: list[list[Path]]) -> dict[int, Pixels]:
    """files: for each concept, each artist's image. Returns what `load_sprites` does."""
    sprites = {size: np.zeros((len(files), len(ARTISTS), size, size, 4), np.uint8) for size in SIZES}
    for index, drawn in enumerate(files):
        for artist, path in enumerate(drawn):
            with Image.open(path) as file:
                image = file.convert("RGBA")
            for size in SIZES:
                sprites[size][index, artist] = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    return sprites


def single(
    concept: int, rng: np.random.Generator, *, held_out: bool = False, plain: bool = False, spread: float = 1.0
) -> Scene:
    """One emoji somewhere in the image.

    held_out: only positions that training never uses; spread: 1 allows every size and place, less keeps it large and
    near the middle.
    """
    while True:
        size = int(SIZES[rng.integers(round(3 + 4 * (1 - spread)), len(SIZES))])
        room = SIDE - size
        left, top = (round(room / 2 + (rng.random() - 0.5) * room * spread) for _ in range(2))
        if is_held_out_position(left, top) == held_out:
            break
    sprite = Sprite(concept, _artist(rng), size, left, top, _flip(rng))
    ground, seed = _background(rng, plain), _seed(rng)
    return Scene((concept,), None, (sprite,), ground, seed, _is_shaded(rng, held_out))


def pair(first: int, second: int, rng: np.random.Generator, *, held_out: bool = False, plain: bool = False) -> Scene:
    """Two emoji: the first stands on the second, or beside it."""
    relation = Relation.ON if rng.random() < 0.5 else Relation.NEXT_TO
    place = _place_on if relation is Relation.ON else _place_beside
    sprites = place(first, second, rng, held_out)
    ground, seed = _background(rng, plain), _seed(rng)
    return Scene((first, second), relation, sprites, ground, seed, _is_shaded(rng, held_out))


def empty(rng: np.random.Generator) -> Scene:
    """A background and nothing on it: what the model must learn to call nothing."""
    return Scene((), None, (), _background(rng, False), _seed(rng))


def render(scene: Scene, sprites: dict[int, Pixels]) -> Pixels:
    """uint8 [SIDE, SIDE, 3]."""
    canvas = _paint_background(scene)
    for sprite in scene.sprites:
        if scene.shaded:
            _shade(canvas, sprite)
        image = sprites[sprite.size][sprite.concept, sprite.artist]
        if sprite.flipped:
            image = image[:, ::-1]
        window = canvas[sprite.top : sprite.top + sprite.size, sprite.left : sprite.left + sprite.size]
        alpha = image[..., 3:].astype(np.float32) / 255
        window += alpha * (image[..., :3] - window)
    return canvas.clip(0, 255).astype(np.uint8)


def _shade(canvas: npt.NDArray[np.float32], sprite: Sprite) -> None:
    """Darkens a flat ellipse at the sprite's foot."""
    across, foot = sprite.left + sprite.size / 2, sprite.top + 0.96 * sprite.size
    first = int(foot - 0.15 * sprite.size)
    rows = np.arange(first, min(SIDE, int(foot + 0.15 * sprite.size) + 1), dtype=np.float32)[:, None]
    columns = np.arange(sprite.left, sprite.left + sprite.size, dtype=np.float32)
    distance = ((columns + 0.5 - across) / (0.36 * sprite.size)) ** 2 + (
        (rows + 0.5 - foot) / (0.08 * sprite.size)
    ) ** 2
    darkness = SHADOW * np.clip(1.3 - distance, 0, 1)
    canvas[first : first + len(rows), sprite.left : sprite.left + sprite.size] *= 1 - darkness[..., None]


def _place_on(first: int, second: int, rng: np.random.Generator, held_out: bool) -> tuple[Sprite, ...]:
    while True:
        upper, lower = (int(SIZES[rng.integers(1, 5)]) for _ in range(2))
        lower = max(lower, upper)
        sink = int(rng.integers(0, upper // (3 if held_out else 2) + 1))
        height = min(upper + lower - sink, SIDE)
        left, top = int(rng.integers(SIDE - lower + 1)), int(rng.integers(SIDE - height + 1))
        upper_left = min(left + int(rng.integers(lower - upper + 1)), SIDE - upper)
        if is_held_out_position(upper_left, top) == held_out:
            below = Sprite(second, _artist(rng), lower, left, top + height - lower, _flip(rng))
            return below, Sprite(first, _artist(rng), upper, upper_left, top, _flip(rng))


def _place_beside(first: int, second: int, rng: np.random.Generator, held_out: bool) -> tuple[Sprite, ...]:
    while True:
        sizes = [int(SIZES[rng.integers(1, 4)]) for _ in range(2)]
        sizes[1] = min(sizes[1], SIDE - sizes[0])
        gap = int(rng.integers(0, SIDE - sum(sizes) + 1))
        left = int(rng.integers(SIDE - sum(sizes) - gap + 1))
        tops = [int(rng.integers(SIDE - size + 1)) for size in sizes]
        tops[1] = int(np.clip(tops[1], tops[0] - 12, tops[0] + 12))
        if is_held_out_position(left, tops[0]) == held_out:
            left_hand = Sprite(first, _artist(rng), sizes[0], left, tops[0], _flip(rng))
            right = Sprite(
                second, _artist(rng), sizes[1], left + sizes[0] + gap, min(tops[1], SIDE - sizes[1]), _flip(rng)
            )
            return left_hand, right


def cells(scene: Scene, grid: int) -> npt.NDArray[np.int64]:
    """int64 [grid * grid]: which concept covers the middle of each cell of the image, -1 for none.

    The outer eighth of a sprite does not count: artwork seldom reaches its corners.
    """
    seen = np.full((grid, grid), -1)
    middles = (np.arange(grid) + 0.5) * SIDE / grid
    for sprite in scene.sprites:
        margin = sprite.size / 8
        across = np.abs(middles - sprite.left - sprite.size / 2) < sprite.size / 2 - margin
        down = np.abs(middles - sprite.top - sprite.size / 2) < sprite.size / 2 - margin
        seen[np.ix_(down, across)] = sprite.concept
    return seen.reshape(-1)


def _is_shaded(rng: np.random.Generator, held_out: bool) -> bool:
    return not held_out and bool(rng.random() < SHADED)


def _artist(rng: np.random.Generator) -> int:
    return int(rng.integers(len(ARTISTS)))


def _flip(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.1)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _background(rng: np.random.Generator, plain: bool) -> int | None:
    return int(rng.integers(len(BACKGROUNDS))) if plain or rng.random() < 0.6 else None


def _paint_background(scene: Scene) -> npt.NDArray[np.float32]:
    """A named colour, slightly varied; otherwise any colour, a gradient between two, or either with noise."""
    rng = np.random.default_rng(scene.seed)
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    if scene.background is not None:
        canvas[:] = np.array(BACKGROUNDS[scene.background][2]) + rng.integers(-10, 11, 3)
        return canvas.clip(0, 255)
    canvas[:] = rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        slope = np.linspace(0, 1, SIDE, dtype=np.float32)
        ramp = slope[:, None, None] if rng.random() < 0.5 else slope[None, :, None]
        canvas += ramp * (rng.integers(0, 256, 3) - canvas)
    if rng.random() < 0.5:
        canvas += NOISE[rng.integers(len(NOISE))] * np.float32(rng.uniform(4, 24))
    return canvas.clip(0, 255)
