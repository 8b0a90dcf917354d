from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipcore.batching import encode_texts
from clipcore.encoding.batch import EncodedImage, ImageSource, NotNeeded, SkippedImage, encode_sources
from clipcore.errors import BadInput, EncodingFailed
from clipcore.images.decode import ImageLimits
from clipcore.types import Box, Pixels
from tests.clipcore.fakes import CARD, NOT_A_NUMBER, FakeEncoder, vector
from tests.clipcore.images import encode, noise, png

BROKEN = png()[:60]


def gray(value: int) -> ImageSource:
    return ImageSource(f"gray {value}", lambda: encode(Image.new("RGB", (8, 6), (value,) * 3)))


def test_outcomes_come_in_the_order_of_their_sources():
    encoder = FakeEncoder()
    outcomes = list(encode_sources(encoder, map(gray, range(50)), batch_size=8, workers=4))
    assert [outcome.name for outcome in outcomes] == [f"gray {value}" for value in range(50)]
    assert all(isinstance(one, EncodedImage) and one.embedding[0] == value for value, one in enumerate(outcomes))
    assert {(one.width, one.height) for one in outcomes} == {(8, 6)}


def test_batches_have_the_given_size():
    encoder = FakeEncoder()
    list(encode_sources(encoder, map(gray, range(20)), batch_size=8))
    assert [len(batch) for batch in encoder.batches()] == [8, 8, 4]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(batch_size: int):
    with pytest.raises(BadInput, match="batch size is .*; it must be at least 1"):
        list(encode_sources(FakeEncoder(), [gray(1)], batch_size=batch_size))
    with pytest.raises(BadInput, match="batch size"):
        list(encode_texts(FakeEncoder(), ["a"], batch_size=batch_size))


def test_a_broken_and_a_missing_image_are_skipped_with_a_reason(tmp_path: Path):
    sources = [
        gray(1),
        ImageSource("broken", lambda: BROKEN),
        ImageSource.file(tmp_path / "gone.png"),
        ImageSource("text", lambda: b"no image at all"),
        gray(2),
    ]
    outcomes = list(encode_sources(FakeEncoder(), sources))
    assert [isinstance(outcome, SkippedImage) for outcome in outcomes] == [False, True, True, True, False]
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, SkippedImage)]
    assert reasons[0] == "The PNG image is truncated or broken."
    assert reasons[1] == "It cannot be read: No such file or directory."
    assert [outcome.embedding[0] for outcome in outcomes if isinstance(outcome, EncodedImage)] == [1, 2]


def test_a_source_without_an_image_is_skipped_and_a_model_that_cannot_be_loaded_is_no_fault_of_an_image():
    def refuse(*_: object):
        raise BadInput("No such precision.")

    [skipped] = encode_sources(FakeEncoder(), [ImageSource("row 1", refuse)])
    assert isinstance(skipped, SkippedImage) and skipped.reason == "No such precision."
    unloadable = type("Unloadable", (FakeEncoder,), {"card": property(refuse, lambda *_: None)})
    with pytest.raises(BadInput, match="No such precision"):
        list(encode_sources(unloadable(), [gray(1)]))


def test_an_image_whose_embedding_is_not_finite_is_skipped():
    """One NaN among stored vectors would outrank everything in each later search."""
    outcomes = list(encode_sources(FakeEncoder(), [gray(1), gray(NOT_A_NUMBER), gray(2)]))
    assert [isinstance(outcome, SkippedImage) for outcome in outcomes] == [False, True, False]
    assert isinstance(outcomes[1], SkippedImage) and isinstance(outcomes[1].cause, EncodingFailed)


def test_an_image_that_is_not_needed_is_not_encoded():
    def read() -> bytes:
        raise NotNeeded("It is known.")

    encoder = FakeEncoder()
    [outcome] = encode_sources(encoder, [ImageSource("copy", read)])
    assert isinstance(outcome, SkippedImage) and isinstance(outcome.cause, NotNeeded)
    assert encoder.calls == []


def test_a_batch_of_broken_images_does_not_reach_the_model():
    encoder = FakeEncoder()
    assert len(list(encode_sources(encoder, [ImageSource("x", lambda: BROKEN)] * 3))) == 3
    assert encoder.calls == []


def test_an_image_batch_that_does_not_fit_in_memory_is_halved():
    encoder = FakeEncoder(fits=2)
    outcomes = list(encode_sources(encoder, map(gray, range(8)), batch_size=8))
    assert np.array_equal([one.embedding for one in outcomes], [vector(value) for value in range(8)])


def test_a_text_batch_that_does_not_fit_in_memory_is_halved():
    encoder = FakeEncoder(fits=2)
    words = ["a", "bb", "ccc", "dddd", "eeeee"]
    assert np.array_equal(list(encode_texts(encoder, words, batch_size=5)), [vector(len(word)) for word in words])
    with pytest.raises(EncodingFailed, match="too little memory"):
        list(encode_texts(FakeEncoder(fits=0), words))


def test_a_device_without_memory_for_one_image_says_so():
    with pytest.raises(EncodingFailed, match="too little memory"):
        list(encode_sources(FakeEncoder(fits=0), [gray(1)]))


def test_few_sources_are_read_ahead_and_closing_ends_the_threads():
    read: list[int] = []

    def source(value: int) -> ImageSource:
        return ImageSource(str(value), lambda: read.append(value) or png())

    outcomes = encode_sources(FakeEncoder(), (source(value) for value in range(1000)), batch_size=4, workers=2)
    next(outcomes)
    outcomes.close()
    assert len(read) <= 4 + 2 * 4 + 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


class Measuring(FakeEncoder):
    """Notes how large the images are that reach the model."""

    seen: tuple[int, ...] = ()

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        self.seen = pixels.shape
        return super().prepare(pixels, box)


def test_own_files_may_be_larger_than_uploads():
    panorama = encode(Image.new("1", (13_000, 5_000)), "PNG")
    (outcome,) = encode_sources(FakeEncoder(), [ImageSource("panorama", lambda: panorama)])
    assert isinstance(outcome, EncodedImage)
    assert outcome.width * outcome.height > ImageLimits().max_pixels


def test_a_large_photograph_is_decoded_small_and_reports_its_full_size():
    encoder = Measuring(card=replace(CARD, input_size=100))
    large = ImageSource("large", lambda: encode(Image.fromarray(noise(1600, 1200)), "JPEG"))
    [outcome] = encode_sources(encoder, [large])
    assert isinstance(outcome, EncodedImage)
    assert (outcome.width, outcome.height) == (1600, 1200)
    assert encoder.seen == (300, 400, 3)


def test_full_resolution_decodes_a_large_photograph_at_full_size():
    encoder = Measuring(card=replace(CARD, input_size=100))
    list(encode_sources(encoder, [ImageSource("large", lambda: png(width=1600, height=1200))], full_resolution=True))
    assert encoder.seen == (1200, 1600, 3)
