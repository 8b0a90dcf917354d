"""Helpers that keep an executor busy and collect its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from clipcore.engine.executor import InferenceExecutor
from tests.clipcore.fakes import FakeEncoder, square


async def results(futures: list[Future]) -> list[object]:
    """Each answer as a list, or its exception."""
    answers = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    return [answer if isinstance(answer, BaseException) else answer.tolist() for answer in answers]


async def warm_up(executor: InferenceExecutor, encoder: FakeEncoder) -> None:
    """Shows the executor that the device is fast, so that it forms full batches."""
    for _ in range(8):
        await results([executor.submit(square(0)) for _ in range(64)])
    encoder.calls.clear()


async def keep_busy(executor: InferenceExecutor, encoder: FakeEncoder) -> Future:
    """Blocks the device with one image, until `encoder.gate` is set: later work has to queue."""
    encoder.hold()
    future = executor.submit(square(0))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    return future


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - other threads set the condition, and no asyncio event with it
            await asyncio.sleep(0.002)
