"""The recognizer of words itself, with its own models, on pictures that Pillow has written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from clipcore.errors import ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits
from clipcore.recognition import (
    _LONGEST_EDGE,
    _PIXELS,
    RECOGNIZES_TEXT,
    TextRecognizer,
    _as_large_as_needed,
)
from tests.written_images import IN_CHINESE, written

needs_extra = pytest.mark.skipif(not RECOGNIZES_TEXT, reason="the extra `ocr` is not installed")


@pytest.fixture
async def recognizer() -> AsyncIterator[TextRecognizer]:
    recognizer = TextRecognizer()
    yield recognizer
    await recognizer.close()


@needs_extra
async def test_words_are_read_in_english_and_in_chinese_line_by_line(recognizer: TextRecognizer) -> None:
    text = await recognizer.recognize(written("Opening hours", "9:00 - 17:30"))
    assert text.splitlines() == ["Opening hours", "9:00 - 17:30"]
    assert await recognizer.recognize(IN_CHINESE) == "营业时间"
    await recognizer.rest()
    assert await recognizer.recognize(written("Closed")) == "Closed"


@needs_extra
async def test_a_picture_without_words_has_none(recognizer: TextRecognizer) -> None:
    assert await recognizer.recognize(written()) == ""


@needs_extra
async def test_a_picture_that_takes_too_long_is_refused_and_costs_no_other() -> None:
    hasty = TextRecognizer(cpu_seconds=0.001)
    try:
        with pytest.raises(ImageRejected) as refused:
            await hasty.recognize(written("Opening hours"))
        assert refused.value.reason is RejectReason.TOO_COSTLY
        hasty._cpu_seconds = 30.0
        assert await hasty.recognize(written("Closed")) == "Closed"
    finally:
        await hasty.close()


async def test_what_is_no_picture_is_refused_before_it_is_read() -> None:
    recognizer = TextRecognizer(ImageLimits(max_bytes=100))
    try:
        for data in (b"no picture", written("Opening hours")):
            with pytest.raises(ImageRejected):
                await recognizer.recognize(data)
    finally:
        await recognizer.close()


@pytest.mark.parametrize("size", [(64, 48), (1600, 1600), (4000, 3000), (1080, 9000), (20_000, 10)])
def test_a_picture_is_read_at_a_size_that_is_bounded_and_keeps_its_shape(size: tuple[int, int]) -> None:
    width, height = size
    pixels = _as_large_as_needed(np.zeros((height, width, 3), np.uint8))
    assert pixels.shape[0] * pixels.shape[1] <= 1.01 * _PIXELS
    assert max(pixels.shape) <= _LONGEST_EDGE
    if width * height <= _PIXELS and max(size) <= _LONGEST_EDGE:
        assert pixels.shape == (height, width, 3)
    elif min(pixels.shape[:2]) > 10:
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(width / height, rel=0.01)
