"""The demo world's pictures are those that tools/draw_world.py draws."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sandbox.demo_world import WORLD
from sandbox.video_headers import read_video
from tools.draw_world import AGAIN, EMOJIS, OTHER_GROUND, SCENES, STICKERS, draw_all

ART = os.environ.get("MAGPIE_EMOJI_ART")


def test_every_picture_of_the_world_is_one_that_the_tool_draws() -> None:
    drawn = {f"{name}.png" for name in SCENES} | {f"{name}-other.png" for name in OTHER_GROUND}
    drawn |= {*AGAIN, *STICKERS, *EMOJIS, "rocket-launch.gif", "train-passing.mp4"}
    assert drawn == {path.name for path in WORLD.iterdir()} - {"README.md", "posts.json"}


def test_the_pictures_can_be_opened_and_the_video_has_a_cover() -> None:
    for path in WORLD.glob("*.*"):
        if path.suffix in (".png", ".jpg", ".webp", ".gif"):
            with Image.open(path) as picture:
                picture.load()
    video = read_video((WORLD / "train-passing.mp4").read_bytes())
    assert (video.width, video.height) == (224, 224) and video.cover.startswith(b"\xff\xd8\xff")
    assert video.seconds == pytest.approx(24 * 0.09, abs=0.1)


@pytest.mark.skipif(ART is None, reason="MAGPIE_EMOJI_ART does not name the unpacked artwork")
def test_the_tool_draws_the_same_pictures_again(tmp_path: Path) -> None:
    draw_all(Path(ART), tmp_path)
    for path in WORLD.glob("*.png"):
        with Image.open(path) as shipped, Image.open(tmp_path / path.name) as again:
            assert np.array_equal(np.asarray(shipped.convert("RGBA")), np.asarray(again.convert("RGBA"))), path.name
