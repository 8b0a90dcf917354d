"""A bot whose model's thread has died answers nobody: it ends with one sentence, so that it is started again."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bot.app import App
from bot.errors import StartupError
from clipcore.errors import EngineClosed


class Connected:
    """A bot that stays connected until it is cancelled."""

    def __init__(self) -> None:
        self.left = False

    async def connect(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.left = True


class Engine:
    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def ended(self) -> EngineClosed:
        await self.end.wait()
        return EngineClosed("The inference thread ended unexpectedly (AssertionError).")


async def test_a_model_that_ends_by_itself_ends_the_bot_with_one_sentence() -> None:
    bot, engine, nothing = Connected(), Engine(), cast(Any, None)
    serving = asyncio.create_task(App(cast(Any, bot), nothing, nothing, nothing, cast(Any, engine)).serve())
    await asyncio.sleep(0)
    engine.end.set()
    with pytest.raises(StartupError, match=r"ended unexpectedly.*Start the bot again"):
        await asyncio.wait_for(serving, 60)
    assert bot.left


async def test_a_bot_that_is_told_to_end_leaves_discord_and_watches_no_longer() -> None:
    bot, engine, nothing = Connected(), Engine(), cast(Any, None)
    serving = asyncio.create_task(App(cast(Any, bot), nothing, nothing, nothing, cast(Any, engine)).serve())
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert bot.left
