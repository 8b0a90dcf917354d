from __future__ import annotations

import asyncio
import threading

import pytest

from clipcore.engine.executor import InferenceExecutor
from clipcore.errors import EngineClosed, QueueFull
from clipcore.types import Lane
from tests.clipcore.engine.support import keep_busy, results, warm_up
from tests.clipcore.fakes import FakeEncoder, square, vector

Q, B = Lane.INTERACTIVE, Lane.BACKGROUND


async def test_images_and_texts_come_back_as_vectors(executor):
    assert await results([executor.submit(square(7)), executor.submit("four")]) == [vector(7), vector(4)]


async def test_loading_and_encoding_happen_on_one_thread(encoder):
    loaded_on = []

    def load() -> FakeEncoder:
        loaded_on.append(threading.current_thread().name)
        return encoder

    executor = InferenceExecutor(load)
    await results([executor.submit(square(1)), executor.submit("a")])
    await executor.close()
    assert encoder.threads == set(loaded_on) == {"clip-inference"}


async def test_work_queued_while_the_device_was_busy_forms_one_batch(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    waiting = [executor.submit(square(value)) for value in range(20, 60)]
    encoder.gate.set()
    await results(waiting)
    assert encoder.batches() == [[0], list(range(20, 60))]


async def test_a_query_overtakes_a_thousand_queued_images(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    images = [executor.submit(square(value % 10)) for value in range(1000)]
    query = executor.submit("a cat", Q)
    encoder.gate.set()
    assert await results([query]) == [vector(5)]
    await results(images)
    assert [kind for kind, _ in encoder.calls[:3]] == ["image", "text", "image"]


async def test_an_image_of_a_query_overtakes_queued_images_too(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    images = [executor.submit(square(1)) for _ in range(1000)]
    query = executor.submit(square(99), Q)
    encoder.gate.set()
    await results([*images, query])
    assert encoder.batches()[1] == [99]


async def test_images_and_texts_of_one_lane_take_turns(executor, encoder):
    await keep_busy(executor, encoder)
    futures = [executor.submit(text, B) for text in ("a", "bb", "ccc", "dddd")] + [executor.submit(square(9))]
    encoder.gate.set()
    await results(futures)
    assert encoder.calls[1:4] == [("text", [1]), ("image", [9]), ("text", [2, 3])]


async def test_background_batches_end_within_the_query_budget():
    encoder = FakeEncoder(seconds_each=0.04)
    executor = InferenceExecutor(lambda: encoder, query_budget_ms=200, clock=encoder.clock)
    await keep_busy(executor, encoder)
    futures = [executor.submit(square(value % 10)) for value in range(100)]
    encoder.gate.set()
    await results(futures)
    await executor.close()
    assert [len(batch) for batch in encoder.batches()][:6] == [1, 2, 4, 5, 5, 5]


async def test_cancelled_work_is_skipped(executor, encoder):
    await keep_busy(executor, encoder)
    gone, stays = executor.submit(square(1)), executor.submit(square(2))
    caller = asyncio.create_task(results([gone]))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    encoder.gate.set()
    assert await results([stays]) == [vector(2)]
    assert encoder.batches() == [[0], [2]]


async def test_cancelling_work_that_is_being_encoded_affects_no_other(executor, encoder):
    running = asyncio.wrap_future(await keep_busy(executor, encoder))
    running.cancel()
    encoder.gate.set()
    assert await results([executor.submit(square(3))]) == [vector(3)]


async def test_a_full_lane_refuses_and_the_other_does_not(encoder):
    executor = InferenceExecutor(lambda: encoder, max_queue=3)
    await keep_busy(executor, encoder)
    waiting = [executor.submit(square(value)) for value in range(3)]
    with pytest.raises(QueueFull, match="try again later"):
        executor.submit(square(4))
    waiting.append(executor.submit(square(5), Q))
    waiting.append(executor.submit("a", Q))
    encoder.gate.set()
    assert len(await results(waiting)) == 5
    await executor.close()


async def test_cancelled_work_makes_room_in_a_full_lane(encoder):
    executor = InferenceExecutor(lambda: encoder, max_queue=2)
    await keep_busy(executor, encoder)
    gone = [executor.submit(square(1)), executor.submit(square(2))]
    for future in gone:
        future.cancel()
    stays = executor.submit(square(3))
    encoder.gate.set()
    assert await results([stays]) == [vector(3)]
    await executor.close()


async def test_close_finishes_accepted_work_and_refuses_new_work(encoder):
    executor = InferenceExecutor(lambda: encoder)
    await keep_busy(executor, encoder)
    accepted = [executor.submit(square(value)) for value in range(10)]
    closing = asyncio.create_task(executor.close())
    await asyncio.sleep(0)
    with pytest.raises(EngineClosed):
        executor.submit(square(1))
    encoder.gate.set()
    await closing
    assert await results(accepted) == [vector(value) for value in range(10)]
    with pytest.raises(EngineClosed):
        await executor.start()


async def test_close_can_be_called_twice_at_once_and_without_a_start(encoder):
    executor = InferenceExecutor(lambda: encoder)
    await asyncio.gather(executor.close(), executor.close())
    started = InferenceExecutor(lambda: encoder)
    await started.start()
    await asyncio.gather(started.close(), started.close())
    await started.close()
