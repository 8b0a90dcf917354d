"""/find searches while Discord acknowledges the deferral; nothing is answered before it has."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.features.search import _while_deferring
from clipcore.errors import QueueFull


class Interaction:
    """Discord acknowledges the deferral when a test lets it."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.response = self
        self.acknowledged = asyncio.Event()
        self._refusal = refusal

    async def defer(self, *, ephemeral: bool, thinking: bool) -> Any:
        assert not ephemeral
        assert thinking
        await self.acknowledged.wait()
        if self._refusal is not None:
            raise self._refusal
        return SimpleNamespace(message_id=55)


async def nothing_found() -> str:
    return "nothing"


async def refused() -> str:
    raise QueueFull


async def searched(interaction: Interaction, answering: Any) -> asyncio.Task[Any]:
    """The search has ended; Discord has not acknowledged the deferral yet."""
    task = asyncio.create_task(_while_deferring(cast(Any, interaction), answering, ephemeral=False))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_result_waits_until_the_deferral_is_acknowledged() -> None:
    task = await searched(interaction := Interaction(), nothing_found())
    interaction.acknowledged.set()
    assert await task == ("nothing", 55)


async def test_an_error_waits_until_the_deferral_is_acknowledged() -> None:
    task = await searched(interaction := Interaction(), refused())
    interaction.acknowledged.set()
    with pytest.raises(QueueFull):
        await task


async def test_a_failed_deferral_fails_the_command() -> None:
    task = await searched(interaction := Interaction(ConnectionError("lost")), nothing_found())
    interaction.acknowledged.set()
    with pytest.raises(ConnectionError):
        await task


async def test_a_cancelled_search_cancels_the_deferral() -> None:
    task = await searched(interaction := Interaction(), nothing_found())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not interaction.acknowledged.is_set()
    assert len(asyncio.all_tasks()) == 1
