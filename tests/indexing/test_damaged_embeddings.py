"""An embedding that the disk has changed is never compared with a query; its image is encoded again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

import pytest

from bot.errors import StoreUnusable
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, direction, image_ref, until
from tests.metric_values import counting
from tests.store.damage import flip_a_byte


async def test_a_damaged_embedding_is_left_out_then_encoded_again_and_found(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(database)
    await pipeline.restart()
    refs = [pipeline.cdn.put(image_ref(number), b"file %d" % number) for number in range(3)]
    images = await pipeline.remember(*refs)
    await pipeline.close()
    flip_a_byte(database.path, images[1].id, byte=1)

    pipeline = Pipeline(database)  # nothing is in memory
    for ref, number in zip(refs, range(3), strict=True):
        pipeline.cdn.put(ref, b"file %d" % number)
    await pipeline.restart()
    caplog.set_level(logging.ERROR, "bot.indexing.indexer")
    sought = direction(b"file 1".hex())

    async def found() -> set[int]:
        channels = [refs[0].channel.channel_id]
        return {hit.key for hit in (await pipeline.index.search(GUILD, sought, channels, 10)).hits}

    with counting() as counted:
        assert await found() == {images[0].id, images[2].id}
        await until(lambda: counted["magpie_embeddings_damaged_total"] == 1)
        await pipeline.indexer.settled()
    assert await found() == {image.id for image in images}
    [best, *_] = (await pipeline.index.search(GUILD, sought, [refs[0].channel.channel_id], 10)).hits
    assert best.key == images[1].id
    assert best.score > 0.999
    assert [record.images for record in caplog.records] == [[images[1].id]]  # type: ignore[attr-defined]
    assert pipeline.messages == []  # an image that was announced before is not announced again
    await pipeline.close()


class DamagedPage(ImageStore):
    """The real store, in which the page of an embedding cannot be changed."""

    async def requeue_damaged(self, ids: Collection[int]) -> list[int]:
        raise StoreUnusable("damaged")


async def test_an_embedding_that_cannot_be_deleted_does_not_stop_other_images(database: Database) -> None:
    pipeline = Pipeline(database, store=DamagedPage(database))
    await pipeline.restart()
    pipeline.indexer.repair([1])
    async with asyncio.timeout(60):
        assert len(await pipeline.remember(image_ref(1))) == 1
    await pipeline.close()
