"""What the engine reports to monitoring, and that monitoring cannot fail its work."""

from __future__ import annotations

import asyncio

import pytest

from clipcore.engine.engine import ClipEngine
from clipcore.engine.executor import BatchReport, InferenceExecutor
from clipcore.types import Label, Lane
from tests.clipcore.engine.support import keep_busy, results, warm_up
from tests.clipcore.fakes import POISON, FakeEncoder, square, vector


async def test_each_encoded_batch_is_reported_with_its_size_lane_and_time(executor, encoder):
    await warm_up(executor, encoder)
    reports: list[BatchReport] = []
    executor.on_batch = reports.append
    encoder.seconds_each = 0.001
    images = [await keep_busy(executor, encoder), *(executor.submit(square(1)) for _ in range(5))]
    query = executor.submit("a cat", Lane.INTERACTIVE)
    encoder.gate.set()
    await results([*images, query])
    assert [(report.kind, report.lane, report.size) for report in reports] == [
        ("image", Lane.BACKGROUND, 1),
        ("text", Lane.INTERACTIVE, 1),
        ("image", Lane.BACKGROUND, 5),
    ]
    assert [report.seconds for report in reports] == pytest.approx([0.001, 0.001, 0.005])


async def test_a_failed_batch_is_not_reported(executor, encoder):
    reports: list[BatchReport] = []
    executor.on_batch = reports.append
    await results([executor.submit(square(POISON))])
    await results([executor.submit(square(1))])
    assert [report.size for report in reports] == [1]


async def test_a_failing_batch_callback_is_logged_and_fails_no_work(executor, caplog):
    def fails(report: BatchReport) -> None:
        raise RuntimeError("no room for another counter")

    executor.on_batch = fails
    assert await results([executor.submit(square(3))]) == [vector(3)]
    assert await results([executor.submit(square(4))]) == [vector(4)]
    assert "the batch callback failed" in caplog.text


async def test_the_device_is_idle_busy_and_idle_again(executor, encoder):
    assert (executor.alive, executor.busy_seconds) == (True, 0.0)
    image = await keep_busy(executor, encoder)
    encoder.clock.now += 12.0
    assert (executor.alive, executor.busy_seconds) == (True, 12.0)
    encoder.gate.set()
    await results([image])
    async with asyncio.timeout(60):
        while executor.busy_seconds:  # noqa: ASYNC110 - the thread is idle just after it has answered
            await asyncio.sleep(0.001)


async def test_a_backlog_that_makes_progress_is_not_reported_as_a_hang(executor, encoder):
    """The device counts as busy since its batch began, not since work began to queue."""
    encoder.seconds_each = 5.0
    seen: list[float] = []
    executor.on_batch = lambda report: seen.append(executor.busy_seconds)
    await results([executor.submit(square(1)) for _ in range(4)])
    assert max(seen) == pytest.approx(5.0 * max(map(len, encoder.batches())))
    assert len(seen) > 1


async def test_without_its_thread_the_device_is_not_alive(encoder):
    executor = InferenceExecutor(lambda: encoder)
    assert not executor.alive
    await executor.start()
    assert executor.alive
    await executor.close()
    assert not executor.alive


async def test_without_a_model_the_device_is_not_alive():
    def load() -> FakeEncoder:
        raise OSError("no such file")

    engine = ClipEngine(load)
    with pytest.raises(Exception, match="could not be loaded"):
        await engine.start()
    assert not engine.executor.alive
    await engine.close()


async def test_prompts_are_counted_as_cached_or_encoded(encoder):
    engine = ClipEngine(lambda: encoder)
    await engine.classifier([Label("cat")])
    kept = engine.prompts_kept
    assert (engine.prompts_cached, engine.prompts_encoded) == (0, kept)
    await engine.classifier([Label("cat")])
    assert (engine.prompts_cached, engine.prompts_encoded, engine.prompts_kept) == (kept, kept, kept)
    await engine.close()
