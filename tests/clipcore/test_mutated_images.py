"""Whatever the bytes, `decode_image` answers with pixels or with ImageRejected, within the limits of work."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from clipcore.errors import ImageRejected
from clipcore.images.decode import ImageLimits, decode_image, read_frames
from clipcore.images.formats import READS_HEIC, READS_JXL, Format, sniff
from clipcore.images.perceptual_hash import perceptual_hash
from clipcore.images.processes import DecodeProcesses, PreparedImage, WorkLimits
from clipcore.types import Pixels
from tests.clipcore.mutations import SEEDS, mutated

OPTIONAL: tuple[tuple[bool, Format], ...] = ((READS_HEIC, "heic"), (READS_JXL, "jxl"))
FORMATS: tuple[Format, ...] = (
    *("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff"),
    *(image_format for is_read, image_format in OPTIONAL if is_read),
)
LIMITS = ImageLimits(max_pixels=4_000_000)


def decoded_twice(data: bytes, frames: int = 1) -> PreparedImage:
    """Whole, and shrunk as for a model, which a JPEG is while it is decoded, by several frames. Runs in the process."""
    whole = decode_image(data, LIMITS)
    shrunk, *later = read_frames(data, LIMITS, min_edge=5, frames=4)
    check(whole)
    for frame in (shrunk, *later):
        check(frame.pixels)
    assert whole.shape[:2] == (shrunk.height, shrunk.width)
    return PreparedImage(whole[:1, :1], shrunk.width, shrunk.height, perceptual_hash(shrunk.pixels, shrunk.box))


def check(pixels: Pixels) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert min(pixels.shape) >= 1
    assert pixels.shape[2] == 3


@pytest.fixture(scope="module")
def decode() -> Iterator[DecodeProcesses]:
    """A decoder that crashes, or raises what it must not, ends its process, and that raises EncodingFailed here."""
    processes = DecodeProcesses(decoded_twice, WorkLimits())
    yield processes
    processes.close()


def test_there_is_a_seed_of_every_format_and_each_decodes(decode):
    assert {sniff(seed) for seed in SEEDS} == set(FORMATS)
    for seed in SEEDS:
        assert {decode(seed).width, decode(seed).height} == {24, 16}


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_mutated_image_is_pixels_or_a_refusal(image_format, decode):
    @given(mutated([seed for seed in SEEDS if sniff(seed) == image_format]))
    @settings(
        deadline=None,  # the processes have limits of their own
        max_examples=max(300, settings().max_examples),
        suppress_health_check=[HealthCheck.too_slow],
    )
    def decodes_or_is_refused(data: bytes) -> None:
        try:
            decode(data)
        except ImageRejected as refusal:
            assert str(refusal).endswith(".")

    decodes_or_is_refused()
