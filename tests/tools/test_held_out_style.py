from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.datasets import open_pairs
from clipcore.images.decode import decode_image
from tests.tools.worlds import made_up_sprites, shipped_concepts
from tools.emoji_scenes import SIDE
from tools.held_out_style import Style, drawn_by_fluent, split, write_tsv


@given(st.integers(10, 700), st.integers(0, 2**32 - 1))
def test_no_concept_is_both_learnt_and_measured(count, seed):
    parts = split(count, seed)
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert [len(part) / count for part in parts] == pytest.approx([0.5, 0.1, 0.4], abs=0.1)


def test_the_tables_are_read_as_images_with_two_captions_each(tmp_path):
    style = Style(shipped_concepts()[:3], made_up_sprites(3))
    write_tsv(tmp_path / "train.tsv", style.training([0, 2], 2, np.random.default_rng(0)))
    pairs = open_pairs(tmp_path / "train.tsv")
    assert (len(pairs), len(pairs.images), list(pairs.problems)) == (8, 4, [])
    assert decode_image(pairs.images[0].read()).shape == (SIDE, SIDE, 3)
    assert pairs.image_of.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_measuring_shows_the_same_images_whatever_the_language():
    style = Style(shipped_concepts()[:3], made_up_sprites(3))
    english, chinese = list(style.measuring([1, 2], 5, False)), list(style.measuring([1, 2], 5, True))
    assert len(english) == len(chinese) == 2
    for (words, pixels), (other, same) in zip(english, chinese, strict=True):
        assert np.array_equal(pixels, same)
        assert words.isascii()
        assert not other.isascii()


def test_concepts_that_the_style_lacks_are_left_out(tmp_path):
    cat, dog, *_ = concepts = shipped_concepts()[:3]
    folder = tmp_path / "fluent-emoji-3d" / "assets"
    folder.mkdir(parents=True)
    (folder / f"{cat.id}.webp").touch()
    (folder / f"{dog.id}-fe0f.webp").touch()
    found, files = drawn_by_fluent(tmp_path, concepts)
    assert found == [cat, dog]
    assert [len(paths) for paths in files] == [2, 2]
