"""An image's way in: durable, bounded, and never stopped by one that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bot.errors import ImageForbidden, ImageGone, ImageTooLarge, ImageUnreachable
from bot.models import ImageState, TaggingMode
from bot.store.database import Database
from clipcore.errors import EncodingFailed, ImageRejected, QueueFull, RejectReason
from tests.index.house import House
from tests.index.support import CARD, FakeEngine, image_ref, place, until


async def test_an_accepted_image_becomes_ready_tagged_and_announced(house: House) -> None:
    await house.indexer.start()
    [image] = await house.remember(image_ref(1))
    assert image.state is ImageState.READY
    assert (image.width, image.height) == (640, 480)
    assert [tag.label for tag in image.tags] == ["cat"]
    assert house.announced == [image]


async def test_accepting_commits_before_anything_is_fetched(house: House) -> None:
    ref = image_ref(1)
    held = house.cdn.hold(ref)
    await house.indexer.start()
    [accepted] = await house.indexer.accept([ref])
    assert (await house.store.get([accepted.id]))[accepted.id].state is ImageState.PENDING
    held.set()
    await house.indexer.settled()
    assert (await house.store.get([accepted.id]))[accepted.id].state is ImageState.READY


async def test_what_was_pending_at_a_start_is_finished(house: House) -> None:
    refs = [image_ref(number) for number in range(30)]
    await house.store.accept(refs)
    await house.indexer.start()
    await house.indexer.settled()
    assert len(house.announced) == 30
    assert await house.store.due(100, house.time.now) == []


async def test_closing_in_the_middle_leaves_rows_that_the_next_start_finishes_once(house: House) -> None:
    refs = [image_ref(number) for number in range(40)]
    for ref in refs[10:]:
        house.cdn.hold(ref)
    await house.indexer.start()
    await house.indexer.accept(refs)
    await until(lambda: len(house.announced) == 10)
    await house.indexer.close()
    for ref in refs[10:]:
        house.cdn.hold(ref).set()
    await house.restart()
    await house.indexer.settled()
    assert sorted(image.ref.message_id for image in house.announced) == [ref.message_id for ref in refs]


async def test_no_more_images_are_downloaded_at_once_than_was_asked_for(house: House) -> None:
    await house.indexer.start()
    await house.remember(*(image_ref(number) for number in range(60)))
    assert len(house.announced) == 60
    assert house.cdn.most_under_way == 4


async def test_a_repost_costs_no_inference(house: House) -> None:
    await house.indexer.start()
    first, second = image_ref(1), image_ref(2, place(2))
    for ref in (first, second):
        house.cdn.put(ref, b"the same file")
    await house.remember(first)
    [repost] = await house.remember(second)
    assert repost.state is ImageState.READY
    assert (repost.width, repost.height) == (640, 480)
    assert house.engine.encoded[b"the same file"] == 1


async def test_identical_files_that_arrive_together_are_looked_at_once(house: House) -> None:
    refs = [house.cdn.put(image_ref(number), b"the same file") for number in range(12)]
    await house.indexer.start()
    assert len(await house.remember(*refs)) == 12
    assert house.engine.encoded == {b"the same file": 1}


async def test_an_image_that_is_gone_is_forgotten(house: House) -> None:
    ref = image_ref(1)
    house.cdn.errors[ref.attachment_id] = [ImageGone()]
    await house.indexer.start()
    assert await house.remember(ref) == []
    assert await house.indexer.accept([ref]) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImageForbidden(), "forbidden"),
        (ImageTooLarge(), "too_large"),
        (ImageRejected(RejectReason.BROKEN, "cut off"), "broken"),
    ],
)
async def test_what_cannot_get_better_is_parked_with_its_reason(house: House, error: Exception, reason: str) -> None:
    ref = house.cdn.put(image_ref(1), b"poison")
    if isinstance(error, ImageRejected):
        house.engine.errors[b"poison"] = [error]
    else:
        house.cdn.errors[ref.attachment_id] = [error]
    await house.indexer.start()
    parked, fine = await house.remember(ref, image_ref(2))
    assert (parked.state, parked.reason) == (ImageState.PARKED, reason)
    assert house.cdn.fetched[ref.attachment_id] == 1
    assert fine.state is ImageState.READY


@pytest.mark.parametrize("error", [ImageUnreachable(), QueueFull(), ZeroDivisionError()])
async def test_what_may_get_better_is_tried_again_after_growing_pauses(house: House, error: Exception) -> None:
    ref = image_ref(1)
    house.cdn.errors[ref.attachment_id] = [error, error, error]
    await house.indexer.start()
    begun = house.time.now
    await house.indexer.accept([ref])
    await until(lambda: len(house.announced) == 1)
    assert house.cdn.fetched[ref.attachment_id] == 4
    assert (house.time.now - begun).total_seconds() >= 10 + 30 + 90


async def test_a_fault_of_the_device_parks_nothing_before_all_attempts(house: House) -> None:
    ref = house.cdn.put(image_ref(1), b"unlucky")
    house.engine.errors[b"unlucky"] = [EncodingFailed(), EncodingFailed(), EncodingFailed()]
    await house.indexer.start()
    await house.indexer.accept([ref])
    await until(lambda: len(house.announced) == 1)
    assert house.engine.encoded[b"unlucky"] == 4


async def test_what_the_device_failed_on_to_the_end_is_tried_again_at_the_next_start(house: House) -> None:
    ref = house.cdn.put(image_ref(1), b"unlucky")
    house.engine.errors[b"unlucky"] = [EncodingFailed()] * 4
    await house.indexer.start()
    [accepted] = await house.indexer.accept([ref])

    async def given_up() -> bool:
        return (await house.store.get([accepted.id]))[
            accepted.id
        ].reason == "encoding_failed" and not house.engine.errors[b"unlucky"]

    await until(given_up)
    await house.restart()
    await until(lambda: len(house.announced) == 1)


async def test_an_image_whose_attempts_end_with_the_process_is_given_up_after_all_of_them(house: House) -> None:
    deadly, fine = await house.store.accept([image_ref(1), image_ref(2)])
    for _ in range(4):  # a killed process says nothing more about what it had begun
        await house.store.begin({deadly.id: house.time.now})
    await house.indexer.start()
    await house.indexer.settled()
    rows = await house.store.get([deadly.id, fine.id])
    assert (rows[deadly.id].state, rows[deadly.id].reason) == (ImageState.PARKED, "interrupted")
    assert rows[fine.id].state is ImageState.READY
    assert house.cdn.fetched == {fine.ref.attachment_id: 1}


async def test_an_attempt_is_counted_before_anything_is_fetched(house: House) -> None:
    ref = image_ref(1)
    house.cdn.hold(ref)
    await house.indexer.start()
    [accepted] = await house.indexer.accept([ref])
    await until(lambda: house.cdn.under_way == 1)
    begun = (await house.store.get([accepted.id]))[accepted.id]
    assert (begun.attempts, begun.reason) == (1, "interrupted")


async def test_an_orderly_end_costs_no_attempt(house: House) -> None:
    ref = image_ref(1)
    house.cdn.hold(ref)
    await house.indexer.start()
    [accepted] = await house.indexer.accept([ref])
    await until(lambda: house.cdn.under_way == 1)
    await house.indexer.close()
    assert await house.store.due(1, house.time.now) == [accepted]


async def test_an_image_that_keeps_failing_is_given_up(house: House) -> None:
    ref = image_ref(1)
    house.cdn.errors[ref.attachment_id] = [ImageUnreachable()] * 100
    await house.indexer.start()
    [accepted] = await house.indexer.accept([ref])

    async def parked() -> bool:
        return (await house.store.get([accepted.id]))[accepted.id].state is ImageState.PARKED

    await until(parked)
    assert house.cdn.fetched[ref.attachment_id] == 4
    assert (await house.store.get([accepted.id]))[accepted.id].reason == "unreachable"


async def test_a_channel_that_is_off_is_searched_but_not_tagged(house: House) -> None:
    ref = image_ref(1)
    await house.channels.set_announcement(ref.channel, TaggingMode.OFF)
    await house.indexer.start()
    [image] = await house.remember(ref)
    assert image.state is ImageState.READY
    assert image.tags == ()
    assert house.engine.classifiers == []


async def test_an_announcement_that_fails_or_hangs_holds_nothing_up(house: House) -> None:
    hangs = asyncio.Event()
    heard: list[int] = []

    async def on_finished(image: object) -> None:
        heard.append(1)
        if len(heard) == 1:
            raise RuntimeError("Discord said no")
        await hangs.wait()

    await house.restart(on_finished=on_finished)
    accepted = await house.indexer.accept([image_ref(number) for number in range(20)])

    async def all_ready() -> bool:
        rows = await house.store.get([image.id for image in accepted])
        return all(image.state is ImageState.READY for image in rows.values())

    await until(all_ready)
    hangs.set()
    await house.indexer.settled()
    assert len(heard) == 20


async def test_images_of_another_model_are_read_again_without_being_announced(database: Database) -> None:
    before = House(database)
    await before.restart()
    [old] = await before.remember(image_ref(1))
    await before.close()

    engine = FakeEngine(replace(CARD, revision="2"))
    after = House(database, engine=engine)
    await after.restart()
    await after.indexer.settled()
    again = (await after.store.get([old.id]))[old.id]
    assert again.state is ImageState.READY
    assert await after.store.vector(old.id, CARD.key) is None
    assert await after.store.vector(old.id, engine.card.key) is not None
    assert after.announced == []
    await after.close()
