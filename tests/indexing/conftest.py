from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store.database import Database
from bot.store.guilds import ChannelStore
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from tests.empty_database import empty_database
from tests.indexing.pipeline import Pipeline


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(empty_database(tmp_path / "magpie.sqlite3")) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> ImageStore:
    return ImageStore(database)


@pytest.fixture
def channels(database: Database) -> ChannelStore:
    return ChannelStore(database)


@pytest.fixture
def labels(database: Database) -> LabelStore:
    return LabelStore(database)


@pytest.fixture
async def pipeline(database: Database) -> AsyncIterator[Pipeline]:
    built = Pipeline(database)
    yield built
    await built.close()
