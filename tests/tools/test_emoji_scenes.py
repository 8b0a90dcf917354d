from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.worlds import made_up_sprites, shipped_concepts
from tools.emoji_scenes import (
    SIDE,
    Relation,
    Scene,
    cells,
    empty,
    is_held_out_pair,
    is_held_out_position,
    pair,
    render,
    single,
)

SEEDS = st.integers(0, 2**32 - 1)


def draw_any(seed: int, count: int = 40) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [scene for k in range(count) for scene in (single(k, rng), pair(k, k + 1, rng), empty(rng))]


def corner(scene: Scene) -> tuple[int, int]:
    """Where the sprite of the first concept named stands."""
    sprite = next(sprite for sprite in scene.sprites if sprite.concept == scene.concepts[0])
    return sprite.left, sprite.top


def test_the_same_seed_draws_the_same_scenes_and_the_same_pixels():
    sprites = made_up_sprites(41)
    first, second = draw_any(3), draw_any(3)
    assert first == second != draw_any(4)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(render(one, sprites), render(other, sprites))


@given(SEEDS)
def test_every_sprite_lies_inside_the_image(seed):
    for scene in draw_any(seed, 5):
        for sprite in scene.sprites:
            assert 0 <= sprite.left <= SIDE - sprite.size
            assert 0 <= sprite.top <= SIDE - sprite.size


@given(SEEDS, st.booleans())
def test_scenes_stand_where_they_are_asked_to_and_nowhere_else(seed, held_out):
    rng = np.random.default_rng(seed)
    scenes = [single(0, rng, held_out=held_out), pair(0, 1, rng, held_out=held_out)]
    assert all(is_held_out_position(*corner(scene)) == held_out for scene in scenes)


def test_about_a_tenth_of_all_pairs_is_held_out_whichever_way_round():
    count = len(shipped_concepts())
    held = [is_held_out_pair(a, b) for a in range(count) for b in range(a)]
    assert 0.08 < np.mean(held) < 0.12
    assert all(is_held_out_pair(a, b) == is_held_out_pair(b, a) for a in range(60) for b in range(60))


def test_what_stands_on_something_is_above_it_and_drawn_over_it():
    rng = np.random.default_rng(0)
    stacked = [scene for scene in (pair(0, 1, rng) for _ in range(100)) if scene.relation is Relation.ON]
    assert stacked
    for scene in stacked:
        below, above = scene.sprites
        assert (below.concept, above.concept) == (1, 0)
        assert above.top < below.top
        assert above.top + above.size > below.top - 1


def test_a_flipped_sprite_is_mirrored():
    sprites = made_up_sprites(1)
    for sheet in sprites.values():
        sheet[..., : sheet.shape[2] // 2, 3] = 0
    scene = single(0, np.random.default_rng(1))
    plain, flipped = (replace(scene, sprites=(replace(scene.sprites[0], flipped=flag),)) for flag in (False, True))
    sprite = scene.sprites[0]
    window = np.s_[sprite.top : sprite.top + sprite.size, sprite.left : sprite.left + sprite.size]
    assert not np.array_equal(render(plain, sprites)[window], render(flipped, sprites)[window])


def test_cells_name_the_concept_on_top():
    rng = np.random.default_rng(2)
    for _ in range(50):
        scene = pair(0, 1, rng)
        seen = set(cells(scene, 20).tolist())
        assert seen == {-1, 0, 1}
    assert set(cells(empty(rng), 5).tolist()) == {-1}
