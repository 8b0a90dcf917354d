from __future__ import annotations

import asyncio
import random
import threading

import pytest

from bot.store.database import Database
from bot.store.pictures import PictureStore
from tests.store.samples import CARD, NOON, finished, ref


async def found(pictures) -> set[int]:
    return {int(id_) async for chunk in pictures.vectors(1, CARD.key) for id_ in chunk.ids}


@pytest.mark.parametrize("seed", range(3))
async def test_whichever_of_finish_and_forget_comes_first_nothing_forgotten_stays(pictures, seed):
    order = random.Random(seed)
    added = await pictures.accept([ref(message) for message in range(1, 61)])
    doomed = [picture.ref.message_id for picture in added[::2]]
    steps = [pictures.finish([finished(p.id) for p in added[at : at + 10]], CARD) for at in range(0, 60, 10)]
    steps += [pictures.forget_messages([message]) for message in doomed]
    steps += [pictures.accept([ref(message)]) for message in doomed]
    order.shuffle(steps)
    await asyncio.gather(*steps)
    kept = {picture.id for picture in added[1::2]}
    assert await found(pictures) == kept
    assert set(await pictures.get([picture.id for picture in added])) == kept
    assert await pictures.due(100, NOON) == []


async def test_the_same_picture_accepted_many_times_at_once_is_new_once(pictures):
    answers = await asyncio.gather(*(pictures.accept([ref(10), ref(11)]) for _ in range(20)))
    assert sum(len(answer) for answer in answers) == 2
    assert len(await pictures.due(100, NOON)) == 2


async def test_the_same_picture_finished_many_times_at_once_is_finished_once(pictures):
    [picture] = await pictures.accept([ref(10)])
    answers = await asyncio.gather(*(pictures.finish([finished(picture.id)], CARD) for _ in range(20)))
    assert [answer for answer in answers if answer] == [{picture.id}]


async def test_reads_run_beside_writes_and_see_whole_transactions(pictures):
    async def write():
        for message in range(0, 60, 4):
            await pictures.accept([ref(message + part + 1) for part in range(4)])

    async def read():
        while not writing.done():
            assert len(await pictures.due(1000, NOON)) % 4 == 0

    writing = asyncio.create_task(write())
    await asyncio.gather(writing, *(read() for _ in range(3)))
    assert len(await pictures.due(1000, NOON)) == 60


async def test_a_server_can_be_read_while_it_is_forgotten(pictures):
    added = await pictures.accept([ref(message) for message in range(1, 101)])
    await pictures.finish([finished(picture.id) for picture in added], CARD)
    chunks = pictures.vectors(1, CARD.key, chunk=10)
    first = await anext(chunks)
    await pictures.forget_guild(1)
    assert len(first.ids) == 10
    assert [chunk async for chunk in chunks] == []


async def test_a_cancelled_caller_leaves_whole_transactions_and_a_working_database(path):
    """Cancelled at any step of the way: all of a batch is there, or nothing, and no connection is lost."""
    async with await Database.open(path) as database:
        pictures = PictureStore(database)
        for round_ in range(0, 60, 3):
            batch = [ref(round_ * 100 + part + 1) for part in range(5)]
            task = asyncio.create_task(pictures.accept(batch))
            for _ in range(round_):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            there = [picture for one in batch for picture in await pictures.by_message(one.message_id)]
            assert len(there) in (0, 5)
            if not task.cancelled():
                assert len(there) == 5
        assert len(await pictures.accept([ref(1_000_000)])) == 1


async def test_a_cancelled_reader_gives_its_connection_back(pictures):
    await pictures.accept([ref(10)])
    for rounds in range(0, 40, 3):
        task = asyncio.create_task(pictures.due(10, NOON))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert len(await asyncio.gather(*(pictures.due(10, NOON) for _ in range(20)))) == 20


async def test_closing_waits_for_what_is_under_way(path):
    database = await Database.open(path)
    pictures = PictureStore(database)
    accepting = [asyncio.create_task(pictures.accept([ref(message)])) for message in range(1, 21)]
    await asyncio.sleep(0)
    await database.close()
    assert sum(len(answer) for answer in await asyncio.gather(*accepting)) == 20
    async with await Database.open(path) as again:
        assert len(await PictureStore(again).due(100, NOON.replace(year=2100))) == 20


async def test_a_write_under_way_is_committed_before_its_cancelled_caller_hears_of_it(database):
    begun, go_on = threading.Event(), threading.Event()

    def work(connection):
        connection.exec_driver_sql("INSERT INTO guilds (id) VALUES (5)")
        begun.set()
        go_on.wait()

    caller = asyncio.create_task(database.write(work))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await PictureStore(database).guild_ids() == [5]
