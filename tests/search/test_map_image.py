"""What is drawn on a map."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bot.search.map_image import EDGE, Cluster, draw_map

RED, GREEN, BLUE = (220, 20, 30), (20, 200, 40), (30, 40, 220)


def cluster(*colours: tuple[int, int, int], names: tuple[str, ...] = ("cat",), at: float = 0.0) -> Cluster:
    thumbnails = [np.full((EDGE, EDGE, 3), colour, np.uint8) for colour in colours]
    positions = np.array([[at, number] for number in range(len(colours))], np.float32)
    return Cluster(names, thumbnails, positions)


def pixels(jpeg: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB"), np.int16)


def share(page: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(page - np.array(colour)).max(axis=2) < 12).mean())


def test_every_picture_is_seen_and_of_a_sensible_size() -> None:
    page = pixels(draw_map([cluster(RED, GREEN), cluster(BLUE, at=5)]))
    for colour in (RED, GREEN, BLUE):
        assert 0.01 < share(page, colour) < 0.3


def test_the_largest_map_fits_into_a_message() -> None:
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 255, (EDGE, EDGE, 3), np.uint8) for _ in range(200)]  # what compresses worst
    clusters = [
        Cluster(
            ("a long name", "another one"), noise[start : start + 13], rng.standard_normal((13, 2)).astype(np.float32)
        )
        for start in range(0, 195, 13)
    ]
    jpeg = draw_map(clusters)
    assert len(jpeg) < 8_000_000
    height, width, _ = pixels(jpeg).shape
    assert width <= 1800 and height <= 1200


@pytest.mark.parametrize("names", [(), ("🐈",), ("猫",), ("\N{ESCAPE}",), ("x" * 500,), ("a", "b" * 90, "c")])
def test_any_name_can_be_drawn(names: tuple[str, ...]) -> None:
    assert share(pixels(draw_map([cluster(RED, names=names)])), RED) > 0.01


def test_many_clusters_of_one_picture_are_drawn() -> None:
    page = pixels(draw_map([cluster(RED, at=number) for number in range(16)]))
    assert share(page, RED) > 0.05
