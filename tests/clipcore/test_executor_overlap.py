"""A device that works by itself: one batch begun ahead of the one that is waited for, and nobody the worse for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.deferred_cpu import DeferredCpu
from clipcore.engine.executor import InferenceExecutor
from clipcore.errors import EncodingFailed, EngineClosed
from clipcore.runtime.cuda import PipelinedForward
from clipcore.types import Lane, Pixels, Vectors
from tests.clipcore.device import results
from tests.clipcore.fakes import NOT_A_NUMBER, POISON, FakeEncoder, square, vector

Q, B = Lane.INTERACTIVE, Lane.BACKGROUND


@dataclass
class Overlapping(FakeEncoder):
    """story: images as they are begun and waited for, and texts. during: what happens while a batch with that value
    is waited for. crowded: takes no batch beside another.
    """

    story: list[str] = field(default_factory=list)
    during: dict[int, Callable[[], object]] = field(default_factory=dict)
    overlaps: bool = True
    crowded: bool = False
    flying: int = 0
    loadable: threading.Event = field(default_factory=threading.Event)

    def load(self) -> Overlapping:
        assert self.loadable.wait(30)
        return self

    def begin_prepared(self, batch: Pixels) -> Callable[[], Vectors]:
        values = batch[:, 0, 0, 0].tolist()
        self.story.append(f"begin {values}")
        if self.crowded and self.flying:
            raise MemoryError
        self.flying += 1

        def wait() -> Vectors:
            self.story.append(f"wait {values}")
            self.flying -= 1
            for value in values:
                self.during.pop(value, lambda: None)()
            return self._encode("image", values)

        return wait

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.story.append(f"texts {[len(text) for text in texts]}")
        return super().encode_texts(texts)


@pytest.fixture
def encoder() -> Overlapping:
    return Overlapping()


def one_by_one(encoder: Overlapping) -> InferenceExecutor:
    return InferenceExecutor(encoder.load, max_batch=1, clock=encoder.clock)


async def played(executor: InferenceExecutor, encoder: Overlapping, work: list[Future]) -> list[object]:
    """Lets the device begin, now that all of the work has queued."""
    encoder.loadable.set()
    answers = await asyncio.wait_for(results(work), 10)
    await executor.close()
    return answers


async def test_the_next_batch_is_begun_before_the_last_is_waited_for(encoder):
    executor = one_by_one(encoder)
    images = [executor.submit_image(square(value)) for value in range(3)]
    assert await played(executor, encoder, images) == [vector(value) for value in range(3)]
    assert encoder.story == ["begin [0]", "begin [1]", "wait [0]", "begin [2]", "wait [1]", "wait [2]"]


async def test_words_that_arrive_meanwhile_are_answered_before_the_batch_begun_ahead(encoder):
    executor = one_by_one(encoder)
    images = [executor.submit_image(square(value)) for value in range(4)]
    asked: list[Future] = []
    encoder.during[0] = lambda: asked.append(executor.submit_text("a cat", Q))
    await played(executor, encoder, images)
    assert asked[0].result().tolist() == vector(5)
    assert encoder.story[:6] == ["begin [0]", "begin [1]", "wait [0]", "texts [5]", "wait [1]", "begin [2]"]


async def test_a_querys_image_waits_for_two_batches_at_most_and_nothing_is_begun_before_its_answer(encoder):
    executor = one_by_one(encoder)
    images = [executor.submit_image(square(value)) for value in range(4)]
    asked: list[Future] = []
    encoder.during[0] = lambda: asked.append(executor.submit_image(square(99), Q))
    await played(executor, encoder, images)
    assert asked[0].result().tolist() == vector(99)
    assert encoder.story[:6] == ["begin [0]", "begin [1]", "wait [0]", "begin [99]", "wait [1]", "wait [99]"]


async def test_images_are_answered_however_many_words_keep_coming(encoder):
    executor = one_by_one(encoder)
    images = [executor.submit_image(square(value)) for value in range(2)]
    encoder.during[0] = lambda: [executor.submit_text("word", Q) for _ in range(3)]
    await played(executor, encoder, images)
    assert encoder.story[3:6] == ["texts [4]", "wait [1]", "texts [4]"]


async def test_two_batches_together_end_within_the_query_budget(encoder):
    encoder.seconds_each = 0.04
    executor = InferenceExecutor(encoder.load, query_budget_ms=200, clock=encoder.clock)
    await played(executor, encoder, [executor.submit_image(square(value)) for value in range(30)])
    assert max(map(len, encoder.batches())) == 2


async def test_a_batch_is_told_to_take_as_long_as_the_device_worked_on_it(encoder):
    encoder.seconds_each = 0.5
    executor = one_by_one(encoder)
    told: list[float] = []
    executor.watch.on_batch = lambda report: told.append(report.seconds)
    await played(executor, encoder, [executor.submit_image(square(value)) for value in range(4)])
    assert told == pytest.approx([0.5] * 4)


async def test_what_does_not_fit_beside_another_batch_is_tried_by_itself(encoder):
    encoder.crowded = True
    executor = one_by_one(encoder)
    answers = await played(executor, encoder, [executor.submit_image(square(value)) for value in range(5)])
    assert answers == [vector(value) for value in range(5)]


async def test_only_the_poison_fails_whatever_was_begun_beside_it(encoder):
    executor = one_by_one(encoder)
    values = [1, POISON, 2, POISON, POISON, 3]
    answers = await played(executor, encoder, [executor.submit_image(square(value)) for value in values])
    failed = [isinstance(answer, EncodingFailed) for answer in answers]
    assert failed == [value == POISON for value in values]
    assert [answer for answer in answers if isinstance(answer, list)] == [vector(value) for value in (1, 2, 3)]


async def test_a_device_that_hangs_leaves_neither_batch_waiting(encoder):
    executor = InferenceExecutor(encoder.load, max_batch=1, close_seconds=0.05)
    encoder.hold()
    images = [executor.submit_image(square(value)) for value in range(3)]
    encoder.loadable.set()
    assert await asyncio.to_thread(encoder.busy.wait, 10)
    await asyncio.wait_for(executor.close(), 10)
    assert all(isinstance(answer, EngineClosed) for answer in await asyncio.wait_for(results(images), 10))
    encoder.gate.set()
    assert executor._thread is not None
    await asyncio.to_thread(executor._thread.join, 10)
    assert not executor._thread.is_alive()


async def test_a_bug_between_two_batches_leaves_neither_waiting(encoder):
    broken = threading.Event()

    def clock() -> float:
        if broken.is_set():
            raise AssertionError("a bug")
        return 0.0

    executor = InferenceExecutor(encoder.load, max_batch=1, clock=clock)
    encoder.during[0] = broken.set
    answers = await played(executor, encoder, [executor.submit_image(square(value)) for value in range(3)])
    assert all(isinstance(answer, EngineClosed) for answer in answers)


class Pipelined(FakeEncoder):
    """The pipeline of a GPU on the CPU that does everything as late as it may."""

    def __init__(self, fits: int) -> None:
        super().__init__(fits=fits, overlaps=True)
        self._forward = PipelinedForward(self._features, 4, DeferredCpu(), largest=4)

    def begin_prepared(self, batch: Pixels) -> Callable[[], Vectors]:
        if len(batch) > self.fits:
            raise MemoryError
        return self._forward.begin(batch)

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._encode("image", pixels[:, 0, 0, 0].tolist()))


VALUES = st.sampled_from([*range(8), POISON, NOT_A_NUMBER])


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans(), VALUES, st.booleans()), max_size=60))
@settings(max_examples=40, deadline=None)
def test_everyone_gets_their_own_answer_whatever_the_mixture(work):
    """lane, text or image, value, caller gone. Some values are poison, some no numbers, and memory is short."""

    async def run() -> None:
        encoder = Pipelined(fits=7)
        executor = InferenceExecutor(lambda: encoder)
        futures = []
        for lane, is_text, value, gone in work:
            future = executor.submit_text("x" * value, lane) if is_text else executor.submit_image(square(value), lane)
            if gone:
                future.cancel()
            futures.append(future)
        await executor.close()
        for (_, is_text, value, gone), future in zip(work, futures, strict=True):
            assert future.done()
            if future.cancelled():
                assert gone
            elif value in (POISON, NOT_A_NUMBER):
                assert isinstance(future.exception(), EncodingFailed)
            else:
                expected = np.array(vector(value))
                length = 1.0 if is_text else np.linalg.norm(expected)
                np.testing.assert_allclose(future.result(), expected / length, rtol=1e-6)

    asyncio.run(run())
