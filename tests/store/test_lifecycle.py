from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import StatementError

from bot.models import ChannelRef, ImageState, Source, Tag, ThreadKind
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, NOON, OTHER, finished, ref, unit_embedding

LATER = NOON + timedelta(minutes=5)


async def ready(images: ImageStore, *refs) -> list[int]:
    ids = [image.id for image in await images.accept(refs)]
    await images.finish([finished(id_) for id_ in ids], CARD)
    return ids


async def test_an_accepted_image_is_pending_and_due(images):
    [image] = await images.accept([ref()])
    assert image.state is ImageState.PENDING
    assert image.ref == ref()
    assert await images.due(10, NOON) == [image]
    assert await images.get([image.id]) == {image.id: image}


async def test_accepting_twice_adds_nothing_and_answers_nothing(images):
    [first, second] = await images.accept([ref(10), ref(11), ref(10)])
    assert (first.ref.message_id, second.ref.message_id) == (10, 11)
    assert await images.accept([ref(11), ref(10)]) == []
    assert len(await images.due(10, NOON)) == 2


async def test_a_forward_of_the_same_attachment_is_an_image_of_its_own(images):
    forward = ref(11, 100, source=Source.FORWARD)
    added = await images.accept([ref(10, 100), forward, ref(10, 100, source=Source.FORWARD)])
    assert len(added) == 3
    assert [image.ref for image in await images.by_message(11)] == [forward]


async def test_more_images_than_sqlite_takes_parameters_are_accepted_and_finished_at_once(images):
    added = await images.accept([ref(message) for message in range(1, 20_002)])
    assert len(added) == 20_001
    done = await images.finish([finished(image.id, tags=()) for image in added], CARD)
    assert len(done) == 20_001
    assert len(await images.get(done)) == 20_001


async def test_a_thread_keeps_its_parent_and_kind(images):
    place = ChannelRef(1, 3, parent_id=2, thread=ThreadKind.PRIVATE)
    [id_] = await ready(images, ref(place=place))
    assert (await images.get([id_]))[id_].ref.channel == place
    assert await images.searchable_channels(1) == [place]


async def test_finishing_makes_an_image_ready_with_vector_size_and_tags_in_order(images):
    [id_] = await ready(images, ref())
    image = (await images.get([id_]))[id_]
    assert image.state is ImageState.READY
    assert (image.content_hash, image.width, image.height) == (f"hash-{id_}", 640, 480)
    assert image.tags == (Tag("cat", 0.75), Tag("sofa", 0.25))
    assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))
    assert await images.due(10, LATER) == []


async def test_finishing_twice_counts_once(images):
    [image] = await images.accept([ref()])
    assert await images.finish([finished(image.id)], CARD) == {image.id}
    assert await images.finish([finished(image.id)], CARD) == set()


async def test_a_vector_of_the_wrong_dimension_is_refused_before_anything_is_written(images):
    [image] = await images.accept([ref()])
    with pytest.raises(ValueError, match=r"\(24,\), not \(16,\)"):
        await images.finish([finished(image.id, dimension=24)], CARD)
    assert await images.due(1, NOON) == [image]


async def test_a_postponed_image_is_due_at_its_time_with_its_attempts_counted(images):
    [image] = await images.accept([ref()])
    await images.begin({image.id: LATER})
    assert await images.postpone(image.id, LATER, "unreachable")
    assert await images.due(10, LATER - timedelta(milliseconds=1)) == []
    [again] = await images.due(10, LATER)
    assert (again.attempts, again.reason) == (1, "unreachable")


async def test_an_image_that_was_begun_is_due_again_only_later_and_may_be_let_go(images):
    first, second = await images.accept([ref(10), ref(11)])
    await images.begin({first.id: LATER, second.id: LATER})
    assert await images.due(10, NOON) == []
    await images.release([second.id])
    assert await images.due(10, NOON) == [second]
    assert [(image.id, image.attempts) for image in await images.due(10, LATER)] == [
        (second.id, 0),
        (first.id, 1),
    ]


async def test_beginning_or_letting_go_changes_nothing_of_a_finished_image(images):
    [id_] = await ready(images, ref())
    before = await images.get([id_])
    await images.begin({id_: LATER, 999: LATER})
    await images.release([id_, 999])
    assert await images.get([id_]) == before


async def test_a_parked_image_is_never_due_and_keeps_its_reason(images):
    [image] = await images.accept([ref()])
    assert await images.park(image.id, "too_many_bytes")
    assert await images.due(10, NOON + timedelta(days=999)) == []
    parked = (await images.get([image.id]))[image.id]
    assert (parked.state, parked.reason) == (ImageState.PARKED, "too_many_bytes")
    assert await images.accept([ref()]) == []


@pytest.mark.parametrize("step", ["postpone", "park"])
async def test_only_a_pending_image_is_postponed_or_parked(images, step):
    [id_] = await ready(images, ref())
    arguments = (id_, LATER, "late") if step == "postpone" else (id_, "late")
    assert not await getattr(images, step)(*arguments)
    assert (await images.get([id_]))[id_].state is ImageState.READY


async def test_what_is_left_out_of_what_is_due_is_what_the_caller_had_in_hand_when_it_asked(images):
    [image] = await images.accept([ref()])
    in_hand = {image.id: "being read"}
    asking = asyncio.create_task(images.due(10, NOON, exclude=in_hand.keys()))
    await asyncio.sleep(0)  # it has asked, and no thread has looked yet
    in_hand.clear()
    assert await asking == []


async def test_what_is_due_longest_comes_first_within_the_limit_and_without_the_excluded(images):
    first, second, third = await images.accept([ref(10), ref(11), ref(12)])
    await images.postpone(first.id, LATER, "late")
    assert [image.id for image in await images.due(2, LATER)] == [second.id, third.id]
    assert [image.id for image in await images.due(2, LATER, exclude={second.id})] == [third.id, first.id]


async def test_a_time_without_a_zone_is_refused(images):
    with pytest.raises(StatementError, match="offset"):
        await images.due(1, datetime(2026, 3, 1))  # noqa: DTZ001  # the mistake under test


async def test_everything_survives_closing_and_opening(path: Path):
    async with await Database.open(path) as database:
        [id_] = await ready(ImageStore(database), ref())
        before = await ImageStore(database).get([id_])
    async with await Database.open(path) as database:
        assert await ImageStore(database).get([id_]) == before


class TestAnotherModel:
    async def test_requeues_what_the_old_one_read_and_never_mixes_vectors(self, images):
        [id_] = await ready(images, ref())
        assert await images.requeue_for_model(OTHER.key) == 1
        [image] = await images.due(10, NOON)
        assert (image.id, image.reread, image.attempts) == (id_, True, 0)
        assert await images.embedding(id_, OTHER.key) is None
        assert [chunk async for chunk in images.embeddings(1, OTHER.key)] == []

    async def test_replaces_vector_and_tags_once_it_has_read_the_image(self, images):
        [id_] = await ready(images, ref())
        await images.requeue_for_model(OTHER.key)
        assert await images.finish([finished(id_, dimension=24, tags=(Tag("dog", 0.5),))], OTHER) == {id_}
        image = (await images.get([id_]))[id_]
        assert (image.state, image.tags, image.reread) == (ImageState.READY, (Tag("dog", 0.5),), True)
        assert await images.embedding(id_, CARD.key) is None
        assert np.array_equal(await images.embedding(id_, OTHER.key), unit_embedding(id_, 24))

    async def test_has_nothing_to_do_the_second_time(self, images):
        await ready(images, ref())
        assert await images.requeue_for_model(CARD.key) == 0
        assert await images.requeue_for_model(OTHER.key) == 1
        assert await images.requeue_for_model(OTHER.key) == 0

    async def test_comes_after_what_is_new(self, images):
        [old] = await ready(images, ref(10))
        await images.requeue_for_model(OTHER.key)
        [new] = await images.accept([ref(11)])
        assert [image.id for image in await images.due(10, NOON)] == [new.id, old]
        assert [image.id for image in await images.due(1, NOON)] == [new.id]

    async def test_going_back_needs_no_second_look(self, images):
        [id_] = await ready(images, ref())
        await images.requeue_for_model(OTHER.key)
        assert await images.requeue_for_model(CARD.key) == 0
        assert await images.due(10, NOON) == []
        assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))

    async def test_gives_up_an_image_without_losing_what_the_old_one_knew(self, images):
        [id_] = await ready(images, ref())
        [before] = (await images.get([id_])).values()
        await images.requeue_for_model(OTHER.key)
        await images.park(id_, "broken")
        assert [chunk async for chunk in images.embeddings(1, OTHER.key)] == []
        assert await images.requeue_for_model(OTHER.key) == 0
        assert await images.requeue_for_model(CARD.key) == 0
        [after] = (await images.get([id_])).values()
        assert (after.state, after.tags) == (ImageState.READY, before.tags)
        assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))

    async def test_or_another_start_tries_again_what_a_model_failed_on_and_nothing_else(self, images):
        failed, broken = await images.accept([ref(10), ref(11)])
        await images.begin({failed.id: LATER})
        await images.park(failed.id, "encoding_failed")
        await images.park(broken.id, "broken")
        assert await images.requeue_for_model(CARD.key) == 1
        assert await images.due(10, NOON) == [failed]

    async def test_the_same_key_with_another_dimension_is_refused(self, images):
        await ready(images, ref(10))
        [image] = await images.accept([ref(11)])
        impostor = type(CARD)("first", "r1", 24, 224, 77, 100.0)
        with pytest.raises(ValueError, match="had 16 dimensions before and has 24 now"):
            await images.finish([finished(image.id, dimension=24)], impostor)
        assert (await images.get([image.id]))[image.id].state is ImageState.PENDING


async def test_the_next_attempt_is_the_earliest_of_all_pending_images_but_the_excluded(images):
    assert await images.next_attempt() is None
    first, second, third = await images.accept([ref(message) for message in (10, 11, 12)])
    await images.postpone(first.id, NOON + timedelta(minutes=1), "late")
    await images.postpone(second.id, NOON + timedelta(minutes=2), "late")
    await images.finish([finished(third.id)], CARD)
    await images.requeue_for_model(OTHER.key)
    await images.postpone(third.id, NOON + timedelta(minutes=3), "late")
    assert await images.next_attempt() == NOON + timedelta(minutes=1)
    assert await images.next_attempt(exclude=[first.id]) == NOON + timedelta(minutes=2)
    assert await images.next_attempt(exclude=[first.id, second.id]) == NOON + timedelta(minutes=3)
    assert await images.next_attempt(exclude=[first.id, second.id, third.id]) is None
