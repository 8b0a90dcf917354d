"""What goes wrong on the device, and who is told."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.engine.executor import InferenceExecutor
from clipcore.errors import EncodingFailed, EngineClosed, ModelUnavailable
from clipcore.types import Lane
from tests.clipcore.device import held, results, warm
from tests.clipcore.fakes import NOT_A_NUMBER, POISON, FakeEncoder, square, vector

Q = Lane.INTERACTIVE


async def test_only_the_poison_of_a_batch_fails(executor, encoder):
    await warm(executor, encoder)
    await held(executor, encoder)
    futures = [executor.submit_image(square(value)) for value in (10, 11, 12, POISON, 15)]
    encoder.gate.set()
    answers = await results(futures)
    assert isinstance(answers.pop(3), EncodingFailed)
    assert answers == [vector(value) for value in (10, 11, 12, 15)]
    assert encoder.batches()[2:] == [[10], [11], [12], [POISON], [15]]


async def test_a_query_goes_between_the_retries_of_a_failed_batch(executor, encoder):
    await warm(executor, encoder)
    await held(executor, encoder)
    futures = [executor.submit_image(square(value)) for value in (10, POISON, 15)]
    asked: list[Future] = []
    futures[0].add_done_callback(lambda _: asked.append(executor.submit_text("now", Q)))
    encoder.gate.set()
    await results(futures)
    await results(asked)
    assert [kind for kind, _ in encoder.calls] == ["image", "image", "image", "text", "image", "image"]


async def test_a_vector_that_is_no_number_fails_its_own_image_alone(executor, encoder):
    await warm(executor, encoder)
    await held(executor, encoder)
    futures = [executor.submit_image(square(value)) for value in (10, NOT_A_NUMBER)]
    encoder.gate.set()
    good, bad = await results(futures)
    assert good == vector(10)
    assert isinstance(bad, EncodingFailed)


@pytest.mark.parametrize("failure", [SystemExit(3), KeyboardInterrupt(), MemoryError(), RuntimeError("device lost")])
async def test_no_failure_of_an_image_ends_the_thread(executor, encoder, failure):
    encoder.failure = failure
    bad, good = await results([executor.submit_image(square(POISON)), executor.submit_image(square(1))])
    assert isinstance(bad, EncodingFailed)
    assert good == vector(1)


async def test_out_of_memory_halves_the_batch_until_it_fits(executor, encoder):
    await warm(executor, encoder)
    await held(executor, encoder)
    encoder.fits = 10
    futures = [executor.submit_image(square(value)) for value in range(20, 60)]
    encoder.gate.set()
    assert await results(futures) == [vector(value) for value in range(20, 60)]
    assert [len(batch) for batch in encoder.batches()][:4] == [1, 40, 20, 10]


async def test_a_failed_load_is_remembered_and_answered_to_every_caller():
    loads = []
    gate = threading.Event()

    def load() -> FakeEncoder:
        loads.append(1)
        gate.wait(10)
        raise ModelUnavailable("There is no such model.")

    executor = InferenceExecutor(load)
    early = [executor.submit_image(square(1)), executor.submit_text("a")]
    starting = asyncio.create_task(executor.start())
    await asyncio.sleep(0)
    gate.set()
    for answer in await results(early):
        assert isinstance(answer, ModelUnavailable)
    for attempt in (starting, executor.start()):
        with pytest.raises(ModelUnavailable, match="no such model"):
            await attempt
    with pytest.raises(ModelUnavailable, match="no such model"):
        executor.submit_image(square(1))
    await executor.close()
    assert loads == [1]


@pytest.mark.parametrize("failure", [RuntimeError("secret detail"), SystemExit(1)])
async def test_a_load_that_fails_unexpectedly_is_a_model_that_is_unavailable(failure):
    def load() -> FakeEncoder:
        raise failure

    executor = InferenceExecutor(load)
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        await executor.start()
    await executor.close()


async def test_a_start_that_is_given_up_does_not_stop_the_load(encoder):
    gate = threading.Event()

    def load() -> FakeEncoder:
        gate.wait(10)
        return encoder

    executor = InferenceExecutor(load)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(executor.start(), 0.01)
    gate.set()
    assert await executor.start() is encoder
    await executor.close()


async def test_close_does_not_wait_for_a_load_that_no_work_waits_for(encoder):
    gate = threading.Event()

    def load() -> FakeEncoder:
        gate.wait(30)
        return encoder

    executor = InferenceExecutor(load)
    starting = asyncio.create_task(executor.start())
    await asyncio.sleep(0)
    await asyncio.wait_for(executor.close(), 5)
    gate.set()
    assert await starting is encoder


async def test_a_bug_in_the_thread_leaves_nobody_waiting(encoder):
    """The clock stands for any code of ours that runs between two batches."""
    broken = threading.Event()

    def clock() -> float:
        if broken.is_set():
            raise AssertionError("a bug")
        return 0.0

    executor = InferenceExecutor(lambda: encoder, clock=clock)
    running = await held(executor, encoder)
    queued = executor.submit_image(square(1))
    broken.set()
    encoder.gate.set()
    for answer in await asyncio.wait_for(results([running, queued]), 10):
        assert isinstance(answer, EngineClosed)
    with pytest.raises(EngineClosed, match="unexpectedly"):
        executor.submit_image(square(1))
    end = await asyncio.wait_for(executor.ended(), 10)
    assert "unexpectedly" in str(end)
    await executor.close()


async def test_an_orderly_end_and_an_impatient_watcher_are_not_an_end_by_itself(executor, encoder):
    await warm(executor, encoder)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(executor.ended(), 0.01)
    watching = asyncio.create_task(executor.ended())
    await executor.close()
    assert not watching.done()
    watching.cancel()


async def test_a_device_that_hangs_does_not_hold_up_the_end(encoder, caplog):
    executor = InferenceExecutor(lambda: encoder, close_seconds=0.05)
    hanging = await held(executor, encoder)
    await asyncio.wait_for(executor.close(), 10)
    [answer] = await results([hanging])
    assert isinstance(answer, EngineClosed)
    assert "did not end" in caplog.text
    encoder.gate.set()
    assert executor._thread is not None
    await asyncio.to_thread(executor._thread.join, 10)
    assert not executor._thread.is_alive()


def test_an_event_loop_that_closes_before_the_answer_harms_nobody():
    encoder = FakeEncoder()
    executor = InferenceExecutor(lambda: encoder)

    async def ask_and_leave() -> Future:
        future = await held(executor, encoder)
        asyncio.wrap_future(future)
        return future

    abandoned = asyncio.run(ask_and_leave())
    encoder.gate.set()
    assert abandoned.result(10).tolist() == vector(0)

    async def ask_again() -> list[object]:
        answers = await results([executor.submit_image(square(8))])
        await executor.close()
        return answers

    assert asyncio.run(ask_again()) == [vector(8)]


VALUES = st.sampled_from([*range(8), POISON, NOT_A_NUMBER])


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans(), VALUES, st.booleans()), max_size=60))
@settings(max_examples=40, deadline=None)
def test_everyone_gets_their_own_answer_whatever_the_mixture(work):
    """lane, text or image, value, caller gone. Some values are poison, some no numbers, and memory is short."""

    async def run() -> None:
        encoder = FakeEncoder(fits=7)
        executor = InferenceExecutor(lambda: encoder)
        futures = []
        for lane, is_text, value, gone in work:
            future = executor.submit_text("x" * value, lane) if is_text else executor.submit_image(square(value), lane)
            if gone:
                future.cancel()
            futures.append(future)
        await executor.close()
        for (_, _, value, gone), future in zip(work, futures, strict=True):
            assert future.done()
            if future.cancelled():
                assert gone
            elif value in (POISON, NOT_A_NUMBER):
                assert isinstance(future.exception(), EncodingFailed)
            else:
                assert future.result().tolist() == vector(value)

    asyncio.run(run())
