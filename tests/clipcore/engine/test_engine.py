from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from clipcore.engine.engine import ClipEngine
from clipcore.errors import (
    BadInput,
    EncodingFailed,
    EngineClosed,
    ImageRejected,
    ModelUnavailable,
    QueueFull,
    RejectReason,
)
from clipcore.images.decode import ImageLimits
from clipcore.model import ClipModel
from clipcore.runtime.cores import decode_workers, usable_cores
from clipcore.types import Box, Calibration, Label, Lane, Pixels
from clipcore.zero_shot import ZeroShotClassifier
from tests.clipcore.engine.support import until
from tests.clipcore.fakes import CARD, POISON, FakeEncoder, vector
from tests.clipcore.images import encode, noise, png, quarters


def gray(value: int) -> bytes:
    """An image that the fake encodes as `value`."""
    return png(f"rgb({value}, {value}, {value})", 8, 6)


@pytest.fixture
async def engine(encoder: FakeEncoder) -> AsyncIterator[ClipEngine]:
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    yield engine
    encoder.gate.set()
    await engine.close()


async def test_an_image_file_becomes_a_vector_and_its_size(engine):
    answer = await engine.encode_image(gray(7))
    assert answer.vector.tolist() == vector(7)
    assert (answer.width, answer.height) == (8, 6)


async def test_decoded_pixels_become_a_vector(engine):
    pixels = np.full((6, 8, 3), 7, np.uint8)
    assert (await engine.encode_pixels(pixels)).tolist() == vector(7)
    with pytest.raises(BadInput, match="uint8"):
        await engine.encode_pixels(pixels.astype(np.float32))


async def test_texts_become_vectors_in_their_order(engine):
    texts = ["x" * length for length in range(200)]
    assert (await engine.encode_texts(texts)).tolist() == [vector(length) for length in range(200)]
    assert (await engine.encode_texts([])).shape == (0, 4)


async def test_a_query_vector_is_the_mean_over_its_captions(engine):
    captions = CARD.prompts.for_query("cat")
    mean = np.mean([vector(len(caption)) for caption in captions], axis=0)
    assert np.allclose(await engine.encode_query("cat"), mean / np.linalg.norm(mean))


async def test_the_card_can_be_read_after_the_start(encoder):
    engine = ClipEngine(lambda: encoder)
    with pytest.raises(RuntimeError, match="start"):
        _ = engine.card
    assert await engine.start() == engine.card == CARD
    assert await engine.start() == CARD
    assert engine.calibration == encoder.calibration
    await engine.close()


async def test_calls_before_the_start_wait_for_the_model(encoder):
    engine = ClipEngine(lambda: encoder)
    assert (await engine.encode_image(gray(3))).vector.tolist() == vector(3)
    await engine.close()


async def test_bytes_that_are_no_image_are_rejected_and_never_reach_the_device(engine, encoder):
    with pytest.raises(ImageRejected) as caught:
        await engine.encode_image(b"<html>")
    assert caught.value.reason is RejectReason.UNKNOWN_FORMAT
    assert encoder.calls == []


async def test_the_engines_limits_apply(encoder):
    engine = ClipEngine(lambda: encoder, limits=ImageLimits(max_pixels=10))
    with pytest.raises(ImageRejected):
        await engine.encode_image(gray(1))
    await engine.close()


async def test_an_image_that_the_model_fails_on_fails_alone(engine):
    work = [engine.encode_image(gray(value)) for value in (1, POISON, 2)]
    answers = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(answers.pop(1), EncodingFailed)
    assert [answer.vector.tolist() for answer in answers] == [vector(1), vector(2)]


async def test_an_image_of_a_query_overtakes_a_thousand_uploads(engine, encoder):
    encoder.hold()
    uploads = [asyncio.create_task(engine.encode_image(gray(1))) for _ in range(1000)]
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) == 999)
    query = asyncio.create_task(engine.encode_image(gray(99), Lane.INTERACTIVE))
    words = asyncio.create_task(engine.encode_texts(["a cat"]))
    await until(lambda: engine.executor.waiting(Lane.INTERACTIVE) == 2)
    encoder.gate.set()
    await asyncio.gather(query, words)
    await asyncio.gather(*uploads)
    assert sorted(encoder.calls[1:3]) == [("image", [99]), ("text", [5])]


QUICK = np.zeros((6, 8, 3), np.uint8)


class SlowDecoder(FakeEncoder):
    """Counts how many images exist as full pixels at once, and blocks them until `decoded` is set; QUICK passes."""

    def __init__(self, *, runs_on_cpu: bool = True) -> None:
        super().__init__(runs_on_cpu=runs_on_cpu)
        self.decoded = threading.Event()
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        if pixels is QUICK:
            return super().prepare(pixels, box)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.decoded.wait(60)
        with self.lock:
            self.now -= 1
        return super().prepare(pixels, box)


async def test_few_images_exist_as_full_pixels_at_once_and_a_query_has_a_thread_of_its_own():
    encoder = SlowDecoder()
    engine = ClipEngine(lambda: encoder, decode_workers=2)
    uploads = [asyncio.create_task(engine.encode_image(gray(1))) for _ in range(20)]
    await until(lambda: encoder.now == 2)
    query = asyncio.create_task(engine.encode_image(gray(2), Lane.INTERACTIVE))
    await until(lambda: encoder.now == 3)
    encoder.decoded.set()
    await asyncio.gather(*uploads, query)
    assert encoder.most == 3
    await engine.close()


async def test_beside_a_gpu_decoding_gets_all_cores_but_one():
    encoder = SlowDecoder(runs_on_cpu=False)
    engine = ClipEngine(lambda: encoder)
    workers = decode_workers(usable_cores(), model_on_cpu=False)
    uploads = [asyncio.create_task(engine.encode_image(gray(1))) for _ in range(workers + 5)]
    await until(lambda: encoder.now == workers)
    encoder.decoded.set()
    await asyncio.gather(*uploads)
    assert encoder.most == workers
    await engine.close()


async def test_decoding_does_not_block_the_event_loop():
    encoder = SlowDecoder()
    engine = ClipEngine(lambda: encoder)
    upload = asyncio.create_task(engine.encode_image(gray(1)))
    await until(lambda: encoder.now == 1)  # the loop runs while the decoder blocks
    encoder.decoded.set()
    await upload
    await engine.close()


async def test_a_full_engine_refuses_uploads_and_still_takes_queries(encoder):
    engine = ClipEngine(lambda: encoder, max_queue=3)
    encoder.hold()
    uploads = [asyncio.create_task(engine.encode_image(gray(1))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="try again later"):
        await engine.encode_image(gray(1))
    query = asyncio.create_task(engine.encode_image(gray(2), Lane.INTERACTIVE))
    encoder.gate.set()
    await asyncio.gather(*uploads, query)
    assert (await engine.encode_image(gray(1))).vector.tolist() == vector(1)
    await engine.close()


async def test_a_cancelled_upload_makes_room_in_the_queue(encoder):
    engine = ClipEngine(lambda: encoder, max_queue=1)
    encoder.hold()
    upload = asyncio.create_task(engine.encode_image(gray(1)))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    encoder.gate.set()
    assert (await engine.encode_image(gray(2))).vector.tolist() == vector(2)
    await engine.close()


async def test_a_cancelled_upload_does_not_free_the_thread_it_still_uses():
    encoder = SlowDecoder()
    engine = ClipEngine(lambda: encoder, decode_workers=1)
    uploads = [asyncio.create_task(engine.encode_image(gray(1)))]
    await until(lambda: encoder.now == 1)
    uploads[0].cancel()
    uploads.append(asyncio.create_task(engine.encode_image(gray(2))))
    await asyncio.sleep(0.01)  # for the second upload to take the other thread, if it may
    assert await asyncio.wait_for(engine.encode_pixels(QUICK, Lane.INTERACTIVE), 60) is not None
    encoder.decoded.set()
    await asyncio.wait_for(asyncio.gather(*uploads, return_exceptions=True), 60)
    assert encoder.most == 1
    await engine.close()


@pytest.mark.parametrize("max_queue", [1, 20])
async def test_there_may_be_more_texts_than_the_queue_holds(encoder, max_queue):
    engine = ClipEngine(lambda: encoder, max_queue=max_queue)
    assert (await engine.encode_texts(["x" * length for length in range(64)]))[:, 0].tolist() == list(range(64))
    await engine.close()


async def test_the_remaining_texts_of_a_cancelled_call_are_not_encoded(encoder):
    engine = ClipEngine(lambda: encoder)
    encoder.hold()
    first = asyncio.create_task(engine.encode_texts(["first"]))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    call = asyncio.create_task(engine.encode_texts(["a"] * 20))
    await until(lambda: engine.executor.waiting(Lane.INTERACTIVE) == 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    encoder.gate.set()
    await first
    await engine.close()
    assert encoder.calls == [("text", [5])]


async def test_a_refused_call_does_not_go_on_encoding(encoder):
    engine = ClipEngine(lambda: encoder, max_queue=20)
    encoder.hold()
    first = asyncio.create_task(engine.encode_texts(["first"]))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    waiting = asyncio.create_task(engine.encode_texts(["second"]))
    await until(lambda: engine.executor.waiting(Lane.INTERACTIVE) == 1)
    with pytest.raises(QueueFull):
        await engine.encode_texts(["third"] * 20)
    encoder.gate.set()
    await asyncio.gather(first, waiting)
    await engine.close()
    assert encoder.calls == [("text", [5]), ("text", [6])]


async def test_there_may_be_more_labels_than_the_queue_holds(encoder):
    engine = ClipEngine(lambda: encoder, max_queue=64)
    await engine.classifier([Label("x" * length) for length in range(150)])
    await engine.close()


async def test_the_prompts_of_a_label_are_encoded_once(engine, encoder):
    await engine.classifier([Label("cat"), Label("sofa")])
    encoded = sum(len(batch) for batch in encoder.batches("text"))
    await engine.classifier([Label("sofa"), Label("cat")])
    assert sum(len(batch) for batch in encoder.batches("text")) == encoded
    await engine.classifier([Label("cat"), Label("hound")])
    assert sum(len(batch) for batch in encoder.batches("text")) == encoded + len(CARD.prompts.label)


@pytest.mark.parametrize(("least", "expected"), [(0.0, 2), (0.5, 0)])
async def test_a_classifier_uses_the_models_own_scale_and_threshold(least, expected):
    """With logit scale 0 every label and every background prompt is equally likely."""
    encoder = FakeEncoder(card=replace(CARD, logit_scale=0.0), calibration=Calibration(0.0, 0.0, least))
    engine = ClipEngine(lambda: encoder)
    classifier = await engine.classifier([Label("cat"), Label("a sofa")])
    image = np.array([[1.0, 0, 0, 0]], np.float32)
    assert np.allclose(classifier.probabilities(image), 1 / (2 + len(CARD.prompts.background)))
    assert len(classifier.classify(image)[0]) == expected
    await engine.close()


async def test_with_a_logit_bias_labels_have_the_probabilities_that_the_library_gives_them():
    encoder = FakeEncoder(card=replace(CARD, logit_bias=-3.0))
    engine = ClipEngine(lambda: encoder)
    labels = [Label("cat"), Label("a sofa")]
    ours, theirs = await engine.classifier(labels), ZeroShotClassifier.for_model(encoder, labels)
    image = np.array([[0.6, 0.8, 0, 0]], np.float32)
    assert np.allclose(ours.probabilities(image), theirs.probabilities(image))
    await engine.close()


async def test_close_finishes_present_calls_including_their_decoding():
    encoder = SlowDecoder()
    engine = ClipEngine(lambda: encoder)
    uploads = [asyncio.create_task(engine.encode_image(gray(value))) for value in range(5)]
    await until(lambda: encoder.now == 2)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    for refused in (engine.encode_image(gray(1)), engine.encode_texts(["a"]), engine.encode_query("a")):
        with pytest.raises(EngineClosed):
            await refused
    encoder.decoded.set()
    await closing
    assert [upload.result().vector[0] for upload in uploads] == [0, 1, 2, 3, 4]
    await engine.close()


async def test_calls_that_wait_for_a_model_to_load_fail_at_close_and_no_thread_is_left():
    gate = threading.Event()

    def load() -> FakeEncoder:
        assert gate.wait(60)
        return FakeEncoder()

    engine = ClipEngine(load, close_seconds=0.05)
    calls = [
        asyncio.create_task(call) for call in (engine.start(), engine.encode_image(gray(1)), engine.encode_query("a"))
    ]
    await asyncio.sleep(0)
    await asyncio.wait_for(engine.close(), 60)
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert [type(answer) for answer in answers] == [EngineClosed] * 3
    gate.set()
    await asyncio.to_thread(engine.executor._thread.join, 10)
    assert engine._pool is None
    with pytest.raises(EngineClosed):
        await engine.start()


async def test_a_closed_engine_cannot_be_started_again(engine):
    await engine.close()
    with pytest.raises(EngineClosed):
        await engine.start()


async def test_a_model_that_loads_during_close_finishes_the_calls_that_wait_for_it():
    gate = threading.Event()

    def load() -> FakeEncoder:
        assert gate.wait(60)
        return FakeEncoder()

    engine = ClipEngine(load)
    upload = asyncio.create_task(engine.encode_image(gray(1)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(closing, 60)
    assert upload.result().vector.tolist() == vector(1)


async def test_uploads_that_wait_for_a_decode_thread_at_the_end_of_close_raise_engine_closed():
    encoder = SlowDecoder()
    engine = ClipEngine(lambda: encoder, decode_workers=1, close_seconds=0.05)
    uploads = [asyncio.create_task(engine.encode_image(gray(1))) for _ in range(3)]
    await until(lambda: encoder.now == 1)
    closing = asyncio.create_task(engine.close())
    await until(lambda: engine._closed)
    encoder.decoded.set()
    await asyncio.wait_for(closing, 60)
    answers = await asyncio.wait_for(asyncio.gather(*uploads, return_exceptions=True), 60)
    assert [type(answer) for answer in answers] == [EngineClosed] * 3


async def test_every_call_reports_that_the_model_could_not_be_loaded():
    def load() -> FakeEncoder:
        raise ModelUnavailable("There is no such model.")

    engine = ClipEngine(load)
    for attempt in (engine.start(), engine.encode_image(gray(1)), engine.encode_texts(["a"]), engine.classifier([])):
        with pytest.raises(ModelUnavailable, match="no such model"):
            await attempt
    await engine.close()


async def test_a_real_checkpoint_works_through_the_engine(tiny, tiny_directory):
    engine = ClipEngine(lambda: ClipModel.load(str(tiny_directory), device="cpu", precision="fp32"))
    large = encode(quarters(1200, 900), "JPEG", quality=95)
    answer = await engine.encode_image(large)
    assert (answer.width, answer.height) == (1200, 900)
    assert float(answer.vector @ tiny.encode_images([np.asarray(quarters(1200, 900))])[0]) > 0.99
    many = await asyncio.gather(*(engine.encode_image(encode(quarters(40 + size, 40))) for size in range(30)))
    expected = tiny.encode_images([np.asarray(quarters(40 + size, 40)) for size in range(30)])
    assert np.allclose([each.vector for each in many], expected, atol=1e-5)
    assert np.allclose(np.linalg.norm(await engine.encode_query("a cat")), 1, atol=1e-6)
    classifier = await engine.classifier([Label("cat"), Label("dog")])
    assert len(classifier.classify(tiny.encode_images([noise(32, 32)]))) == 1
    await engine.close()


async def test_a_thumbnail_has_the_size_that_is_asked_for_and_needs_no_model(engine, encoder):
    thumbnail = await engine.thumbnail(gray(7), 20)
    assert thumbnail.shape == (20, 20, 3)
    assert (thumbnail == 7).all()
    with pytest.raises(ImageRejected):
        await engine.thumbnail(b"no image", 20)


async def test_thumbnails_are_made_where_uploads_are_decoded(encoder):
    engine = ClipEngine(lambda: encoder, limits=ImageLimits(max_pixels=10))
    await engine.start()
    with pytest.raises(ImageRejected) as refused:
        await engine.thumbnail(gray(7), 20)
    assert refused.value.reason is RejectReason.TOO_MANY_PIXELS
    await engine.close()
    with pytest.raises(EngineClosed):
        await engine.thumbnail(gray(7), 20)
