"""A bot whose inference thread has crashed cannot answer: it ends with one sentence, so that it is restarted."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.app import stay_connected
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


class Executor:
    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def crashed(self) -> EngineClosed:
        await self.end.wait()
        return EngineClosed("The inference thread ended unexpectedly (AssertionError).")


async def test_a_crashed_inference_thread_ends_the_bot_with_one_sentence() -> None:
    bot, executor = Connected(), Executor()
    serving = asyncio.create_task(stay_connected(cast(Any, bot), cast(Any, SimpleNamespace(executor=executor))))
    await asyncio.sleep(0)
    executor.end.set()
    with pytest.raises(StartupError, match=r"ended unexpectedly.*Start the bot again"):
        await asyncio.wait_for(serving, 60)
    assert bot.left


async def test_cancelling_disconnects_the_bot() -> None:
    bot, executor = Connected(), Executor()
    serving = asyncio.create_task(stay_connected(cast(Any, bot), cast(Any, SimpleNamespace(executor=executor))))
    await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert bot.left
