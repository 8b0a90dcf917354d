"""Deleted data is gone from the disk: neither the file nor its write-ahead log contains it."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import numpy as np
import pytest

from bot.errors import StoreUnusable
from bot.models import Source, Tag
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, finished, ref

SECRET_HASH = "c0ffee" * 10
SECRET_LABEL = "a-label-seen-nowhere-else"
SECRET_EMBEDDING = (np.arange(16) / 7 + 0.123).astype(np.float16)
SECRETS = (SECRET_HASH.encode(), SECRET_LABEL.encode(), SECRET_EMBEDDING.astype("<f2").tobytes())

FORGET = {
    "messages": lambda images: images.forget_messages([10]),
    "attachments": lambda images: images.forget_images(10, [(Source.ATTACHMENT, 100)]),
    "channel": lambda images: images.forget_channel(2),
    "guild": lambda images: images.forget_guild(1),
    "author": lambda images: images.forget_author(1, 7),
}


def on_disk(path) -> list[bytes]:
    content = b"".join(file.read_bytes() for file in sorted(path.parent.glob("magpie.db*")))
    return [secret for secret in SECRETS if secret in content]


async def remember_secret(images: ImageStore, neighbours: int = 200) -> int:
    """The secret image among others, so that its pages are shared and stay in use."""
    added = await images.accept([ref(10), *(ref(message, author_id=8) for message in range(11, 11 + neighbours))])
    secret = finished(added[0].id, content_hash=SECRET_HASH, embedding=SECRET_EMBEDDING, tags=(Tag(SECRET_LABEL, 0.5),))
    await images.finish([secret, *(finished(image.id) for image in added[1:])], CARD)
    return added[0].id


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
async def test_deleted_data_is_in_no_file_when_the_deletion_returns(path, images, forget):
    await remember_secret(images)
    assert on_disk(path) == list(SECRETS)
    await forget(images)
    assert on_disk(path) == []


async def test_a_replaced_embedding_is_in_no_file_after_the_next_deletion(path, images):
    id_ = await remember_secret(images)
    await images.requeue_for_model("new")
    other = type(CARD)("new", "r1", 16, 224, 77, 100.0)
    await images.finish([finished(id_, content_hash=SECRET_HASH, tags=(Tag(SECRET_LABEL, 0.5),))], other)
    await images.forget_messages([999])
    assert on_disk(path) == [SECRETS[0], SECRETS[1]]


async def test_the_log_is_empty_after_a_deletion_and_gone_after_closing(path):
    async with await Database.open(path) as database:
        images = ImageStore(database)
        await remember_secret(images)
        log = path.with_name("magpie.db-wal")
        assert log.stat().st_size > 0
        await images.forget_messages([10])
        assert log.stat().st_size == 0
    assert not log.exists()


async def test_a_reader_that_blocks_the_checkpoint_delays_it_until_it_ends(path, images):
    await remember_secret(images)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM images").fetchall()
    await images.forget_messages([10])
    assert on_disk(path) == list(SECRETS)
    assert len(await images.accept([ref(999)])) == 1
    reader.close()
    async with asyncio.timeout(60):
        while on_disk(path):  # noqa: ASYNC110  # a file on disk rings no bell
            await asyncio.sleep(0.05)


async def test_closing_erases_what_a_reader_kept_in_the_log(path):
    reader = None
    async with await Database.open(path) as database:
        images = ImageStore(database)
        await remember_secret(images)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM images").fetchall()
        await images.forget_messages([10])
        reader.execute("COMMIT")
    assert on_disk(path) == []
    reader.close()


async def test_concurrent_deletions_share_a_checkpoint_and_leave_nothing(path, images):
    await remember_secret(images)
    await asyncio.gather(*(images.forget_messages([message]) for message in range(10, 110)))
    assert on_disk(path) == []
    assert path.with_name("magpie.db-wal").stat().st_size == 0


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be renamed there")
async def test_the_log_of_a_database_whose_file_was_renamed_is_emptied_as_well(path, images):
    await remember_secret(images)
    moved = path.with_name("moved.db")
    log = path.with_name("magpie.db-wal")
    path.rename(moved)
    assert log.stat().st_size > 0
    await images.forget_messages([10])
    assert log.stat().st_size == 0


async def test_every_connection_has_secure_delete_and_foreign_keys_on(database):
    async def work(connection):
        pragmas = ("PRAGMA secure_delete", "PRAGMA foreign_keys")
        return [(await connection.exec_driver_sql(pragma)).scalar() for pragma in pragmas]

    assert await database.write(work) == [1, 1]
    assert await database.read(work) == [1, 1]


async def test_a_reading_connection_cannot_write(database):
    async def work(connection):
        await connection.exec_driver_sql("INSERT INTO guilds (id) VALUES (5)")

    with pytest.raises(StoreUnusable, match="read-only"):
        await database.read(work)
