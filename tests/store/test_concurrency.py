from __future__ import annotations

import asyncio
import random

import pytest

from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, NOON, due, finished, ref


async def found(images) -> set[int]:
    return {int(id_) async for page in images.embeddings(1, CARD.key) for id_ in page.ids}


@pytest.mark.parametrize("seed", range(3))
async def test_no_deleted_image_remains_in_whichever_order_it_is_finished_and_deleted(images, seed):
    order = random.Random(seed)
    added = await images.accept([ref(message) for message in range(1, 61)])
    doomed = [image.ref.message_id for image in added[::2]]
    steps = [images.finish([finished(p.id) for p in added[at : at + 10]], CARD) for at in range(0, 60, 10)]
    steps += [images.forget_messages([message]) for message in doomed]
    steps += [images.accept([ref(message)]) for message in doomed]
    order.shuffle(steps)
    await asyncio.gather(*steps)
    kept = {image.id for image in added[1::2]}
    assert await found(images) == kept
    assert set(await images.get([image.id for image in added])) == kept
    assert await due(images, 100, NOON) == []


async def test_an_image_that_is_accepted_many_times_concurrently_is_new_once(images):
    answers = await asyncio.gather(*(images.accept([ref(10), ref(11)]) for _ in range(20)))
    assert sum(len(answer) for answer in answers) == 2
    assert len(await due(images, 100, NOON)) == 2


async def test_an_image_that_is_finished_many_times_concurrently_is_finished_once(images):
    [image] = await images.accept([ref(10)])
    answers = await asyncio.gather(*(images.finish([finished(image.id)], CARD) for _ in range(20)))
    assert [answer for answer in answers if answer] == [{image.id}]


async def test_concurrent_reads_see_whole_transactions(images):
    async def write():
        for message in range(0, 60, 4):
            await images.accept([ref(message + part + 1) for part in range(4)])

    async def read():
        while not writing.done():
            assert len(await due(images, 1000, NOON)) % 4 == 0

    writing = asyncio.create_task(write())
    await asyncio.gather(writing, *(read() for _ in range(3)))
    assert len(await due(images, 1000, NOON)) == 60


async def test_a_guild_can_be_deleted_while_its_embeddings_are_read(images):
    added = await images.accept([ref(message) for message in range(1, 101)])
    await images.finish([finished(image.id) for image in added], CARD)
    pages = images.embeddings(1, CARD.key, page=10)
    first = await anext(pages)
    await images.forget_guild(1)
    assert len(first.ids) == 10
    assert [page async for page in pages] == []


async def test_a_cancelled_caller_leaves_whole_transactions_and_a_working_database(path):
    """Cancelled at any step of the way: all of a batch is there, or nothing, and no connection is lost."""
    async with await Database.open(path) as database:
        images = ImageStore(database)
        for round_ in range(0, 60, 3):
            batch = [ref(round_ * 100 + part + 1) for part in range(5)]
            task = asyncio.create_task(images.accept(batch))
            for _ in range(round_):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            there = [image for one in batch for image in await images.by_message(one.message_id)]
            assert len(there) in (0, 5)
            if not task.cancelled():
                assert len(there) == 5
        assert len(await images.accept([ref(1_000_000)])) == 1


async def test_a_cancelled_reader_gives_its_connection_back(images):
    await images.accept([ref(10)])
    for rounds in range(0, 40, 3):
        task = asyncio.create_task(due(images, 10, NOON))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert len(await asyncio.gather(*(due(images, 10, NOON) for _ in range(20)))) == 20


async def test_closing_waits_for_running_transactions(path):
    database = await Database.open(path)
    images = ImageStore(database)
    accepting = [asyncio.create_task(images.accept([ref(message)])) for message in range(1, 21)]
    await asyncio.sleep(0)
    await database.close()
    assert sum(len(answer) for answer in await asyncio.gather(*accepting)) == 20
    async with await Database.open(path) as again:
        assert len(await due(ImageStore(again), 100, NOON.replace(year=2100))) == 20


async def test_a_running_write_is_committed_before_its_caller_is_cancelled(database):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection):
        await connection.exec_driver_sql("INSERT INTO guilds (id) VALUES (5)")
        begun.set()
        await go_on.wait()

    caller = asyncio.create_task(database.write(work))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await ImageStore(database).guild_ids() == [5]
