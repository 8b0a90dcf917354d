from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from clipcore.engine.executor import InferenceExecutor
from tests.clipcore.fakes import FakeEncoder


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
async def executor(encoder: FakeEncoder) -> AsyncIterator[InferenceExecutor]:
    """Loaded, on a clock that advances only when the encoder works."""
    executor = InferenceExecutor(lambda: encoder, clock=encoder.clock)
    await executor.start()
    yield executor
    encoder.gate.set()
    await executor.close()
