"""Background work stands back while somebody waits in front, and is never starved by it."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.engine.engine import ClipEngine
from clipcore.engine.executor import InferenceExecutor
from clipcore.engine.scheduling import LONGEST_HOLD_S, Hold
from clipcore.types import Lane
from tests.clipcore.device import held, results
from tests.clipcore.fakes import FakeEncoder, square, vector
from tests.clipcore.images import png

Q, B = Lane.INTERACTIVE, Lane.BACKGROUND
LONGEST = 10
MANY = 20
"""Questions in turn: work that were not held back would get in between."""

# Each step: how long after the one before, and whether the hold is set then. Many follow at once, as blocks do that
# leave no gap between them.
STEPS = st.lists(st.tuples(st.sampled_from([0, 0, 1, 3, 9, 10, 11, 40]), st.booleans()), max_size=40)


@given(STEPS, st.integers(1, 30), st.booleans())
def test_whatever_is_set_and_lifted_ready_work_waits_no_longer_than_the_longest_and_not_at_all_unheld(
    steps, takes, asks_late
):
    """takes: how long each piece of work goes on. asks_late: it hears of no change, and asks when it was told to."""
    hold, now, ready_since, asks_at = Hold(LONGEST), 0, 0, 0
    for after, is_set in [*steps, (1000, True)]:
        until = now + after
        while asks_at <= until:
            now = asks_at
            delay = hold.delay(now, ready=True)
            assert delay <= LONGEST
            if delay == 0:
                assert now - ready_since <= LONGEST
                ready_since = now + takes
            else:
                assert hold.is_set
            asks_at = now + (delay or takes)
        now, hold.is_set = until, is_set
        if not asks_late:
            asks_at = max(now, ready_since)


def test_time_in_which_nothing_was_ready_does_not_count():
    hold = Hold(LONGEST)
    hold.is_set = True
    assert hold.delay(0, ready=False) == 0
    assert hold.delay(100, ready=True) == LONGEST
    assert hold.delay(101, ready=False) == 0
    assert hold.delay(200, ready=True) == LONGEST


def test_after_a_piece_of_work_the_time_counts_anew():
    hold = Hold(LONGEST)
    hold.is_set = True
    assert [hold.delay(now, ready=True) for now in (0, 4, 10, 12, 21, 22)] == [10, 6, 0, 10, 1, 0]


async def test_no_batch_of_the_background_begins_while_it_is_held_and_questions_do(executor, encoder):
    executor.hold_background(True)
    upload, label = executor.submit_image(square(1), B), executor.submit_text("label", B)
    for _ in range(MANY):
        await results([executor.submit_text("a cat", Q), executor.submit_image(square(9), Q)])
    assert {kind: set(sum(encoder.batches(kind), [])) for kind in ("image", "text")} == {"image": {9}, "text": {5}}
    assert len(encoder.batches("text")) == MANY
    executor.hold_background(False)
    assert await results([upload, label]) == [vector(1), vector(5)]


async def test_a_batch_under_way_ends_although_the_next_is_held(executor, encoder):
    upload = await held(executor, encoder)
    executor.hold_background(True)
    encoder.gate.set()
    assert await results([upload]) == [vector(0)]


async def test_a_hold_that_nobody_lifts_lets_a_batch_through_each_time_it_has_lasted(encoder):
    executor = InferenceExecutor(lambda: encoder, max_batch=1)
    executor.hold_background(True)
    began = perf_counter()
    uploads = [executor.submit_image(square(value)) for value in (1, 2)]
    for count, upload in enumerate(uploads, 1):
        await asyncio.wait_for(results([upload]), 10)
        assert perf_counter() - began >= count * LONGEST_HOLD_S
    await executor.close()


@pytest.mark.parametrize("held_again", [False, True])
async def test_closing_holds_nothing_back(encoder, held_again):
    executor = InferenceExecutor(lambda: encoder, clock=encoder.clock, close_seconds=5)  # its time stands still
    encoder.hold()
    question = executor.submit_text("a cat", Q)
    assert await asyncio.to_thread(encoder.busy.wait, 10)
    executor.hold_background(True)
    uploads = [executor.submit_image(square(1)) for _ in range(3)]
    closing = asyncio.create_task(executor.close())
    await asyncio.sleep(0)
    if held_again:
        executor.hold_background(True)
    encoder.gate.set()
    await closing
    assert await results([question, *uploads]) == [vector(5), *[vector(1)] * 3]


async def test_a_device_that_works_by_itself_is_not_held():
    encoder = FakeEncoder(overlaps=True)
    executor = InferenceExecutor(lambda: encoder, clock=encoder.clock)
    executor.hold_background(True)
    assert await asyncio.wait_for(results([executor.submit_image(square(1))]), 10) == [vector(1)]
    executor.hold_background(True)
    assert await asyncio.wait_for(results([executor.submit_image(square(2))]), 10) == [vector(2)]
    await executor.close()


GRAY = png("rgb(7, 7, 7)", 8, 6)


class Decoding(FakeEncoder):
    """Counts what is decoded."""

    def __init__(self, *, overlaps: bool = False) -> None:
        super().__init__(overlaps=overlaps)
        self.decoded = 0

    def prepare(self, pixels, box=None):
        self.decoded += 1
        return super().prepare(pixels, box)


async def nothing_happens(engine: ClipEngine) -> None:
    """As far as questions that come after it can tell."""
    for _ in range(MANY):
        await engine.encode_texts(["a cat"])


@pytest.mark.parametrize("overlaps", [False, True])
async def test_no_upload_is_decoded_while_a_block_is_open_and_a_questions_image_is(overlaps, monkeypatch):
    monkeypatch.setattr("clipcore.engine.engine._LONGEST_STAND_BACK_S", 30)
    encoder = Decoding(overlaps=overlaps)
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    with engine.foreground():
        with engine.foreground():
            uploads = [asyncio.create_task(engine.encode_image(GRAY)) for _ in range(3)]
            await nothing_happens(engine)
        assert encoder.decoded == 0
        await engine.encode_image(GRAY, Q)
        assert encoder.decoded == 1
    await asyncio.gather(*uploads)
    assert encoder.decoded == 4
    await engine.close()


async def test_no_batch_is_begun_while_a_block_is_open(encoder):
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    engine._executor._clock = encoder.clock  # time stands still
    with engine.foreground():
        label = asyncio.create_task(engine.encode_texts(["a label"], B))
        await nothing_happens(engine)
        assert not label.done()
    await label
    await engine.close()


async def test_a_questions_image_stands_in_front_by_itself(encoder, monkeypatch):
    monkeypatch.setattr("clipcore.engine.engine._LONGEST_STAND_BACK_S", 30)
    engine = ClipEngine(lambda: encoder)
    encoder.hold()
    upload = asyncio.create_task(engine.encode_image(GRAY))
    assert await asyncio.to_thread(encoder.busy.wait, 10)
    question = asyncio.create_task(engine.encode_image(GRAY, Q))
    await asyncio.sleep(0)
    second = asyncio.create_task(engine.encode_image(GRAY))
    while not engine.waiting(Q):  # noqa: ASYNC110 - it is decoded on a thread, which sets no asyncio events
        await asyncio.sleep(0.002)
    assert engine.waiting(B) == 0
    encoder.gate.set()
    await asyncio.gather(upload, question, second)
    await engine.close()


async def test_a_question_that_is_given_up_holds_nothing_back(encoder, monkeypatch):
    monkeypatch.setattr("clipcore.engine.engine._LONGEST_STAND_BACK_S", 30)
    engine = ClipEngine(lambda: encoder)

    async def ask() -> None:
        with engine.foreground():
            await asyncio.Event().wait()

    asked = asyncio.create_task(ask())
    await asyncio.sleep(0)
    upload = asyncio.create_task(engine.encode_image(GRAY))
    await nothing_happens(engine)
    assert not upload.done()
    asked.cancel()
    await upload
    await engine.close()


async def test_an_engine_that_closes_finishes_its_calls_although_a_block_is_open():
    encoder = Decoding()
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    engine._executor._clock = encoder.clock  # time stands still: no hold runs out by itself
    with engine.foreground():
        uploads = [asyncio.create_task(engine.encode_image(GRAY)) for _ in range(30)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(engine.close())
        await asyncio.wait_for(closing, 10)
        with engine.foreground():
            pass
    assert all(upload.done() for upload in uploads)
    assert encoder.decoded == 30


async def test_uploads_become_vectors_however_long_a_block_stays_open(encoder):
    engine = ClipEngine(lambda: encoder, decode_workers=1)
    with engine.foreground():
        await asyncio.wait_for(asyncio.gather(*(engine.encode_image(GRAY) for _ in range(7))), 30)
    await engine.close()


async def test_other_work_stands_back_too_and_not_for_ever(encoder, monkeypatch):
    engine = ClipEngine(lambda: encoder)
    await engine.stand_back()
    with engine.foreground():
        await asyncio.wait_for(engine.stand_back(), 10)
    monkeypatch.setattr("clipcore.engine.engine._LONGEST_STAND_BACK_S", 30)
    with engine.foreground():
        work = asyncio.create_task(engine.stand_back())
        await nothing_happens(engine)
        assert not work.done()
    await work
    await engine.close()
