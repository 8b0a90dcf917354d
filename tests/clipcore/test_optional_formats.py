"""HEIC and JPEG XL, which are read where their extras are installed: as the other formats, within the same limits."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from clipcore.errors import ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits, decode_image, read_image
from clipcore.images.formats import READS_HEIC, READS_JXL, has_image_suffix, sniff
from clipcore.images.jxl import jxl_size
from clipcore.images.preprocess import Preprocessing
from clipcore.images.processes import DecodeProcesses, WorkLimits, decode_and_prepare
from tests.clipcore.images import encode, noise, quarters

SQUARE = partial(decode_and_prepare, limits=ImageLimits(), min_edge=77, prepare=Preprocessing(size=32, crop=32).prepare)


@pytest.fixture(params=["HEIF", "JXL"])
def kind(request: pytest.FixtureRequest) -> str:
    """Pillow's name of the format, once it can be written."""
    if request.param == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed").register_heif_opener()
    else:
        pytest.importorskip("pillow_jxl", reason="the extra `jxl` is not installed")
    return request.param


def test_suffixes_follow_what_can_be_read():
    assert has_image_suffix("a.HEIC") == has_image_suffix("a.heif") == READS_HEIC
    assert has_image_suffix("a.jxl") == READS_JXL


def test_an_image_is_decoded_with_its_size(kind):
    image = quarters(640, 480)
    data = encode(image, kind)
    assert sniff(data) == {"HEIF": "heic", "JXL": "jxl"}[kind]
    assert np.abs(decode_image(data).astype(int) - np.asarray(image)).mean() < 4
    shrunk = read_image(data, min_edge=100)
    assert (shrunk.width, shrunk.height, shrunk.pixels.shape) == (640, 480, (120, 160, 3))


def test_transparency_is_laid_on_white(kind):
    data = encode(Image.new("RGBA", (32, 32), (255, 0, 0, 0)), kind)
    assert decode_image(data).mean() > 250


def test_an_image_is_turned_upright_once(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(quarters(64, 32), kind, exif=exif.tobytes())
    pixels = decode_image(data)
    assert pixels.shape == (64, 32, 3)
    assert pixels[8, 8].tolist() == pytest.approx([0, 0, 255], abs=40), "the left bottom has come to the left top"


def test_a_claim_of_too_many_pixels_is_refused_from_the_header(kind):
    with pytest.raises(ImageRejected, match="640 x 480") as caught:
        decode_image(encode(quarters(640, 480), kind), ImageLimits(max_pixels=640 * 480 - 1))
    assert caught.value.reason is RejectReason.TOO_MANY_PIXELS


@pytest.mark.skipif(not READS_JXL, reason="the extra `jxl` is not installed")
@pytest.mark.parametrize(
    "size", [(8, 8), (64, 256), (1, 1), (300, 200), (500, 500), (4096, 3), (1920, 1080), (513, 8191)]
)
@pytest.mark.parametrize("container", [False, True])
def test_the_header_of_jpeg_xl_is_read_as_its_decoder_reads_it(size, container):
    import pillow_jxl  # noqa: F401 - registers itself for `save`

    data = encode(Image.new("L", size), "JXL", effort=1, use_container=container)
    assert jxl_size(data) == size


@pytest.mark.parametrize("data", [b"", b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\x00" * 64])
def test_what_is_no_header_of_jpeg_xl_is_a_value_error(data):
    with pytest.raises(ValueError, match="codestream|cut off"):
        jxl_size(data)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_an_image_that_takes_too_much_memory_or_time_is_refused_and_costs_no_other(kind):
    large, small = encode(Image.new("RGB", (3000, 2000)), kind), encode(Image.fromarray(noise(40, 30)), kind)
    processes = DecodeProcesses(SQUARE, WorkLimits())
    try:
        for limits in (WorkLimits(60, 16 << 20), WorkLimits(0.02, 1 << 30)):
            with pytest.raises(ImageRejected) as caught:
                processes(large, 1, limits)
            assert caught.value.reason in (RejectReason.TOO_COSTLY, RejectReason.BROKEN)
            assert processes(small).width == 40
        assert processes(large).width == 3000
    finally:
        processes.close()
