from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BitImageProcessorPil,
    ChineseCLIPImageProcessorPil,
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    Siglip2ImageProcessorPil,
    SiglipImageProcessorPil,
    ViTImageProcessorPil,
)

from clipcore.errors import ModelUnavailable
from clipcore.images.preprocess import Preprocessing, preprocessing_file, write_preprocessing
from tests.clipcore.images import noise

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


def squares(edge: int) -> dict[str, int]:
    return {"height": edge, "width": edge}


# As the checkpoints on the hub have them: the processor, and what its file says beside the class.
HUB = {
    "openai/clip-vit-base-patch32": CLIPImageProcessorPil(),
    "openai/clip-vit-large-patch14-336": CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=squares(336)),
    "OFA-Sys/chinese-clip-vit-base-patch16": ChineseCLIPImageProcessorPil(size=squares(224), do_center_crop=False),
    "google/siglip-base-patch16-224": SiglipImageProcessorPil(size=squares(224)),
    "google/siglip2-base-patch16-256": SiglipImageProcessorPil(size=squares(256), resample=2),
    "google/siglip2-so400m-patch14-384": SiglipImageProcessorPil(size=squares(384), resample=2),
    "facebook/dinov2-base": BitImageProcessorPil(size={"shortest_edge": 256}, crop_size=squares(224)),
    "microsoft/resnet-50": ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875),
    "a ResNet for 256 pixels": ConvNextImageProcessorPil(size={"shortest_edge": 256}, crop_pct=0.95),
    "a ResNet for 384 pixels": ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "google/vit-base-patch16-224": ViTImageProcessorPil(),
}


@pytest.mark.parametrize("name", HUB)
@pytest.mark.parametrize(("width", "height"), [(640, 480), (333, 1000), (37, 53), (384, 384)])
def test_pixels_equal_those_of_transformers_in_every_family(name, width, height):
    processor, pixels = HUB[name], noise(width, height)
    prepared = Preprocessing.parse(processor.to_dict()).prepare(pixels)
    assert np.array_equal(prepared, as_transformers_does(processor, pixels))


@pytest.mark.parametrize("name", HUB)
def test_defaults_left_out_of_a_file_are_filled_in(name):
    whole = HUB[name].to_dict()
    assumed = type(HUB[name])().to_dict()
    short = {key: value for key, value in whole.items() if key == "image_processor_type" or value != assumed.get(key)}
    assert Preprocessing.parse(short) == Preprocessing.parse(whole)


@pytest.mark.parametrize("edge", [64, 500])
def test_naflex_squares_equal_those_of_transformers(edge):
    processor, pixels = Siglip2ImageProcessorPil(), noise(edge, edge)
    output = processor(pixels, do_rescale=False, do_normalize=False, input_data_format="channels_last")
    assert output["spatial_shapes"][0] == (16, 16)
    patches = np.asarray(output["pixel_values"][0]).reshape(16, 16, 16, 16, 3)
    prepared = Preprocessing.parse(processor.to_dict()).prepare(pixels)
    assert np.array_equal(prepared, patches.transpose(0, 2, 1, 3, 4).reshape(256, 256, 3))


@pytest.mark.parametrize(
    ("config", "edge", "resized", "squash"),
    [
        # As they lie on the hub, in spellings of their time.
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875}, 224, 256, False),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}, 224, 224, False),
        ({"image_processor_type": "ViTFeatureExtractor", "size": 224}, 224, 224, True),
        ({"image_processor_type": "SiglipImageProcessorFast", "size": squares(384)}, 384, 384, True),
        ({"size": {"shortest_edge": 224, "longest_edge": None}, "do_convert_rgb": None}, 224, 224, False),
    ],
)
def test_spellings_of_older_and_newer_files_are_read(config, edge, resized, squash):
    read = Preprocessing.parse(config)
    assert (read.crop, read.size, read.squash) == (edge, resized, squash)


@pytest.mark.parametrize(
    "config",
    [
        {"image_processor_type": "Owlv2ImageProcessor"},
        {"size": {"height": 224, "width": 336}},
        {"size": {"longest_edge": 224}},
    ],
)
def test_unsupported_preprocessing_is_refused(config):
    with pytest.raises(ModelUnavailable, match="not supported; choose"):
        Preprocessing.parse(config)


def test_steps_that_a_checkpoint_turns_off_are_skipped():
    read = Preprocessing.parse({"do_normalize": False, "do_rescale": False, "image_mean": [0.1, 0.2, 0.3]})
    assert (read.mean, read.std, read.rescale) == ((0, 0, 0), (1, 1, 1), 1)


def test_the_file_beside_the_weights_is_found(tmp_path):
    assert preprocessing_file(tmp_path) is None
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert preprocessing_file(tmp_path) is None
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 32, "crop_size": 32}}')
    assert preprocessing_file(tmp_path) == tmp_path / "processor_config.json"
    assert Preprocessing.read(tmp_path / "processor_config.json").crop == 32
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert preprocessing_file(tmp_path) == tmp_path / "preprocessor_config.json"


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


def test_a_crop_larger_than_the_resized_image_is_padded_like_transformers_does():
    processor = CLIPImageProcessorPil(size={"shortest_edge": 21}, crop_size={"height": 32, "width": 32})
    pixels = noise(27, 21)
    assert np.array_equal(
        Preprocessing.parse(processor.to_dict()).prepare(pixels), as_transformers_does(processor, pixels)
    )


@pytest.mark.parametrize(("width", "height"), [(1, 100_000), (100_000, 1), (5000, 3)])
def test_an_extreme_strip_costs_no_more_than_an_image(width, height):
    """Resizing it whole would make 22 million pixels and more of it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    middle = (slice(None), slice(width // 2, None)) if width > height else (slice(height // 2, None),)
    pixels[middle] = 255
    prepared = Preprocessing().prepare(pixels)
    assert prepared.shape == (224, 224, 3)
    assert (prepared[0, 0, 0], prepared[-1, -1, 0]) == (0, 255)


def test_a_shrunk_square_stays_a_square_despite_rounding_errors():
    """Edges are cut, not rounded: one a trifle short of 224 would lose a row, and be given a black one."""
    for edge in range(201, 400):
        length = edge / 7
        white = np.full((math.ceil(length), math.ceil(length), 3), 255, np.uint8)
        assert Preprocessing().prepare(white, (0, 0, length, length)).all()


def test_the_older_spelling_with_plain_numbers_is_read(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"size": 224, "crop_size": 200, "resample": 3, "image_mean": [0.1, 0.2, 0.3]}))
    read = Preprocessing.read(path)
    assert (read.size, read.crop, read.squash, read.mean) == (224, 200, False, (0.1, 0.2, 0.3))


def test_prepared_pixels_do_not_keep_the_whole_image_alive():
    assert Preprocessing(size=32, crop=32).prepare(noise(64, 32)).base is None


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([224, 288, 336, 31]))
@settings(max_examples=400, deadline=None)
def test_a_rounded_crop_lies_where_torchvision_puts_it(width, height, edge):
    """`int(round((h - size) / 2.0))` of torchvision's center_crop, after `int(size * long / short)` of its Resize."""
    short = min(width, height)
    if max(width, height) > 8 * short:
        return  # strips are cut first
    preprocessing = Preprocessing(size=edge, crop=edge, rounded_crop=True)
    resized = [int(edge * length / short) for length in (width, height)]
    left, top = (int(round((length - edge) / 2.0)) for length in resized)
    # Numbers its pixels, so that the crop tells where it lies.
    columns, rows = np.meshgrid(np.arange(resized[0]) % 251, np.arange(resized[1]) % 241)
    numbered = np.stack([columns, rows, columns * 0], axis=-1).astype(np.uint8)
    prepared = preprocessing.prepare(numbered)
    assert prepared[0, 0, :2].tolist() == [left % 251, top % 241]


def test_a_rounded_crop_survives_saving(tmp_path):
    for rounded in (True, False):
        write_preprocessing(Preprocessing(rounded_crop=rounded), tmp_path)
        assert Preprocessing.read(tmp_path / "preprocessor_config.json").rounded_crop == rounded
