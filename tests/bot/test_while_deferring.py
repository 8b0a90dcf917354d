"""/find searches while Discord acknowledges the deferral; nothing is answered before it has."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bot.discord_io.answers import sentence_view
from bot.discord_io.components import View
from bot.features.search import _while_deferring
from clipcore.errors import QueueFull

NOTHING = sentence_view("nothing")


class Interaction:
    """Discord acknowledges the deferral when a test lets it."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.response = self
        self.acknowledged = asyncio.Event()
        self.shown: View | None = None
        self._refusal = refusal

    async def edit_original_response(self, *, view: View) -> None:
        assert self.acknowledged.is_set()
        self.shown = view

    async def defer(self, *, ephemeral: bool, thinking: bool) -> None:
        assert ephemeral
        assert thinking
        await self.acknowledged.wait()
        if self._refusal is not None:
            raise self._refusal


async def nothing_found() -> View:
    return NOTHING


async def refused() -> View:
    raise QueueFull


async def searched(interaction: Interaction, answering: Any) -> asyncio.Task[None]:
    """The search has ended; Discord has not acknowledged the deferral yet."""
    task = asyncio.create_task(_while_deferring(cast(Any, interaction), answering))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_result_waits_until_the_deferral_is_acknowledged() -> None:
    task = await searched(interaction := Interaction(), nothing_found())
    interaction.acknowledged.set()
    await task
    assert interaction.shown is NOTHING


async def test_an_error_waits_until_the_deferral_is_acknowledged() -> None:
    task = await searched(interaction := Interaction(), refused())
    interaction.acknowledged.set()
    with pytest.raises(QueueFull):
        await task
    assert interaction.shown is None


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
