"""Background work yields while a query is being answered, and never starves."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest

from clipcore.engine.engine import ClipEngine
from clipcore.engine.executor import InferenceExecutor
from clipcore.engine.scheduling import MAX_BACKGROUND_WAIT_S
from clipcore.types import Lane
from tests.clipcore.engine.support import keep_busy, results
from tests.clipcore.fakes import FakeEncoder, square, vector
from tests.clipcore.images import png

Q, B = Lane.INTERACTIVE, Lane.BACKGROUND
GRAY = png("rgb(7, 7, 7)", 8, 6)
MANY = 20
"""Queries one after the other, between which background work would run if it did not yield."""


class CountingDecoder(FakeEncoder):
    """Counts the images that are decoded."""

    def __init__(self, *, runs_on_cpu: bool = True) -> None:
        super().__init__(runs_on_cpu=runs_on_cpu)
        self.decoded = 0

    def prepare(self, pixels, box=None):
        self.decoded += 1
        return super().prepare(pixels, box)


async def ask_many(engine: ClipEngine) -> None:
    """Gives background work many chances to run."""
    for _ in range(MANY):
        await engine.encode_texts(["a cat"])


@pytest.fixture
def long_yield(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcore.engine.engine._MAX_YIELD_S", 30)


async def test_while_paused_queries_run_and_background_batches_do_not(executor, encoder):
    executor.pause_background(True)
    upload, label = executor.submit(square(1), B), executor.submit("label", B)
    for _ in range(MANY):
        await results([executor.submit("a cat", Q), executor.submit(square(9), Q)])
    assert {kind: set(sum(encoder.batches(kind), [])) for kind in ("image", "text")} == {"image": {9}, "text": {5}}
    executor.pause_background(False)
    assert await results([upload, label]) == [vector(1), vector(5)]


async def test_the_current_batch_finishes_during_a_pause(executor, encoder):
    upload = await keep_busy(executor, encoder)
    executor.pause_background(True)
    encoder.gate.set()
    assert await results([upload]) == [vector(0)]


async def test_a_pause_that_does_not_end_lets_a_batch_through_each_time_the_limit_has_passed(encoder):
    executor = InferenceExecutor(lambda: encoder, max_batch=1)
    executor.pause_background(True)
    began = perf_counter()
    uploads = [executor.submit(square(value)) for value in (1, 2)]
    for count, upload in enumerate(uploads, 1):
        await asyncio.wait_for(results([upload]), 60)
        assert perf_counter() - began >= count * MAX_BACKGROUND_WAIT_S
    await executor.close()


async def test_uploads_are_encoded_although_queries_come_without_a_gap(encoder):
    encoder.seconds_each = MAX_BACKGROUND_WAIT_S / 5
    executor = InferenceExecutor(lambda: encoder, clock=encoder.clock, max_batch=1)
    await keep_busy(executor, encoder)
    upload = executor.submit(square(1), B)
    queries = [executor.submit("a cat", Q) for _ in range(MANY)]
    encoder.gate.set()
    await results([upload, *queries])
    await executor.close()
    assert 4 <= [kind for kind, _ in encoder.calls[1:]].index("image") <= 6


async def test_closing_ends_a_pause(encoder):
    executor = InferenceExecutor(lambda: encoder, clock=encoder.clock, close_seconds=5)  # its time stands still
    encoder.hold()
    query = executor.submit("a cat", Q)
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    executor.pause_background(True)
    uploads = [executor.submit(square(1)) for _ in range(3)]
    closing = asyncio.create_task(executor.close())
    await asyncio.sleep(0)
    encoder.gate.set()
    await closing
    assert await results([query, *uploads]) == [vector(5), *[vector(1)] * 3]


async def test_the_batches_of_a_gpu_are_not_paused():
    encoder = FakeEncoder(runs_on_cpu=False)
    executor = InferenceExecutor(lambda: encoder, clock=encoder.clock)  # its time stands still
    executor.pause_background(True)
    assert await asyncio.wait_for(results([executor.submit(square(1))]), 60) == [vector(1)]
    await executor.close()


@pytest.mark.usefixtures("long_yield")
@pytest.mark.parametrize("runs_on_cpu", [False, True])
async def test_while_the_background_is_paused_images_of_queries_are_decoded_and_uploads_are_not(runs_on_cpu):
    encoder = CountingDecoder(runs_on_cpu=runs_on_cpu)
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    with engine.pause_background():
        with engine.pause_background():
            uploads = [asyncio.create_task(engine.encode_image(GRAY)) for _ in range(3)]
            await ask_many(engine)
        assert encoder.decoded == 0
        await engine.encode_image(GRAY, Q)
        assert encoder.decoded == 1
    await asyncio.gather(*uploads)
    assert encoder.decoded == 4
    await engine.close()


async def test_no_background_batch_starts_while_it_is_paused(encoder):
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    engine.executor._clock = encoder.clock  # time stands still
    with engine.pause_background():
        label = asyncio.create_task(engine.encode_texts(["a label"], B))
        await ask_many(engine)
        assert not label.done()
    await label
    await engine.close()


@pytest.mark.usefixtures("long_yield")
async def test_encoding_the_image_of_a_query_pauses_the_background(encoder):
    engine = ClipEngine(lambda: encoder)
    encoder.hold()
    upload = asyncio.create_task(engine.encode_image(GRAY))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    query = asyncio.create_task(engine.encode_image(GRAY, Q))
    await asyncio.sleep(0)
    second = asyncio.create_task(engine.encode_image(GRAY))
    while not engine.executor.waiting(Q):  # noqa: ASYNC110 - it is decoded on a thread, which sets no asyncio events
        await asyncio.sleep(0.002)
    assert engine.executor.waiting(B) == 0
    encoder.gate.set()
    await asyncio.gather(upload, query, second)
    await engine.close()


@pytest.mark.usefixtures("long_yield")
async def test_a_cancelled_query_ends_the_pause(encoder):
    engine = ClipEngine(lambda: encoder)

    async def ask() -> None:
        with engine.pause_background():
            await asyncio.Event().wait()

    asked = asyncio.create_task(ask())
    await asyncio.sleep(0)
    upload = asyncio.create_task(engine.encode_image(GRAY))
    await ask_many(engine)
    assert not upload.done()
    asked.cancel()
    await upload
    await engine.close()


@pytest.mark.usefixtures("long_yield")
async def test_a_closing_engine_finishes_its_calls_although_a_query_pauses_them():
    encoder = CountingDecoder()
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    engine.executor._clock = encoder.clock  # time stands still
    with engine.pause_background():
        uploads = [asyncio.create_task(engine.encode_image(GRAY)) for _ in range(30)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(engine.close())
        await asyncio.wait_for(closing, 60)
        with engine.pause_background():
            pass
    assert all(upload.done() for upload in uploads)
    assert encoder.decoded == 30


async def test_uploads_are_encoded_however_long_a_query_takes(encoder):
    engine = ClipEngine(lambda: encoder, decode_workers=1)
    with engine.pause_background():
        await asyncio.wait_for(asyncio.gather(*(engine.encode_image(GRAY) for _ in range(7))), 60)
    await engine.close()


async def test_other_background_work_yields_for_a_limited_time(encoder, monkeypatch):
    engine = ClipEngine(lambda: encoder)
    await engine.yield_to_queries()
    with engine.pause_background():
        await asyncio.wait_for(engine.yield_to_queries(), 60)
    monkeypatch.setattr("clipcore.engine.engine._MAX_YIELD_S", 30)
    with engine.pause_background():
        work = asyncio.create_task(engine.yield_to_queries())
        await ask_many(engine)
        assert not work.done()
    await work
    await engine.close()
