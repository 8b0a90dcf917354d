"""Animations: several of their frames are read and encoded, within the limits of an image."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from functools import partial

import numpy as np
import pytest
from PIL import Image

from clipcore.engine.engine import ClipEngine
from clipcore.errors import ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits, read_frames, read_image
from clipcore.images.processes import DecodeProcesses, WorkLimits, decode_and_prepare
from clipcore.types import Lane, Vectors
from tests.clipcore.engine.support import until
from tests.clipcore.fakes import POISON, FakeEncoder
from tests.clipcore.images import encode, noise, png

FORMATS = ["GIF", "WEBP", "PNG", "AVIF"]
LOSSLESS = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


def gray(value: int) -> Image.Image:
    return Image.new("RGB", (8, 6), (value, value, value))


def animation(values: list[int], image_format: str = "GIF", **options: object) -> bytes:
    """Plain frames of these brightnesses."""
    frames = [gray(value) for value in values]
    file = io.BytesIO()
    settings = {"save_all": True, "append_images": frames[1:], "duration": 40, **LOSSLESS.get(image_format, {})}
    frames[0].save(file, image_format, **settings, **options)
    return file.getvalue()


def values(data: bytes, frames: int) -> list[int]:
    return [round(float(frame.pixels.mean())) for frame in read_frames(data, frames=frames)]


@pytest.mark.parametrize("image_format", FORMATS)
def test_frames_are_spread_evenly_and_the_first_is_always_among_them(image_format):
    data = animation([10 * number for number in range(24)], image_format)
    assert values(data, 8) == pytest.approx([0, 30, 60, 90, 120, 150, 180, 210], abs=2)
    assert values(data, 3) == pytest.approx([0, 80, 160], abs=2)
    assert values(data, 1) == [0]
    assert len(values(data, 100)) == 24


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_shorter_animation_gives_each_frame_once(image_format):
    assert values(animation([0, 100, 200], image_format), 8) == pytest.approx([0, 100, 200], abs=2)


@pytest.mark.parametrize("image_format", [*FORMATS, "JPEG", "BMP", "TIFF"])
def test_a_still_image_is_one_frame_of_the_same_bytes(image_format):
    data = encode(Image.fromarray(noise(40, 30)), image_format)
    [frame] = read_frames(data, frames=8, min_edge=7)
    np.testing.assert_array_equal(frame.pixels, read_image(data, min_edge=7).pixels)


def test_the_pages_of_a_tiff_are_no_animation():
    data = encode(gray(1), "TIFF", save_all=True, append_images=[gray(200)])
    assert values(data, 8) == [1]


def test_what_follows_a_broken_frame_is_left_out():
    data = encode(Image.fromarray(noise(60, 60)), "GIF", save_all=True,
                  append_images=[Image.fromarray(noise(60, 60, seed=number)) for number in range(1, 6)])  # fmt: skip
    whole = len(list(read_frames(data, frames=6)))
    cut = list(read_frames(data[: len(data) // 2], frames=6))
    assert whole == 6
    assert 1 <= len(cut) < 6


def test_a_first_frame_that_is_broken_is_refused_as_before():
    with pytest.raises(ImageRejected) as caught:
        list(read_frames(animation([0, 100, 200])[:30], frames=8))
    assert caught.value.reason is RejectReason.BROKEN


def test_a_long_animation_is_left_where_its_time_is_used_up():
    """Its 1,900 frames of a quarter of a megapixel take several seconds."""
    data = encode(Image.new("L", (500, 500), 9), "GIF", save_all=True, append_images=[Image.new("L", (500, 500), 200)])
    two = data[data.index(b"\x21\xf9") : -1]
    frames = list(read_frames(data[:-1] + two * 949 + data[-1:], frames=8, min_edge=77))
    np.testing.assert_array_equal(frames[0].pixels, read_image(data, min_edge=77).pixels)
    assert 1 <= len(frames) < 8


def fake_prepare(pixels, box=None):
    return np.ascontiguousarray(pixels[:2, :2])


PREPARE = partial(decode_and_prepare, limits=ImageLimits(), min_edge=2, prepare=fake_prepare)


def test_frames_that_look_like_another_are_not_prepared_twice():
    image = PREPARE(animation([10, 200, 10, 200, 11, 90]), 6)
    assert [int(square[0, 0, 0]) for square in (image.square, *image.more)] == [10, 200, 90]
    assert PREPARE(animation([10, 200])).more == ()


def test_frames_come_back_from_a_process():
    processes = DecodeProcesses(PREPARE, WorkLimits())
    try:
        there, here = (decode(animation([10, 200, 90]), 8) for decode in (processes, PREPARE))
    finally:
        processes.close()
    np.testing.assert_array_equal(np.stack([there.square, *there.more]), np.stack([here.square, *here.more]))
    assert (there.width, there.height) == (8, 6)


class Turning(FakeEncoder):
    """Unit vectors that turn with the brightness."""

    def _encode(self, kind: str, values: list[int]) -> Vectors:
        super()._encode(kind, values)
        return np.array([direction(value) for value in values], np.float32)


def direction(value: int) -> list[float]:
    return np.array([np.cos(value / 40), np.sin(value / 40), 0, 0], np.float32).tolist()


@pytest.fixture
def encoder() -> FakeEncoder:
    return Turning()


@pytest.fixture
async def engine(encoder: FakeEncoder) -> AsyncIterator[ClipEngine]:
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    yield engine
    encoder.gate.set()
    await engine.close()


async def test_an_animation_has_a_vector_for_each_of_its_different_frames(engine):
    image = await engine.encode_image(animation([10, 100, 50]), frames=8)
    assert image.vector.tolist() == direction(10)
    assert [more.tolist() for more in image.more] == [direction(100), direction(50)]
    assert (image.width, image.height) == (8, 6)


async def test_vectors_that_mean_the_same_are_kept_once(engine, encoder):
    image = await engine.encode_image(animation([10, 14, 90, 93]), frames=8)
    assert [more.tolist() for more in image.more] == [direction(90)]
    assert sum(map(len, encoder.batches())) == 4


async def test_an_animation_is_its_first_frame_unless_more_are_asked_for(engine, encoder):
    image = await engine.encode_image(animation([10, 200, 90]))
    assert (image.vector.tolist(), image.more) == (direction(10), ())
    assert encoder.batches() == [[10]]


async def test_a_still_image_costs_and_gives_the_same_with_and_without_frames(engine, encoder):
    still = png("rgb(7, 7, 7)", 8, 6)
    image = await engine.encode_image(still, frames=8)
    assert (image.vector.tolist(), image.more) == (direction(7), ())
    assert encoder.batches() == [[7]]


async def test_a_later_frame_that_the_model_fails_on_is_left_out(engine):
    image = await engine.encode_image(animation([10, POISON, 90]), frames=8)
    assert [more.tolist() for more in image.more] == [direction(90)]


async def test_an_animation_has_one_frame_in_the_queue_and_others_come_in_between(engine, encoder):
    """Frames one by one: the other image, posted later, need not wait for all of them."""
    encoder.hold()
    blocker = asyncio.create_task(engine.encode_image(png("rgb(1, 1, 1)", 8, 6)))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    animated = asyncio.create_task(engine.encode_image(animation([10, 60, 110, 160, 210]), frames=8))
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) == 1)
    other = asyncio.create_task(engine.encode_image(png("rgb(99, 99, 99)", 8, 6)))
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) == 2)
    encoder.gate.set()
    await asyncio.gather(blocker, animated, other)
    order = [value for batch in encoder.batches() for value in batch]
    assert order.index(99) < order.index(60)


async def test_a_costly_animation_is_not_refused_for_its_later_frames(encoder):
    encoder.prepare = fake_prepare  # which a process can be given
    engine = ClipEngine(lambda: encoder, work_limits=WorkLimits(cpu_seconds=20))
    await engine.start()
    frames = [Image.fromarray(noise(300, 300, seed=number)) for number in range(2)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=(frames[1:] + frames[:1]) * 30, method=0)
    image = await engine.encode_image(file.getvalue(), frames=8)
    assert (image.width, image.height) == (300, 300)
    assert len(image.more) < 8
    await engine.close()
