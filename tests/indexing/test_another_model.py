"""A start with another model: images are indexed while those of the last model are requeued."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from bot.errors import StoreBusy
from bot.models import ImageState
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import CARD, FakeEngine, image_ref, until


class Reluctant(ImageStore):
    """The real store, with a door before its queueing, which fails a few times."""

    def __init__(self, database: Database, failures: int = 0) -> None:
        super().__init__(database)
        self.door = asyncio.Event()
        self.failures = failures

    async def requeue_for_model(self, model_key: str, **options: Any) -> int:
        await self.door.wait()
        self.failures -= 1
        if self.failures >= 0:
            raise StoreBusy("locked")
        return await super().requeue_for_model(model_key, **options)


async def read_by_another_model(database: Database) -> int:
    before = Pipeline(database)
    await before.restart()
    [old] = await before.remember(image_ref(1))
    await before.close()
    return old.id


async def test_new_images_are_indexed_while_old_ones_are_requeued(database: Database) -> None:
    old = await read_by_another_model(database)
    store, engine = Reluctant(database), FakeEngine(replace(CARD, revision="2"))
    pipeline = Pipeline(database, store=store, engine=engine)
    await pipeline.restart()
    [new] = await pipeline.indexer.accept([image_ref(2)])

    async def is_ready() -> bool:
        return (await store.get([new.id]))[new.id].state is ImageState.READY

    await until(is_ready)
    settled = asyncio.create_task(pipeline.indexer.settled())
    assert await store.embedding(old, engine.card.key) is None
    assert not settled.done()
    store.door.set()
    await asyncio.wait_for(settled, 60)
    assert await store.embedding(old, engine.card.key) is not None
    await pipeline.close()


async def test_requeueing_that_fails_is_retried(database: Database) -> None:
    old = await read_by_another_model(database)
    store, engine = Reluctant(database, failures=3), FakeEngine(replace(CARD, revision="2"))
    store.door.set()
    pipeline = Pipeline(database, store=store, engine=engine)
    await pipeline.restart()
    await asyncio.wait_for(pipeline.indexer.settled(), 60)
    assert await store.embedding(old, engine.card.key) is not None
    assert store.failures < 0
    await pipeline.close()


async def test_closing_does_not_wait_for_requeueing(database: Database) -> None:
    store = Reluctant(database)
    pipeline = Pipeline(database, store=store)
    await pipeline.restart()
    await asyncio.wait_for(pipeline.close(), 60)
