"""A picture is told again after it was scaled or encoded anew; others are told apart, and flat ones have no hash."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from clipcore.images.decode import ImageLimits, decode_image, read_image
from clipcore.images.perceptual_hash import FLAT, hash_distance, perceptual_hash
from clipcore.images.preprocess import Preprocessing
from clipcore.images.processes import DecodeProcesses, WorkLimits, decode_and_prepare

SAMPLES = sorted((Path(__file__).parents[2] / "clipcore" / "bundled" / "samples").glob("*.png"))
PICTURES = [Image.fromarray(decode_image(path)) for path in SAMPLES]


def hash_of(image: Image.Image) -> str:
    return perceptual_hash(np.asarray(image.convert("RGB")))


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a poor JPEG": lambda image: as_jpeg(image, 20),
    "a third of the size": lambda image: scaled(image, 1 / 3),
    "larger": lambda image: scaled(image, 1.7),
    "small, then a JPEG": lambda image: as_jpeg(scaled(image, 0.5), 40),
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_differs_in_at_most_eight_bits(change: Callable[[Image.Image], Image.Image]) -> None:
    assert max(hash_distance(hash_of(picture), hash_of(change(picture))) for picture in PICTURES) <= 8


def test_different_pictures_and_mirrored_ones_differ_in_more_than_twelve() -> None:
    hashes = [hash_of(picture) for picture in PICTURES]
    assert min(hash_distance(one, other) for one, other in combinations(hashes, 2)) > 12
    mirrored = [
        hash_distance(known, hash_of(ImageOps.mirror(one))) for known, one in zip(hashes, PICTURES, strict=True)
    ]
    assert np.median(mirrored) > 12  # two of them are symmetric


@pytest.mark.parametrize("colour", ["white", "black", "#808080", "#ff0000"])
def test_flat_pictures_have_no_hash(colour: str) -> None:
    blank = Image.new("RGB", (300, 200), colour)
    assert hash_of(blank) == hash_of(as_jpeg(blank, 30)) == FLAT
    noise = np.random.default_rng(1).integers(-2, 3, (200, 300, 3))
    assert perceptual_hash((np.asarray(blank, np.int16) + noise).clip(0, 255).astype(np.uint8)) == FLAT


def test_a_transparent_picture_has_none() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(buffer, "PNG")
    decoded = read_image(buffer.getvalue())
    assert perceptual_hash(decoded.pixels, decoded.box) == FLAT


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_any_pixels_have_sixteen_digits_or_none(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    hashed = perceptual_hash(pixels)
    assert hashed == FLAT or (len(hashed) == 16 and hash_distance(hashed, hashed) == 0)


def test_it_is_that_of_the_whole_picture_whatever_the_model_crops_and_comes_from_the_decoding_process() -> None:
    wide = Image.new("RGB", (1600, 400), "white")
    wide.paste(PICTURES[0].resize((400, 400)), (0, 0))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    prepare = Preprocessing(size=32, crop=32).prepare
    decode = DecodeProcesses(
        partial(decode_and_prepare, limits=ImageLimits(), min_edge=77, prepare=prepare), WorkLimits()
    )
    try:
        hashed = decode(buffer.getvalue()).perceptual_hash
    finally:
        decode.close()
    assert hash_distance(hashed, hash_of(wide)) <= 2
