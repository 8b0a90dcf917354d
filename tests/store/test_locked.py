"""Another process holds the database: each method waits and succeeds, or raises StoreBusy and does nothing."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bot.models import ChannelRef, TaggingMode
from bot.store.channels import ChannelStore
from bot.store.database import Database
from bot.store.errors import StoreBusy
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from bot.store.replies import ReplyStore
from tests.store.samples import CARD, NOON, finished, ref


async def first_chunk(images: ImageStore) -> object:
    async for chunk in images.vectors(1, CARD.key):
        return chunk
    return None


READS = {
    "ImageStore.due": lambda house: house[ImageStore].due(5, NOON),
    "ImageStore.get": lambda house: house[ImageStore].get([1]),
    "ImageStore.by_message": lambda house: house[ImageStore].by_message(10),
    "ImageStore.vector": lambda house: house[ImageStore].vector(1, CARD.key),
    "ImageStore.vector_of_hash": lambda house: house[ImageStore].vector_of_hash("hash-1", CARD.key),
    "ImageStore.vectors": lambda house: first_chunk(house[ImageStore]),
    "ImageStore.places": lambda house: house[ImageStore].places(1),
    "ImageStore.guild_ids": lambda house: house[ImageStore].guild_ids(),
    "ChannelStore.announcement": lambda house: house[ChannelStore].announcement(ChannelRef(1, 2)),
    "ChannelStore.announcements": lambda house: house[ChannelStore].announcements([ChannelRef(1, 2)]),
    "ChannelStore.last_seen": lambda house: house[ChannelStore].last_seen(2),
    "ChannelStore.seen_channels": lambda house: house[ChannelStore].seen_channels(1),
    "LabelStore.labels": lambda house: house[LabelStore].labels(1),
    "ReplyStore.orphans": lambda house: house[ReplyStore].orphans(5),
}
WRITES = {
    "ImageStore.accept": lambda house: house[ImageStore].accept([ref(20)]),
    "ImageStore.finish": lambda house: house[ImageStore].finish([finished(1)], CARD),
    "ImageStore.begin": lambda house: house[ImageStore].begin({1: NOON}),
    "ImageStore.release": lambda house: house[ImageStore].release([1]),
    "ImageStore.postpone": lambda house: house[ImageStore].postpone(1, NOON, "late"),
    "ImageStore.park": lambda house: house[ImageStore].park(1, "broken"),
    "ImageStore.requeue_for_model": lambda house: house[ImageStore].requeue_for_model("new"),
    "ImageStore.forget_messages": lambda house: house[ImageStore].forget_messages([10]),
    "ImageStore.forget_attachments": lambda house: house[ImageStore].forget_attachments(10, [100]),
    "ImageStore.forget_channel": lambda house: house[ImageStore].forget_channel(2),
    "ImageStore.forget_guild": lambda house: house[ImageStore].forget_guild(1),
    "ImageStore.forget_author": lambda house: house[ImageStore].forget_author(1, 7),
    "ImageStore.welcome_guild": lambda house: house[ImageStore].welcome_guild(1),
    "ChannelStore.set_announcement": lambda house: house[ChannelStore].set_announcement(
        ChannelRef(1, 2), TaggingMode.OFF
    ),
    "ChannelStore.mark_seen": lambda house: house[ChannelStore].mark_seen(ChannelRef(1, 2), 10),
    "LabelStore.add": lambda house: house[LabelStore].add(1, "cat"),
    "LabelStore.remove": lambda house: house[LabelStore].remove(1, "cat"),
    "LabelStore.reset": lambda house: house[LabelStore].reset(1),
    "ReplyStore.remember": lambda house: house[ReplyStore].remember(ChannelRef(1, 2), 50, [1]),
    "ReplyStore.drop": lambda house: house[ReplyStore].drop(50),
}
STORES = (ImageStore, ChannelStore, LabelStore, ReplyStore)


def house(database: Database) -> dict:
    return {store: store(database) for store in STORES}


@contextmanager
def held(path, *statements: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
        yield connection
    finally:
        connection.close()


def test_no_public_method_is_missing_here():
    public = {
        f"{store.__name__}.{name}"
        for store in STORES
        for name, _ in inspect.getmembers(store, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public == READS.keys() | WRITES.keys()


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
async def test_a_write_raises_one_clear_error_and_works_again_afterwards(path, database, call):
    await ImageStore(database).accept([ref(10)])
    with held(path, "BEGIN IMMEDIATE"), pytest.raises(StoreBusy, match="locked by another process: end it, or try"):
        await call(house(database))
    await call(house(database))


@pytest.mark.parametrize("call", READS.values(), ids=READS)
async def test_a_read_does_not_mind_another_writer(path, database, call):
    await ImageStore(database).accept([ref(10)])
    before = await call(house(database))
    with held(path, "BEGIN IMMEDIATE", "DELETE FROM images"):
        assert await call(house(database)) == before


@pytest.mark.parametrize("call", (READS | WRITES).values(), ids=READS | WRITES)
async def test_everything_raises_one_clear_error_when_another_process_has_the_file_for_itself(path, call):
    async with await Database.open(path, busy_timeout=0.05) as database:
        greedy = held(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "DELETE FROM tags")
        with greedy, pytest.raises(StoreBusy, match="locked by another process"):
            await call(house(database))
        await call(house(database))


async def test_a_write_waits_for_a_lock_that_is_let_go_in_time(path):
    async with await Database.open(path, busy_timeout=30) as database:
        with held(path, "BEGIN IMMEDIATE") as other:
            accepting = asyncio.create_task(ImageStore(database).accept([ref(10)]))
            done, _ = await asyncio.wait({accepting}, timeout=0.1)
            assert not done
            other.execute("ROLLBACK")
            assert len(await accepting) == 1


async def test_a_busy_write_has_done_nothing(path, database):
    images = ImageStore(database)
    await images.accept([ref(10)])
    with held(path, "BEGIN IMMEDIATE"), pytest.raises(StoreBusy):
        await images.forget_messages([10])
    assert len(await images.by_message(10)) == 1
