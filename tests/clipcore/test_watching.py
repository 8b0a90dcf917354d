"""What an engine tells whoever watches it, and that watching can harm nobody's work."""

from __future__ import annotations

import asyncio

import pytest

from clipcore.engine.engine import ClipEngine
from clipcore.engine.executor import InferenceExecutor
from clipcore.engine.watching import BatchReport, CacheCounts, DeviceState
from clipcore.types import Label, Lane
from tests.clipcore.device import held, results, warm
from tests.clipcore.fakes import POISON, FakeEncoder, square, vector


async def test_each_answered_batch_is_told_with_its_size_lane_and_time(executor, encoder):
    await warm(executor, encoder)
    told: list[BatchReport] = []
    executor.watch.on_batch = told.append
    encoder.seconds_each = 0.001
    images = [await held(executor, encoder), *(executor.submit_image(square(1)) for _ in range(5))]
    query = executor.submit_text("a cat", Lane.INTERACTIVE)
    encoder.gate.set()
    await results([*images, query])
    assert [(one.kind, one.lane, one.size) for one in told] == [
        ("image", Lane.BACKGROUND, 1),
        ("text", Lane.INTERACTIVE, 1),
        ("image", Lane.BACKGROUND, 5),
    ]
    assert [one.seconds for one in told] == pytest.approx([0.001, 0.001, 0.005])


async def test_a_batch_that_failed_is_not_told_but_what_came_of_it_is(executor, encoder):
    told: list[BatchReport] = []
    executor.watch.on_batch = told.append
    await results([executor.submit_image(square(POISON))])
    await results([executor.submit_image(square(1))])
    assert [one.size for one in told] == [1]


async def test_a_watcher_that_fails_costs_nobody_an_answer_and_is_logged(executor, caplog):
    def fails(report: BatchReport) -> None:
        raise RuntimeError("no room for another counter")

    executor.watch.on_batch = fails
    assert await results([executor.submit_image(square(3))]) == [vector(3)]
    assert await results([executor.submit_image(square(4))]) == [vector(4)]
    assert "whoever watches the batches failed" in caplog.text


async def test_the_device_is_idle_busy_and_idle_again(executor, encoder):
    assert executor.device() == DeviceState(alive=True, busy_seconds=0.0)
    image = await held(executor, encoder)
    encoder.clock.now += 12.0
    assert executor.device() == DeviceState(alive=True, busy_seconds=12.0)
    encoder.gate.set()
    await results([image])
    async with asyncio.timeout(10):
        while executor.device().busy_seconds:  # noqa: ASYNC110 - the thread rests just after it has answered
            await asyncio.sleep(0.001)


async def test_a_backlog_that_moves_is_no_hang(executor, encoder):
    """Busy since the last answer, not since the work began to queue."""
    encoder.seconds_each = 5.0
    seen: list[float] = []
    executor.watch.on_batch = lambda report: seen.append(executor.device().busy_seconds)
    await results([executor.submit_image(square(1)) for _ in range(4)])
    assert max(seen) == pytest.approx(5.0 * max(map(len, encoder.batches())))
    assert len(seen) > 1


async def test_a_device_without_its_thread_is_not_alive(encoder):
    executor = InferenceExecutor(lambda: encoder)
    assert not executor.device().alive
    await executor.start()
    assert executor.device().alive
    await executor.close()
    assert not executor.device().alive


async def test_a_device_whose_model_did_not_load_is_not_alive():
    def load() -> FakeEncoder:
        raise OSError("no such file")

    engine = ClipEngine(load)
    with pytest.raises(Exception, match="could not be loaded"):
        await engine.start()
    assert not engine.device().alive
    await engine.close()


async def test_prompts_are_counted_as_known_or_encoded(encoder):
    engine = ClipEngine(lambda: encoder)
    await engine.classifier([Label("cat")])
    first = engine.prompt_cache()
    assert first == CacheCounts(known=0, encoded=first.kept, kept=first.kept)
    await engine.classifier([Label("cat")])
    assert engine.prompt_cache() == CacheCounts(known=first.kept, encoded=first.kept, kept=first.kept)
    await engine.close()
