"""/find looks for images while Discord hears that it takes a moment: whatever comes of either, the order is kept."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bot.features.search import _while_deferring
from bot.models import SearchResult
from clipcore.errors import QueueFull

NOTHING = SearchResult((), searched=False)


class Interaction:
    """Discord hears of the wait when a test lets it."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.response = self
        self.heard = asyncio.Event()
        self._refusal = refusal

    async def defer(self, *, ephemeral: bool, thinking: bool) -> None:
        assert ephemeral
        assert thinking
        await self.heard.wait()
        if self._refusal is not None:
            raise self._refusal


async def nothing_found() -> SearchResult:
    return NOTHING


async def refused() -> SearchResult:
    raise QueueFull


async def begun(interaction: Interaction, answering: Any) -> asyncio.Task[SearchResult]:
    """The answer is there, and Discord has not heard yet."""
    asked = asyncio.create_task(_while_deferring(cast(Any, interaction), answering))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not asked.done()
    return asked


async def test_an_answer_waits_until_discord_has_heard() -> None:
    asked = await begun(interaction := Interaction(), nothing_found())
    interaction.heard.set()
    assert await asked is NOTHING


async def test_a_refusal_waits_until_discord_has_heard_too() -> None:
    asked = await begun(interaction := Interaction(), refused())
    interaction.heard.set()
    with pytest.raises(QueueFull):
        await asked


async def test_where_discord_would_not_hear_there_is_no_answer() -> None:
    asked = await begun(interaction := Interaction(ConnectionError("lost")), nothing_found())
    interaction.heard.set()
    with pytest.raises(ConnectionError):
        await asked


async def test_whoever_gives_a_question_up_leaves_no_deferral_behind() -> None:
    asked = await begun(interaction := Interaction(), nothing_found())
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not interaction.heard.is_set()
    assert len(asyncio.all_tasks()) == 1
