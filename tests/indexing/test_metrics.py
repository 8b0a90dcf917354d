"""What indexing and searching count for /metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import ImageGone, ImageTooLarge, ImageUnreachable
from bot.search.vector_cache import VectorCache
from bot.store.database import Database
from clipcore.errors import EngineClosed
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import DIMENSION, axis, image_ref, until
from tests.metric_values import counting


def attempts(outcome: str) -> str:
    return f'magpie_image_attempts_total{{outcome="{outcome}"}}'


def contents(source: str) -> str:
    return f'magpie_image_contents_total{{source="{source}"}}'


async def test_an_image_is_counted_from_its_acceptance_to_its_end(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    fine, gone, locked, slow = (image_ref(number) for number in range(4))
    pipeline.cdn.errors[gone.attachment_id] = [ImageGone("gone")]
    pipeline.cdn.errors[locked.attachment_id] = [ImageTooLarge(1)]
    pipeline.cdn.errors[slow.attachment_id] = [ImageUnreachable("away")]
    with counting() as counted:
        await pipeline.indexer.accept([fine, gone, locked, slow])
        await pipeline.indexer.accept([fine])
        await pipeline.indexer.settled()
        await until(lambda: counted[attempts("finished")] == 2)
        assert [counted[attempts(outcome)] for outcome in ("gone", "parked", "postponed")] == [1, 1, 1]
        assert counted["magpie_images_accepted_total"] == 4
        assert counted["magpie_images_forgotten_total"] == 1
        await pipeline.registry.forget_messages([fine.message_id])
        assert counted["magpie_images_forgotten_total"] == 2


async def test_an_image_released_by_a_closed_engine_is_counted_as_returned(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    ref = pipeline.cdn.put(image_ref(1), b"a file")
    pipeline.engine.errors[b"a file"] = [EngineClosed("closed")]
    with counting() as counted:
        await pipeline.remember(ref)
    assert (counted[attempts("returned")], counted[attempts("finished")]) == (1, 1)


async def test_where_the_embedding_of_a_file_came_from_is_counted(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    refs = [pipeline.cdn.put(image_ref(number), b"the same file") for number in range(3)]
    with counting() as counted:
        await pipeline.remember(refs[0])
        assert counted[contents("model")] == 1
        await pipeline.remember(refs[1])
        assert counted[contents("memory")] == 1
        await pipeline.restart()
        await pipeline.remember(refs[2])
        assert [counted[contents(source)] for source in ("model", "memory", "store")] == [1, 1, 1]


async def test_a_searched_guild_is_counted_as_loaded_once(pipeline: Pipeline) -> None:
    index = VectorCache(pipeline.store.embeddings, pipeline.engine.card.key, DIMENSION)
    await pipeline.indexer.start()
    ref = image_ref(1)
    await pipeline.remember(ref)
    with counting() as counted:
        for _ in range(2):
            assert (await index.search(ref.channel.guild_id, axis(0), [ref.channel.channel_id], 1)).hits
    await index.close()
    assert counted["magpie_index_load_seconds_count"] == 1
    assert counted["magpie_index_search_seconds_count"] == 2


async def test_each_committed_transaction_is_counted(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "magpie.sqlite3") as database:
        with counting() as counted:
            await database.write(lambda connection: connection.exec_driver_sql("SELECT 1"))
            with pytest.raises(ZeroDivisionError):
                await database.write(lambda connection: 1 / 0)
    assert counted["magpie_store_write_seconds_count"] == 1
    assert counted["magpie_store_write_seconds_sum"] > 0
