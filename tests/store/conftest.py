from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store.backfills import BackfillStore
from bot.store.database import Database
from bot.store.guilds import ChannelStore, ReplyStore
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from bot.store.retagging import RetaggingStore
from bot.store.rules import RuleStore
from bot.store.tags import TagStore
from tests.empty_database import empty_database
from tests.store.samples import NOON


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "magpie.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with await Database.open(empty_database(path), busy_timeout=0.2) as database:
        yield database


@pytest.fixture
def images(database: Database) -> ImageStore:
    return ImageStore(database, clock=lambda: NOON)


@pytest.fixture
def texts(database: Database) -> ImageTextStore:
    return ImageTextStore(database, clock=lambda: NOON)


@pytest.fixture
def channels(database: Database) -> ChannelStore:
    return ChannelStore(database)


@pytest.fixture
def labels(database: Database) -> LabelStore:
    return LabelStore(database)


@pytest.fixture
def tags(database: Database) -> TagStore:
    return TagStore(database)


@pytest.fixture
def retaggings(database: Database) -> RetaggingStore:
    return RetaggingStore(database)


@pytest.fixture
def replies(database: Database) -> ReplyStore:
    return ReplyStore(database)


@pytest.fixture
def rules(database: Database) -> RuleStore:
    return RuleStore(database, clock=lambda: NOON)


@pytest.fixture
def backfills(database: Database) -> BackfillStore:
    return BackfillStore(database, clock=lambda: NOON)
