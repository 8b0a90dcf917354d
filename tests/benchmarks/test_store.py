"""The store's benchmark measures what it says, on a small scale."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import numpy as np

from benchmarks import store
from benchmarks.million import CARD, GUILD, TAGS, database_of, guilds_of, places_of
from benchmarks.random_vectors import DIMENSION
from benchmarks.raw_store import read_raw
from benchmarks.scale import Scale
from bot.models import ImageState
from bot.store.database import Database
from bot.store.images import ImageStore


def counts(path) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("images", "tags")]


async def test_the_large_database_is_one_that_the_store_itself_might_have_written():
    path = database_of(200, channels=4, threads=6, servers=2)
    async with await Database.open(path) as database:
        images = ImageStore(database)
        assert await images.guild_ids() == guilds_of(2)
        places = await images.searchable_channels(GUILD)
        assert sorted((place.channel_id, place.parent_id) for place in places) == places_of(4, 6)
        image = (await images.get([1]))[1]
        assert image.state is ImageState.READY
        assert len(image.tags) == TAGS
        rows = np.concatenate([chunk.embeddings async for chunk in images.embeddings(GUILD, CARD.key, chunk=7)])
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1, atol=1e-3)
    assert np.array_equal(read_raw(path, GUILD, DIMENSION, len(rows)), rows)


def test_the_stores_benchmark_runs_and_takes_away_what_it_added():
    outcome = store.run(Scale(quick=True))
    assert [figure.name.split(",")[0] for figure in outcome.figures] == ["finish", "accept", "due", "begin"] * 2
    assert all(figure.value > 0 for figure in outcome.figures)
    assert counts(database_of(5_000)) == [5_000, 5_000 * TAGS]
    assert counts(database_of(0)) == [0, 0]


def test_sqlite_by_itself_leaves_the_same_rows_as_the_store():
    async def rows_of(by_store: bool) -> list[list[tuple]]:
        async with await Database.open(path) as database:
            one = store._Round(ImageStore(database), 70)
            await one.accept()
            await one.begin()
            one.prepare()
            with contextlib.closing(store.open_raw(path)) as connection:
                await (one.finish() if by_store else one.finish_raw(connection))
                found = [
                    connection.execute(statement).fetchall()
                    for statement in (
                        "SELECT state, attempts, next_attempt, reason, content_hash IS NULL, width FROM images",
                        "SELECT model_id, length(embedding) FROM embeddings",
                        "SELECT rank, label, probability FROM tags",
                    )
                ]
            await one.forget()
            return found

    path = database_of(0)
    assert asyncio.run(rows_of(True)) == asyncio.run(rows_of(False))
