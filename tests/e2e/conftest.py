"""The model is loaded once; each test has a sandbox, a database and a bot of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import clipcore
from bot.discord_io.client import MagpieBot
from clipcore.errors import ModelUnavailable
from clipcore.types import Encoder
from tests.e2e.harness import House, house


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    try:
        return clipcore.ClipModel.load("bundled", device="cpu")
    except ModelUnavailable as error:
        pytest.skip(f"the bundled model is not there: {error}")


@pytest.fixture
async def home(tmp_path: Path, encoder: Encoder) -> AsyncIterator[House]:
    """A sandbox whose bot has not been started."""
    async with house(tmp_path, encoder) as found:
        yield found


@pytest.fixture
async def bot(home: House) -> AsyncIterator[MagpieBot]:
    """The bot, up and caught up."""
    async with home.bot() as bot:
        yield bot
