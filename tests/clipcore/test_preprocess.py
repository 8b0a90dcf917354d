from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ChineseCLIPImageProcessorPil, CLIPImageProcessorPil

from clipcore.preprocess import Preprocessing
from tests.clipcore.pictures import noise

SIZES = [(224, 224), (640, 480), (480, 640), (1000, 333), (37, 53), (1, 1), (224, 225), (301, 2007)]


def as_transformers_does(processor: CLIPImageProcessorPil, pixels: np.ndarray) -> np.ndarray:
    """Its geometry alone: resized and cropped, neither scaled nor normalised. uint8 [s, s, 3]."""
    output = processor(pixels, do_rescale=False, do_normalize=False, input_data_format="channels_last")
    return np.moveaxis(np.asarray(output["pixel_values"][0]), 0, -1)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("edge", [224, 64])
def test_pixels_equal_those_of_transformers(width, height, edge):
    processor = CLIPImageProcessorPil(size={"shortest_edge": edge}, crop_size={"height": edge, "width": edge})
    pixels = noise(width, height)
    prepared = Preprocessing.parse(processor.to_dict()).prepare(pixels)
    assert prepared.dtype == np.uint8
    assert np.array_equal(prepared, as_transformers_does(processor, pixels))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_pixels_equal_those_of_transformers_at_any_size(width, height, seed):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    if max(width, height) > 8 * min(width, height):
        return  # strips are cut first, see below
    pixels = noise(width, height, seed)
    assert np.array_equal(
        Preprocessing.parse(processor.to_dict()).prepare(pixels), as_transformers_does(processor, pixels)
    )


def test_a_checkpoint_that_squashes_instead_of_cropping_is_followed():
    processor = ChineseCLIPImageProcessorPil(size={"height": 48, "width": 48}, do_center_crop=False)
    pixels = noise(200, 100)
    assert np.array_equal(
        Preprocessing.parse(processor.to_dict()).prepare(pixels), as_transformers_does(processor, pixels)
    )


def test_a_crop_larger_than_the_resized_picture_is_padded_like_transformers_does():
    processor = CLIPImageProcessorPil(size={"shortest_edge": 21}, crop_size={"height": 32, "width": 32})
    pixels = noise(27, 21)
    assert np.array_equal(
        Preprocessing.parse(processor.to_dict()).prepare(pixels), as_transformers_does(processor, pixels)
    )


@pytest.mark.parametrize(("width", "height"), [(1, 100_000), (100_000, 1), (5000, 3)])
def test_an_extreme_strip_costs_no_more_than_a_picture(width, height):
    """Resizing it whole would make 22 million pixels and more of it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    middle = (slice(None), slice(width // 2, None)) if width > height else (slice(height // 2, None),)
    pixels[middle] = 255
    prepared = Preprocessing().prepare(pixels)
    assert prepared.shape == (224, 224, 3)
    assert (prepared[0, 0, 0], prepared[-1, -1, 0]) == (0, 255)


def test_the_older_spelling_with_plain_numbers_is_read(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"size": 224, "crop_size": 200, "resample": 3, "image_mean": [0.1, 0.2, 0.3]}))
    read = Preprocessing.read(path)
    assert (read.size, read.crop, read.squash, read.mean) == (224, 200, False, (0.1, 0.2, 0.3))


def test_prepared_pixels_do_not_keep_the_whole_picture_alive():
    assert Preprocessing(size=32, crop=32).prepare(noise(64, 32)).base is None
