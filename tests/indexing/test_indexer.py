"""The indexer: durable, bounded, and never stopped by an image that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import pytest

from bot.errors import ImageForbidden, ImageGone, ImageTooLarge, ImageUnreachable
from bot.models import Image, ImageState, Source, TaggingMode, utc_now
from bot.store.database import Database
from bot.store.images import ImageStore
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull, RejectReason
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import CARD, FakeEngine, channel_ref, image_ref, only, snowflake, until
from tests.store.samples import due


async def test_an_accepted_image_becomes_ready_tagged_and_announced(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    [image] = await pipeline.remember(image_ref(1))
    assert image.state is ImageState.READY
    assert (image.width, image.height) == (640, 480)
    assert [tag.label for tag in image.tags] == ["cat"]
    assert pipeline.announced == [image]


async def test_accepting_commits_before_anything_is_downloaded(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    held = pipeline.cdn.hold(ref)
    await pipeline.indexer.start()
    [accepted] = await pipeline.indexer.accept([ref])
    assert (await pipeline.store.get([accepted.id]))[accepted.id].state is ImageState.PENDING
    held.set()
    await pipeline.indexer.settled()
    assert (await pipeline.store.get([accepted.id]))[accepted.id].state is ImageState.READY


async def test_images_that_were_pending_at_the_start_are_indexed(pipeline: Pipeline) -> None:
    refs = [image_ref(number) for number in range(30)]
    await pipeline.store.accept(refs)
    await pipeline.indexer.start()
    await pipeline.indexer.settled()
    assert len(pipeline.announced) == 30
    assert await due(pipeline.store, 100, utc_now()) == []


async def test_images_that_closing_interrupts_are_indexed_once_by_the_next_start(pipeline: Pipeline) -> None:
    refs = [image_ref(number) for number in range(40)]
    for ref in refs[10:]:
        pipeline.cdn.hold(ref)
    await pipeline.indexer.start()
    await pipeline.indexer.accept(refs)
    await until(lambda: len(pipeline.announced) == 10)
    await pipeline.indexer.close()
    for ref in refs[10:]:
        pipeline.cdn.hold(ref).set()
    await pipeline.restart()
    await pipeline.indexer.settled()
    assert sorted(image.ref.message_id for image in pipeline.announced) == [ref.message_id for ref in refs]


class BegunStore(ImageStore):
    """Its `begin` commits, and then does not return."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.begun = asyncio.Event()

    async def begin(self, next_attempts: Mapping[int, datetime]) -> None:
        await super().begin(next_attempts)
        self.begun.set()
        await asyncio.Event().wait()


async def test_an_image_whose_attempt_was_counted_as_the_indexer_closed_gets_it_back(database: Database) -> None:
    store = BegunStore(database)
    pipeline = Pipeline(database, store=store)
    await pipeline.indexer.start()
    [image] = await pipeline.indexer.accept([image_ref(1)])
    async with asyncio.timeout(60):
        await store.begun.wait()
    await pipeline.close()
    assert (await store.get([image.id]))[image.id].attempts == 0


async def test_downloads_at_a_time_are_limited_by_concurrency(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    await pipeline.remember(*(image_ref(number) for number in range(60)))
    assert len(pipeline.announced) == 60
    assert pipeline.cdn.most_downloading == 4


async def test_a_repost_costs_no_inference(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    first, second = image_ref(1), image_ref(2, channel_ref(2))
    for ref in (first, second):
        pipeline.cdn.put(ref, b"the same file")
    await pipeline.remember(first)
    [repost] = await pipeline.remember(second)
    assert repost.state is ImageState.READY
    assert (repost.width, repost.height) == (640, 480)
    assert pipeline.engine.encoded[b"the same file"] == 1


async def test_a_file_known_in_another_server_is_encoded_as_if_it_were_new(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    for ref in (image_ref(1), image_ref(2, channel_ref(1, guild=7))):
        await pipeline.remember(pipeline.cdn.put(ref, b"the same file"))
    assert pipeline.engine.encoded[b"the same file"] == 2


async def test_identical_files_that_arrive_together_are_encoded_once(pipeline: Pipeline) -> None:
    refs = [pipeline.cdn.put(image_ref(number), b"the same file") for number in range(12)]
    await pipeline.indexer.start()
    assert len(await pipeline.remember(*refs)) == 12
    assert pipeline.engine.encoded == {b"the same file": 1}


async def test_an_image_that_is_gone_is_forgotten(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    pipeline.cdn.errors[ref.attachment_id] = [ImageGone()]
    await pipeline.indexer.start()
    assert await pipeline.remember(ref) == []
    assert await pipeline.indexer.accept([ref]) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImageTooLarge(1000), "too_large"),
        (ImageRejected(RejectReason.BROKEN, "cut off"), "broken"),
    ],
)
async def test_a_permanent_failure_parks_the_image_with_its_reason(
    pipeline: Pipeline, error: Exception, reason: str
) -> None:
    ref = pipeline.cdn.put(image_ref(1), b"poison")
    if isinstance(error, ImageRejected):
        pipeline.engine.errors[b"poison"] = [error]
    else:
        pipeline.cdn.errors[ref.attachment_id] = [error]
    await pipeline.indexer.start()
    parked, fine = await pipeline.remember(ref, image_ref(2))
    assert (parked.state, parked.reason) == (ImageState.PARKED, reason)
    assert pipeline.cdn.fetched[ref.attachment_id] == 1
    assert fine.state is ImageState.READY


@pytest.mark.parametrize("error", [ImageUnreachable(), ImageForbidden(), QueueFull(), ZeroDivisionError()])
async def test_a_temporary_failure_is_retried_after_growing_pauses(pipeline: Pipeline, error: Exception) -> None:
    ref = image_ref(1)
    pipeline.cdn.errors[ref.attachment_id] = [error, error, error]
    await pipeline.indexer.start()
    await pipeline.indexer.accept([ref])
    await until(lambda: len(pipeline.announced) == 1)
    times = pipeline.cdn.times[ref.attachment_id]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    rounding = 0.001  # the store keeps milliseconds
    assert len(pauses) == 3
    assert all(pause >= least - rounding for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True))


async def test_an_encoding_failure_parks_the_image_only_after_all_attempts(pipeline: Pipeline) -> None:
    ref = pipeline.cdn.put(image_ref(1), b"unlucky")
    pipeline.engine.errors[b"unlucky"] = [EncodingFailed(), EncodingFailed(), EncodingFailed()]
    await pipeline.indexer.start()
    await pipeline.indexer.accept([ref])
    await until(lambda: len(pipeline.announced) == 1)
    assert pipeline.engine.encoded[b"unlucky"] == 4


async def parked(pipeline: Pipeline, image_id: int) -> Image:
    """The image, once it has been given up."""

    async def given_up() -> bool:
        return (await pipeline.store.get([image_id]))[image_id].state is ImageState.PARKED

    await until(given_up)
    return (await pipeline.store.get([image_id]))[image_id]


async def test_an_image_parked_by_encoding_failures_is_retried_by_the_next_start(pipeline: Pipeline) -> None:
    ref = pipeline.cdn.put(image_ref(1), b"unlucky")
    pipeline.engine.errors[b"unlucky"] = [EncodingFailed()] * 4
    await pipeline.indexer.start()
    [accepted] = await pipeline.indexer.accept([ref])
    assert (await parked(pipeline, accepted.id)).reason == "encoding_failed"
    assert not pipeline.engine.errors[b"unlucky"]
    await pipeline.restart()
    await until(lambda: len(pipeline.announced) == 1)


async def test_an_image_that_stayed_forbidden_is_retried_by_the_next_start(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    pipeline.cdn.errors[ref.attachment_id] = [ImageForbidden()] * 4
    await pipeline.indexer.start()
    [accepted] = await pipeline.indexer.accept([ref])
    assert (await parked(pipeline, accepted.id)).reason == "forbidden"
    await pipeline.restart()
    await until(lambda: len(pipeline.announced) == 1)


async def test_an_image_that_crashes_the_process_is_parked_after_all_attempts(pipeline: Pipeline) -> None:
    deadly, fine = await pipeline.store.accept([image_ref(1), image_ref(2)])
    for _ in range(4):  # a killed process says nothing more about what it had begun
        await pipeline.store.begin({deadly.id: utc_now()})
    await pipeline.indexer.start()
    await pipeline.indexer.settled()
    rows = await pipeline.store.get([deadly.id, fine.id])
    assert (rows[deadly.id].state, rows[deadly.id].reason) == (ImageState.PARKED, "interrupted")
    assert rows[fine.id].state is ImageState.READY
    assert pipeline.cdn.fetched == {fine.ref.attachment_id: 1}


async def test_an_attempt_is_charged_before_anything_is_downloaded(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    pipeline.cdn.hold(ref)
    await pipeline.indexer.start()
    [accepted] = await pipeline.indexer.accept([ref])
    await until(lambda: pipeline.cdn.downloading == 1)
    begun = (await pipeline.store.get([accepted.id]))[accepted.id]
    assert (begun.attempts, begun.reason) == (1, "interrupted")


async def test_closing_costs_no_attempt(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    pipeline.cdn.hold(ref)
    await pipeline.indexer.start()
    [accepted] = await pipeline.indexer.accept([ref])
    await until(lambda: pipeline.cdn.downloading == 1)
    await pipeline.indexer.close()
    assert await due(pipeline.store, 1, utc_now()) == [accepted]


async def test_an_image_that_keeps_failing_is_parked(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    pipeline.cdn.errors[ref.attachment_id] = [ImageUnreachable()] * 100
    await pipeline.indexer.start()
    [accepted] = await pipeline.indexer.accept([ref])
    assert (await parked(pipeline, accepted.id)).reason == "unreachable"
    assert pipeline.cdn.fetched[ref.attachment_id] == 4


async def test_a_channel_with_tagging_off_is_indexed_but_not_tagged(pipeline: Pipeline) -> None:
    ref = image_ref(1)
    await pipeline.channels.set_tagging_mode(ref.channel, TaggingMode.OFF)
    await pipeline.indexer.start()
    [image] = await pipeline.remember(ref)
    assert image.state is ImageState.READY
    assert image.tags == ()
    assert pipeline.engine.classifiers == []


async def test_a_message_is_announced_once_with_all_its_images_when_the_last_one_has_ended(pipeline: Pipeline) -> None:
    refs = [image_ref(number, message=snowflake(1)) for number in range(3)]
    slow = pipeline.cdn.hold(refs[2])
    await pipeline.channels.set_tagging_mode(refs[0].channel, TaggingMode.REPLY)
    await pipeline.indexer.start()
    await pipeline.indexer.accept(refs)
    await until(lambda: pipeline.index.usage().rows == 0 and pipeline.indexer.in_progress == 1)
    assert pipeline.messages == []
    slow.set()
    await pipeline.indexer.settled()
    [message] = pipeline.messages
    assert message.mode is TaggingMode.REPLY
    assert {image.ref for image in message.images} == set(refs)
    assert all(image.tags and image.state is ImageState.READY for image in message.images)


@pytest.mark.parametrize("error", [ImageForbidden(), ImageGone(), ImageUnreachable()])
async def test_a_message_does_not_wait_for_an_image_that_failed(pipeline: Pipeline, error: Exception) -> None:
    fine, failing = (image_ref(number, message=snowflake(1)) for number in range(2))
    pipeline.cdn.errors[failing.attachment_id] = [error] * 4
    await pipeline.indexer.start()
    await pipeline.indexer.accept([fine, failing])
    await until(lambda: len(pipeline.messages) == 1)
    assert [image.ref for image in pipeline.messages[0].images] == [fine]


async def test_a_message_waits_for_an_image_whose_attempt_did_not_count(pipeline: Pipeline) -> None:
    fine, released = (image_ref(number, message=snowflake(1)) for number in range(2))
    pipeline.cdn.put(released, b"interrupted")
    pipeline.engine.errors[b"interrupted"] = [EngineClosed()]
    await pipeline.indexer.start()
    await pipeline.indexer.accept([fine, released])
    await until(lambda: len(pipeline.messages) == 1)
    assert {image.ref for image in pipeline.messages[0].images} == {fine, released}


async def test_an_image_that_succeeds_later_is_announced_by_itself(pipeline: Pipeline) -> None:
    first, second = (image_ref(number, message=snowflake(1)) for number in range(2))
    pipeline.cdn.errors[second.attachment_id] = [ImageUnreachable()]
    await pipeline.indexer.start()
    await pipeline.indexer.accept([first, second])
    await until(lambda: len(pipeline.messages) == 2)
    assert [[image.ref for image in message.images] for message in pipeline.messages] == [[first], [second]]


async def test_stickers_and_emojis_are_indexed_and_not_announced(pipeline: Pipeline) -> None:
    talk = [replace(image_ref(number), source=source) for number, source in enumerate((Source.STICKER, Source.EMOJI))]
    shown = replace(image_ref(2), source=Source.VIDEO)
    await pipeline.indexer.start()
    found = await pipeline.remember(*talk, shown)
    assert {image.ref for image in found} == {*talk, shown}
    assert [image.ref for message in pipeline.messages for image in message.images] == [shown]


async def test_images_of_one_message_that_wait_in_the_store_are_announced_together(pipeline: Pipeline) -> None:
    refs = [image_ref(number, message=snowflake(1)) for number in range(40)]
    await pipeline.indexer.start()
    await pipeline.remember(*refs)
    [message] = pipeline.messages
    assert len(message.images) == 40


async def test_a_new_image_begins_without_a_query_for_due_ones(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    await pipeline.remember(image_ref(1))
    queries: list[int] = []
    original = pipeline.store.due

    async def counted(*args: object, **kwargs: object) -> tuple[list, dict]:
        queries.append(1)
        return await original(*args, **kwargs)

    pipeline.store.due = counted
    for number in range(2, 7):
        assert len(await pipeline.remember(image_ref(number))) == 1
    assert queries == []


async def test_a_file_is_in_memory_until_it_was_encoded(pipeline: Pipeline) -> None:
    pipeline.engine.gate = asyncio.Event()
    await pipeline.indexer.start()
    await pipeline.indexer.accept([image_ref(1)])
    await until(lambda: pipeline.engine.encoded.total() == 1)
    assert pipeline.cdn.in_memory == 1
    pipeline.engine.gate.set()
    await pipeline.indexer.settled()
    assert pipeline.cdn.in_memory == 0


async def test_images_of_another_model_are_encoded_again_without_an_announcement(database: Database) -> None:
    before = Pipeline(database)
    await before.restart()
    [old] = await before.remember(image_ref(1))
    await before.close()

    engine = FakeEngine(replace(CARD, revision="2"))
    after = Pipeline(database, engine=engine)
    await after.restart()
    await after.indexer.settled()
    again = (await after.store.get([old.id]))[old.id]
    assert again.state is ImageState.READY
    assert await after.store.embedding(old.id, CARD.key) is None
    assert await after.store.embedding(old.id, engine.card.key) is not None
    assert after.announced == []
    await after.close()


async def test_images_that_wait_for_their_guilds_labels_hold_no_place_of_others(pipeline: Pipeline) -> None:
    ready = pipeline.engine.slow_labels["slow"] = asyncio.Event()
    await pipeline.labels.change(1, None, only("slow"))
    await pipeline.indexer.start()
    slow = [image_ref(number, channel_ref(guild=1)) for number in range(200)]  # there are 12 places
    await pipeline.indexer.accept(slow)
    others = [image_ref(number, channel_ref(guild=2)) for number in range(200, 260)]
    await pipeline.indexer.accept(others)
    await until(lambda: len(pipeline.announced) == len(others))
    assert {image.ref.channel.guild_id for image in pipeline.announced} == {2}
    ready.set()
    await pipeline.indexer.settled()
    assert len(pipeline.announced) == len(slow) + len(others)
    assert {tag.label for image in pipeline.announced[len(others) :] for tag in image.tags} == {"slow"}


async def test_images_that_wait_for_labels_at_the_end_are_indexed_by_the_next_start(pipeline: Pipeline) -> None:
    ready = pipeline.engine.slow_labels["slow"] = asyncio.Event()
    await pipeline.labels.change(1, None, only("slow"))
    await pipeline.indexer.start()
    images = await pipeline.indexer.accept([image_ref(number, channel_ref(guild=1)) for number in range(30)])
    await until(lambda: pipeline.indexer.in_progress == 30)
    await pipeline.indexer.close()
    rows = await pipeline.store.get([image.id for image in images])
    assert {row.attempts for row in rows.values()} == {0}
    ready.set()
    await pipeline.restart()
    await pipeline.indexer.settled()
    assert len(pipeline.announced) == 30
