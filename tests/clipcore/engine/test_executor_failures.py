"""Failures of the model, of the thread and of loading, and what each caller gets."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.engine.executor import InferenceExecutor
from clipcore.engine.scheduling import Kind
from clipcore.errors import EncodingFailed, EngineClosed, ModelUnavailable
from clipcore.types import Lane
from tests.clipcore.engine.support import keep_busy, results, warm_up
from tests.clipcore.fakes import NOT_A_NUMBER, POISON, FakeEncoder, square, vector

Q = Lane.INTERACTIVE


async def test_only_the_failing_input_of_a_batch_fails(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    futures = [executor.submit(square(value)) for value in (10, 11, 12, POISON, 15)]
    encoder.gate.set()
    answers = await results(futures)
    assert isinstance(answers.pop(3), EncodingFailed)
    assert answers == [vector(value) for value in (10, 11, 12, 15)]
    assert encoder.batches()[2:] == [[10], [11], [12], [POISON], [15]]


async def test_a_query_goes_between_the_retries_of_a_failed_batch(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    futures = [executor.submit(square(value)) for value in (10, POISON, 15)]
    asked: list[Future] = []
    futures[0].add_done_callback(lambda _: asked.append(executor.submit("now", Q)))
    encoder.gate.set()
    await results(futures)
    await results(asked)
    assert [kind for kind, _ in encoder.calls] == ["image", "image", "image", "text", "image", "image"]


async def test_a_nan_vector_fails_only_its_own_image(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    futures = [executor.submit(square(value)) for value in (10, NOT_A_NUMBER)]
    encoder.gate.set()
    good, bad = await results(futures)
    assert good == vector(10)
    assert isinstance(bad, EncodingFailed)


@pytest.mark.parametrize("failure", [SystemExit(3), KeyboardInterrupt(), MemoryError(), RuntimeError("device lost")])
async def test_no_failure_of_an_image_ends_the_thread(executor, encoder, failure):
    encoder.failure = failure
    bad, good = await results([executor.submit(square(POISON)), executor.submit(square(1))])
    assert isinstance(bad, EncodingFailed)
    assert good == vector(1)


async def test_out_of_memory_halves_the_batch_until_it_fits(executor, encoder):
    await warm_up(executor, encoder)
    await keep_busy(executor, encoder)
    encoder.fits = 10
    futures = [executor.submit(square(value)) for value in range(20, 60)]
    encoder.gate.set()
    assert await results(futures) == [vector(value) for value in range(20, 60)]
    assert [len(batch) for batch in encoder.batches()][:4] == [1, 40, 20, 10]


async def test_every_caller_gets_the_failure_of_a_load_that_is_tried_once():
    loads = []
    gate = threading.Event()

    def load() -> FakeEncoder:
        loads.append(1)
        gate.wait(60)
        raise ModelUnavailable("There is no such model.")

    executor = InferenceExecutor(load)
    early = [executor.submit(square(1)), executor.submit("a")]
    starting = asyncio.create_task(executor.start())
    await asyncio.sleep(0)
    gate.set()
    for answer in await results(early):
        assert isinstance(answer, ModelUnavailable)
    for attempt in (starting, executor.start()):
        with pytest.raises(ModelUnavailable, match="no such model"):
            await attempt
    with pytest.raises(ModelUnavailable, match="no such model"):
        executor.submit(square(1))
    await executor.close()
    assert loads == [1]


@pytest.mark.parametrize("failure", [RuntimeError("secret detail"), SystemExit(1)])
async def test_an_unexpected_failure_to_load_is_model_unavailable(failure):
    def load() -> FakeEncoder:
        raise failure

    executor = InferenceExecutor(load)
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        await executor.start()
    await executor.close()


async def test_a_full_disk_while_the_model_is_downloaded_is_told_as_such():
    def load() -> FakeEncoder:
        raise OSError(errno.ENOSPC, "No space left on device")

    executor = InferenceExecutor(load)
    with pytest.raises(ModelUnavailable, match="the disk is full"):
        await executor.start()
    await executor.close()


async def test_cancelling_a_start_does_not_stop_the_load(encoder):
    gate = threading.Event()

    def load() -> FakeEncoder:
        gate.wait(60)
        return encoder

    executor = InferenceExecutor(load)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(executor.start(), 0.01)
    gate.set()
    assert await executor.start() is encoder
    await executor.close()


class SlowLoad:
    """Loads the encoder once `gate` is set. unhandled: exceptions that ended a thread."""

    def __init__(self, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoder = encoder
        self.gate = threading.Event()
        self.unhandled: list[object] = []
        monkeypatch.setattr(threading, "excepthook", self.unhandled.append)

    def __call__(self) -> FakeEncoder:
        assert self.gate.wait(60)
        return self.encoder

    async def finish(self, executor: InferenceExecutor) -> None:
        """Lets the model load, and waits for the end of the thread."""
        self.gate.set()
        assert executor._thread is not None
        await asyncio.to_thread(executor._thread.join, 10)
        assert not executor._thread.is_alive()


@pytest.fixture
def slow_load(encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLoad]:
    load = SlowLoad(encoder, monkeypatch)
    yield load
    load.gate.set()


async def test_close_abandons_a_load_without_work_and_fails_its_callers(slow_load, caplog):
    executor = InferenceExecutor(slow_load)
    starting = asyncio.create_task(executor.start())
    await asyncio.sleep(0)
    await asyncio.wait_for(executor.close(), 60)
    with pytest.raises(EngineClosed):
        await asyncio.wait_for(starting, 60)
    await slow_load.finish(executor)
    assert not slow_load.unhandled
    assert not caplog.records


async def test_a_load_that_outlives_close_ends_its_thread_quietly(slow_load):
    executor = InferenceExecutor(slow_load, close_seconds=0.05)
    image = executor.submit(square(1))
    await asyncio.wait_for(executor.close(), 60)
    [answer] = await asyncio.wait_for(results([image]), 60)
    assert isinstance(answer, EngineClosed)
    await slow_load.finish(executor)
    assert not slow_load.unhandled
    assert not executor.alive
    with pytest.raises(EngineClosed):
        await executor.start()


class RacingFuture(Future):
    """`close` and the inference thread answer it at once: the second one enters before the first one has answered."""

    def __init__(self, encoder: FakeEncoder, *, failure_first: bool) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._encoder = encoder
        self._failure_first = failure_first
        self._answered = threading.Event()

    def set_exception(self, exception: BaseException | None) -> None:
        self._encoder.gate.set()
        self._settle(lambda: super(RacingFuture, self).set_exception(exception), first=self._failure_first)

    def set_result(self, result: object) -> None:
        self._settle(lambda: super(RacingFuture, self).set_result(result), first=not self._failure_first)

    def _settle(self, settle: Callable[[], None], *, first: bool) -> None:
        if not first:
            assert self._answered.wait(60)
        try:
            settle()
        finally:
            self._answered.set()


@pytest.mark.parametrize("failure_first", [False, True])
async def test_close_and_the_device_may_answer_the_same_work_at_once(encoder, failure_first, monkeypatch):
    unhandled: list[object] = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    executor = InferenceExecutor(lambda: encoder, close_seconds=0.05)
    await keep_busy(executor, encoder)
    queued = [executor.submit(square(value)) for value in range(3)]
    [job] = executor._current_batch
    job.answer = RacingFuture(encoder, failure_first=failure_first)
    await asyncio.wait_for(executor.close(), 60)
    assert executor._thread is not None
    await asyncio.to_thread(executor._thread.join, 10)
    assert job.answer.done()
    assert all(isinstance(answer, EngineClosed) for answer in await asyncio.wait_for(results(queued), 60))
    assert not executor._crashed.done()
    assert not unhandled


async def test_an_answer_given_by_close_is_not_encoded_again_after_a_failed_batch(encoder):
    executor = InferenceExecutor(lambda: encoder, close_seconds=0.05)
    encoder.hold()
    futures = [executor.submit(square(value)) for value in (POISON, 1)]
    executor._sizers[Kind.IMAGE].observe(8, 0.001)
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    await asyncio.wait_for(executor.close(), 60)
    calls = len(encoder.calls)
    encoder.gate.set()
    assert executor._thread is not None
    await asyncio.to_thread(executor._thread.join, 10)
    assert len(encoder.calls) == calls
    assert all(isinstance(answer, EngineClosed) for answer in await results(futures))


async def test_a_crash_of_the_thread_fails_every_caller(encoder):
    """The clock stands for any code of the executor that runs between two batches."""
    broken = threading.Event()

    def clock() -> float:
        if broken.is_set():
            raise AssertionError("a bug")
        return 0.0

    executor = InferenceExecutor(lambda: encoder, clock=clock)
    running = await keep_busy(executor, encoder)
    queued = executor.submit(square(1))
    broken.set()
    encoder.gate.set()
    for answer in await asyncio.wait_for(results([running, queued]), 60):
        assert isinstance(answer, EngineClosed)
    with pytest.raises(EngineClosed, match="crashed"):
        executor.submit(square(1))
    assert "crashed" in str(await asyncio.wait_for(executor.crashed(), 60))
    await executor.close()


async def test_neither_close_nor_a_cancelled_wait_counts_as_a_crash(executor, encoder):
    await warm_up(executor, encoder)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(executor.crashed(), 0.01)
    watching = asyncio.create_task(executor.crashed())
    await executor.close()
    assert not watching.done()
    watching.cancel()


async def test_close_does_not_wait_for_a_hanging_device(encoder, caplog):
    executor = InferenceExecutor(lambda: encoder, close_seconds=0.05)
    hanging = await keep_busy(executor, encoder)
    await asyncio.wait_for(executor.close(), 60)
    [answer] = await results([hanging])
    assert isinstance(answer, EngineClosed)
    assert "did not end" in caplog.text
    encoder.gate.set()
    assert executor._thread is not None
    await asyncio.to_thread(executor._thread.join, 10)
    assert not executor._thread.is_alive()


def test_an_event_loop_may_close_before_the_answer():
    encoder = FakeEncoder()
    executor = InferenceExecutor(lambda: encoder)

    async def ask_and_leave() -> Future:
        future = await keep_busy(executor, encoder)
        asyncio.wrap_future(future)
        return future

    abandoned = asyncio.run(ask_and_leave())
    encoder.gate.set()
    assert abandoned.result(10).tolist() == vector(0)

    async def ask_again() -> list[object]:
        answers = await results([executor.submit(square(8))])
        await executor.close()
        return answers

    assert asyncio.run(ask_again()) == [vector(8)]


VALUES = st.sampled_from([*range(8), POISON, NOT_A_NUMBER])


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans(), VALUES, st.booleans()), max_size=60))
@settings(max_examples=40, deadline=None)
def test_everyone_gets_their_own_answer_whatever_the_mixture(work):
    """work: lane, text or image, value, cancelled or not. Some values fail, some give NaN, and memory is short."""

    async def run() -> None:
        encoder = FakeEncoder(fits=7)
        executor = InferenceExecutor(lambda: encoder)
        futures = []
        for lane, is_text, value, gone in work:
            future = executor.submit("x" * value, lane) if is_text else executor.submit(square(value), lane)
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
