from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.discord_io.client import use_endpoint
from sandbox.server import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that the bots of this process connect to."""
    async with Sandbox.serve() as running:
        urls = running.bot_settings
        use_endpoint(urls["DISCORD_API_BASE"], urls["DISCORD_GATEWAY"], urls["DISCORD_CDN"])
        yield running
