from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.discord_io.client import use_endpoint
from sandbox.server import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that the bots of this process connect to."""
    async with Sandbox.serve() as running:
        use_endpoint(running.bot_settings["DISCORD_API_BASE"], running.bot_settings["DISCORD_GATEWAY"])
        yield running
