"""What is older than its channel keeps is forgotten everywhere, at the start and whenever a retention changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.indexing.retention import Retention
from bot.models import last_message_by, utc_now
from bot.store.database import Database
from bot.store.rules import RuleStore
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, Readers, channel_ref, direction, image_ref, like, until

ONE, TWO = channel_ref(1), channel_ref(2)


@pytest.fixture
async def retention(pipeline: Pipeline, database: Database) -> AsyncIterator[Retention]:
    await pipeline.restart()
    built = Retention(RuleStore(database), pipeline.registry)
    yield built
    await built.close()


async def test_expired_images_are_forgotten_at_the_start_and_later_ones_when_a_retention_changes(
    pipeline: Pipeline, database: Database, retention: Retention
) -> None:
    rules = RuleStore(database)
    old, elsewhere = image_ref(1, ONE), image_ref(2, TWO)  # of January 2026
    new = image_ref(3, ONE, message=last_message_by(utc_now()))
    first, second, third = [
        (await pipeline.remember(pipeline.cdn.put(ref, b"file")))[0] for ref in (old, elsewhere, new)
    ]
    readers = Readers(old, elsewhere)
    assert await found(pipeline, readers) == {first.id, second.id, third.id}
    await rules.set_retention(GUILD, ONE.channel_id, 30)
    retention.start()
    await until(lambda: gone(pipeline, first.id))
    await until(lambda: pipeline.forgotten == 1)  # what was said about it is deleted, too
    assert await found(pipeline, readers) == {second.id, third.id}
    await rules.set_retention(GUILD, None, 30)
    retention.look()
    await until(lambda: gone(pipeline, second.id))
    assert not await gone(pipeline, third.id)
    assert await pipeline.indexer.accept([old, elsewhere]) == []


async def gone(pipeline: Pipeline, image_id: int) -> bool:
    return not await pipeline.store.get([image_id])


async def found(pipeline: Pipeline, readers: Readers) -> set[int]:
    answer = await pipeline.search.ask(readers, like(direction(b"file".hex())))
    return {match.image.id for match in answer.matches}
