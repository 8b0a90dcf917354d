"""A deletion wins, at whatever moment it comes, and what it deleted is never found again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.models import ImageState
from bot.store.database import Database
from bot.store.images import Finished, ImageStore
from tests.index.house import House
from tests.index.support import GUILD, direction, image_ref, place, until


class SlowStore(ImageStore):
    """The real store with a door before and a door after each `finish`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.before, self.after = asyncio.Event(), asyncio.Event()
        self.before.set()
        self.after.set()
        self.at_before, self.at_after = asyncio.Event(), asyncio.Event()

    async def finish(self, batch: Sequence[Finished], model: Any) -> set[int]:
        self.at_before.set()
        await self.before.wait()
        taken = await super().finish(batch, model)
        self.at_after.set()
        await self.after.wait()
        return taken


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[House, SlowStore]]:
    async with await Database.open(tmp_path / "slow.sqlite3") as database:
        store = SlowStore(database)
        house = House(database, store=store)
        await house.restart()
        yield house, store
        await house.close()


async def _hits(house: House, *refs: Any) -> list[int]:
    vector = direction(b"wanted".hex())
    answer = await house.searcher.similar(vector, house.everywhere(*refs))
    return [hit.image.ref.message_id for hit in answer.hits]


async def test_a_forgotten_message_is_never_found_again(house: House) -> None:
    await house.indexer.start()
    ref = house.cdn.put(image_ref(1), b"wanted")
    [image] = await house.remember(ref)
    assert await _hits(house, ref) == [ref.message_id]
    assert await house.indexer.forget_messages([ref.message_id]) == [image.id]
    assert await _hits(house, ref) == []
    assert await house.indexer.accept([ref]) == []
    assert await _hits(house, ref) == []


async def test_forgetting_while_the_image_is_downloaded_wins(house: House) -> None:
    await house.indexer.start()
    ref = house.cdn.put(image_ref(1), b"wanted")
    held = house.cdn.hold(ref)
    [image] = await house.indexer.accept([ref])
    await until(lambda: house.cdn.under_way == 1)
    assert await house.indexer.forget_messages([ref.message_id]) == [image.id]
    held.set()
    await house.indexer.settled()
    assert await house.store.get([image.id]) == {}
    assert await _hits(house, ref) == []
    assert house.announced == []


async def test_forgetting_that_begins_before_the_write_wins(slow: tuple[House, SlowStore]) -> None:
    house, store = slow
    store.before.clear()
    ref = house.cdn.put(image_ref(1), b"wanted")
    await _hits(house, ref)
    [image] = await house.indexer.accept([ref])
    await store.at_before.wait()
    forgetting = asyncio.create_task(house.indexer.forget_messages([ref.message_id]))
    store.before.set()
    assert await forgetting == [image.id]
    await house.indexer.settled()
    assert await store.get([image.id]) == {}
    assert await _hits(house, ref) == []


async def test_forgetting_between_the_commit_and_the_memory_index_wins(slow: tuple[House, SlowStore]) -> None:
    house, store = slow
    store.after.clear()
    ref = house.cdn.put(image_ref(1), b"wanted")
    await _hits(house, ref)  # the server's vectors are in memory from here on
    [image] = await house.indexer.accept([ref])
    await store.at_after.wait()
    forgetting = asyncio.create_task(house.indexer.forget_messages([ref.message_id]))
    await asyncio.wait({forgetting}, timeout=0.5)  # it waits for its turn; a wrong one would be over by now
    store.after.set()
    assert await forgetting == [image.id]
    await house.indexer.settled()
    vectors = await house.index.search(GUILD, direction(b"wanted".hex()), [ref.channel.channel_id], 10)
    assert vectors == [], "not even in memory"


async def test_a_deletion_that_the_store_did_alone_wins_over_a_job_in_flight(slow: tuple[House, SlowStore]) -> None:
    house, store = slow
    store.before.clear()
    ref = image_ref(1)
    [image] = await house.indexer.accept([ref])
    await store.at_before.wait()
    await store.forget_messages([ref.message_id])
    store.before.set()
    await house.indexer.settled()
    assert await store.get([image.id]) == {}
    assert house.announced == []


async def test_one_attachment_goes_and_the_rest_of_its_message_stays(house: House) -> None:
    await house.indexer.start()
    first, second = image_ref(1, message=5), image_ref(2, message=5)
    await house.remember(first, second)
    await house.indexer.forget_attachments(5, [first.attachment_id])
    [left] = await house.store.by_message(5)
    assert left.ref == second


async def test_a_channel_goes_with_its_threads_and_nothing_else(house: House) -> None:
    await house.indexer.start()
    inside = [image_ref(1, place(1)), image_ref(2, place(2, parent=1))]
    outside = image_ref(3, place(3))
    gone = await house.remember(*inside)
    await house.remember(outside)
    assert sorted(await house.indexer.forget_channel(place(1).channel_id)) == [image.id for image in gone]
    assert len(await house.store.by_message(outside.message_id)) == 1


async def test_a_server_goes_from_the_store_and_from_memory_and_other_servers_stay(house: House) -> None:
    await house.indexer.start()
    ref = house.cdn.put(image_ref(1), b"wanted")
    other = house.cdn.put(image_ref(2, place(9, guild=77)), b"wanted")
    await house.remember(ref, other)
    assert await _hits(house, ref) == [ref.message_id]
    assert len(await house.indexer.forget_guild(GUILD)) == 1
    assert await _hits(house, ref) == []
    [left] = await house.store.by_message(other.message_id)
    assert left.state is ImageState.READY


async def test_a_member_is_forgotten_and_what_they_post_later_is_remembered(house: House) -> None:
    await house.indexer.start()
    mine, theirs = image_ref(1, author=1), image_ref(2, author=2)
    await house.remember(mine, theirs)
    assert len(await house.indexer.forget_author(GUILD, 1, up_to_message=mine.message_id)) == 1
    assert await house.indexer.accept([mine]) == []
    assert len(await house.remember(image_ref(3, author=1))) == 1
    assert len(await house.store.by_message(theirs.message_id)) == 1


@pytest.mark.parametrize(
    "forget",
    [
        lambda indexer, ref: indexer.forget_messages([ref.message_id]),
        lambda indexer, ref: indexer.forget_attachments(ref.message_id, [ref.attachment_id]),
        lambda indexer, ref: indexer.forget_channel(ref.channel.channel_id),
        lambda indexer, ref: indexer.forget_author(GUILD, ref.author_id),
        lambda indexer, ref: indexer.forget_guild(GUILD),
    ],
    ids=["messages", "attachments", "channel", "author", "guild"],
)
async def test_every_forgetting_is_told_if_it_deleted_something(house: House, forget: Any) -> None:
    told: list[str] = []
    await house.restart(on_forgotten=lambda: told.append("forgotten"))
    ref = house.cdn.put(image_ref(1), b"wanted")
    await house.remember(ref)
    await forget(house.indexer, ref)
    assert told == ["forgotten"]
    await forget(house.indexer, ref)
    assert told == ["forgotten"]
