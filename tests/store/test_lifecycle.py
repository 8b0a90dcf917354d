from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import StatementError

from bot.models import REREAD_OWNER, ChannelRef, ImageState, Source, Tag, ThreadKind
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, NOON, OTHER, due, finished, ref, unit_embedding

LATER = NOON + timedelta(minutes=5)


async def ready(images: ImageStore, *refs) -> list[int]:
    ids = [image.id for image in await images.accept(refs)]
    await images.finish([finished(id_) for id_ in ids], CARD)
    return ids


async def test_an_accepted_image_is_pending_and_due(images):
    [image] = await images.accept([ref()])
    assert image.state is ImageState.PENDING
    assert image.ref == ref()
    assert await due(images, 10, NOON) == [image]
    assert await images.get([image.id]) == {image.id: image}


async def test_accepting_an_image_again_adds_and_returns_nothing(images):
    [first, second] = await images.accept([ref(10), ref(11), ref(10)])
    assert (first.ref.message_id, second.ref.message_id) == (10, 11)
    assert await images.accept([ref(11), ref(10)]) == []
    assert len(await due(images, 10, NOON)) == 2


async def test_a_forward_of_the_same_attachment_is_an_image_of_its_own(images):
    forward = ref(11, 100, source=Source.FORWARD)
    added = await images.accept([ref(10, 100), forward, ref(10, 100, source=Source.FORWARD)])
    assert len(added) == 3
    assert [image.ref for image in await images.by_message(11)] == [forward]


async def test_a_call_may_name_more_ids_than_a_statement_takes_parameters(images):
    ids = range(1, 40_001)
    [image] = await images.accept([ref(1)])
    batch = [replace(finished(image.id, tags=()), image_id=id_) for id_ in ids]
    assert await images.finish(batch, CARD) == {image.id}
    assert set(await images.get(ids)) == {image.id}
    await images.release(ids)
    assert await images.forget_messages(ids) == [image.id]
    assert await images.accept([ref(message, message) for message in ids]) == []


async def test_a_thread_keeps_its_parent_and_kind(images):
    place = ChannelRef(1, 3, parent_id=2, thread=ThreadKind.PRIVATE)
    [id_] = await ready(images, ref(place=place))
    assert (await images.get([id_]))[id_].ref.channel == place
    assert await images.searchable_channels(1) == [place]


async def test_finishing_makes_an_image_ready_with_embedding_size_and_tags_in_order(images):
    [id_] = await ready(images, ref())
    image = (await images.get([id_]))[id_]
    assert image.state is ImageState.READY
    assert (image.content_hash, image.width, image.height) == (f"hash-{id_}", 640, 480)
    assert image.tags == (Tag("cat", 0.75), Tag("sofa", 0.25))
    assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))
    assert await due(images, 10, LATER) == []


async def test_an_image_is_finished_once(images):
    [image] = await images.accept([ref()])
    assert await images.finish([finished(image.id)], CARD) == {image.id}
    assert await images.finish([finished(image.id)], CARD) == set()


async def test_an_embedding_of_the_wrong_dimension_is_refused_before_anything_is_written(images):
    [image] = await images.accept([ref()])
    with pytest.raises(ValueError, match=r"\(24,\), not \(16,\)"):
        await images.finish([finished(image.id, dimension=24)], CARD)
    assert await due(images, 1, NOON) == [image]


async def test_a_postponed_image_is_due_at_its_time_with_its_attempts_counted(images):
    [image] = await images.accept([ref()])
    await images.begin({image.id: LATER})
    assert await images.postpone(image.id, LATER, "unreachable")
    assert await due(images, 10, LATER - timedelta(milliseconds=1)) == []
    [again] = await due(images, 10, LATER)
    assert (again.attempts, again.reason) == (1, "unreachable")


async def test_an_image_in_progress_is_due_later_or_when_it_is_released(images):
    first, second = await images.accept([ref(10), ref(11)])
    await images.begin({first.id: LATER, second.id: LATER})
    assert await due(images, 10, NOON) == []
    await images.release([second.id])
    assert await due(images, 10, NOON) == [second]
    assert [(image.id, image.attempts) for image in await due(images, 10, LATER)] == [
        (second.id, 0),
        (first.id, 1),
    ]


async def test_beginning_or_releasing_a_finished_image_changes_nothing(images):
    [id_] = await ready(images, ref())
    before = await images.get([id_])
    await images.begin({id_: LATER, 999: LATER})
    await images.release([id_, 999])
    assert await images.get([id_]) == before


async def test_a_parked_image_is_never_due_and_keeps_its_reason(images):
    [image] = await images.accept([ref()])
    assert await images.park(image.id, "too_many_bytes")
    assert await due(images, 10, NOON + timedelta(days=999)) == []
    parked = (await images.get([image.id]))[image.id]
    assert (parked.state, parked.reason) == (ImageState.PARKED, "too_many_bytes")
    assert await images.accept([ref()]) == []


@pytest.mark.parametrize("step", ["postpone", "park"])
async def test_only_a_pending_image_is_postponed_or_parked(images, step):
    [id_] = await ready(images, ref())
    arguments = (id_, LATER, "late") if step == "postpone" else (id_, "late")
    assert not await getattr(images, step)(*arguments)
    assert (await images.get([id_]))[id_].state is ImageState.READY


async def test_due_images_come_in_order_of_their_next_attempt_within_the_limit_and_without_excluded_ones(images):
    first, second, third = await images.accept([ref(10), ref(11), ref(12)])
    await images.postpone(first.id, LATER, "late")
    assert [image.id for image in await due(images, 2, LATER)] == [second.id, third.id]
    assert [image.id for image in await due(images, 2, LATER, exclude=(second.id,))] == [third.id, first.id]


async def test_a_time_without_a_zone_is_refused(images):
    with pytest.raises(StatementError, match="offset"):
        await images.due({(1, 7): 1}, datetime(2026, 3, 1))  # noqa: DTZ001  # the mistake under test


async def test_images_survive_closing_and_opening(path: Path):
    async with await Database.open(path) as database:
        [id_] = await ready(ImageStore(database), ref())
        before = await ImageStore(database).get([id_])
    async with await Database.open(path) as database:
        assert await ImageStore(database).get([id_]) == before


class TestAnotherModel:
    async def test_requeues_what_the_old_one_encoded_and_never_mixes_embeddings(self, images):
        [id_] = await ready(images, ref())
        assert await images.requeue_for_model(OTHER.key) == 1
        [image] = await due(images, 10, NOON)
        assert (image.id, image.reread, image.attempts) == (id_, True, 0)
        assert await images.embedding(id_, OTHER.key) is None
        assert [page async for page in images.embeddings(1, OTHER.key)] == []

    async def test_replaces_embedding_and_tags_once_it_has_encoded_the_image(self, images):
        [id_] = await ready(images, ref())
        await images.requeue_for_model(OTHER.key)
        assert await images.finish([finished(id_, dimension=24, tags=(Tag("dog", 0.5),))], OTHER) == {id_}
        image = (await images.get([id_]))[id_]
        assert (image.state, image.tags, image.reread) == (ImageState.READY, (Tag("dog", 0.5),), True)
        assert await images.embedding(id_, CARD.key) is None
        assert np.array_equal(await images.embedding(id_, OTHER.key), unit_embedding(id_, 24))

    async def test_requeues_nothing_the_second_time(self, images):
        await ready(images, ref())
        assert await images.requeue_for_model(CARD.key) == 0
        assert await images.requeue_for_model(OTHER.key) == 1
        assert await images.requeue_for_model(OTHER.key) == 0

    async def test_comes_after_new_images(self, images):
        [old] = await ready(images, ref(10))
        await images.requeue_for_model(OTHER.key)
        [new] = await images.accept([ref(11)])
        assert [image.id for image in await due(images, 10, NOON)] == [new.id, old]
        assert new.owner != (await images.get([old]))[old].owner == REREAD_OWNER

    async def test_and_back_to_the_first_needs_no_encoding(self, images):
        [id_] = await ready(images, ref())
        await images.requeue_for_model(OTHER.key)
        assert await images.requeue_for_model(CARD.key) == 0
        assert await due(images, 10, NOON) == []
        assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))

    async def test_parks_an_image_without_losing_the_old_embedding(self, images):
        [id_] = await ready(images, ref())
        [before] = (await images.get([id_])).values()
        await images.requeue_for_model(OTHER.key)
        await images.park(id_, "broken")
        assert [page async for page in images.embeddings(1, OTHER.key)] == []
        assert await images.requeue_for_model(OTHER.key) == 0
        assert await images.requeue_for_model(CARD.key) == 0
        [after] = (await images.get([id_])).values()
        assert (after.state, after.tags) == (ImageState.READY, before.tags)
        assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))

    async def test_or_another_start_retries_images_that_a_model_failed_on_and_no_others(self, images):
        failed, broken = await images.accept([ref(10), ref(11)])
        await images.begin({failed.id: LATER})
        await images.park(failed.id, "encoding_failed")
        await images.park(broken.id, "broken")
        assert await images.requeue_for_model(CARD.key) == 1
        assert await due(images, 10, NOON) == [failed]

    async def test_the_same_key_with_another_dimension_is_refused(self, images):
        await ready(images, ref(10))
        [image] = await images.accept([ref(11)])
        impostor = type(CARD)("first", "r1", 24, 224, 77, 100.0)
        with pytest.raises(ValueError, match="had 16 dimensions before and has 24 now"):
            await images.finish([finished(image.id, dimension=24)], impostor)
        assert (await images.get([image.id]))[image.id].state is ImageState.PENDING


async def test_due_images_are_those_of_the_authors_that_are_asked_for_and_the_rest_is_said_to_come_later(images):
    ann, bob, other = (1, 7), (1, 8), (5, 7)
    first, second, third = await images.accept([ref(10), ref(11), ref(12)])
    [bobs, elsewhere] = await images.accept([ref(13, author_id=8), ref(14, place=ChannelRef(5, 6))])
    await images.postpone(third.id, LATER, "late")
    found, later = await images.due({ann: 1, bob: 2}, NOON)
    assert ([image.id for image in found], later) == ([first.id, bobs.id], {bob: None})
    found, later = await images.due({ann: 9, other: 1}, NOON, exclude=(first.id,))
    assert ([image.id for image in found], later) == ([second.id, elsewhere.id], {ann: LATER})
    assert [image.owner for image in found] == [ann, other]


async def test_everybody_with_pending_images_is_known_and_when_the_next_one_is_due(images):
    assert await images.next_attempts() == {}
    first, second, third = await images.accept([ref(10), ref(11, author_id=8), ref(12)])
    await images.postpone(first.id, NOON + timedelta(minutes=2), "late")
    await images.postpone(second.id, NOON + timedelta(minutes=1), "late")
    await images.finish([finished(third.id)], CARD)
    await images.requeue_for_model(OTHER.key)
    assert await images.next_attempts() == {
        (1, 8): NOON + timedelta(minutes=1),
        (1, 7): NOON + timedelta(minutes=2),
        REREAD_OWNER: NOON,
    }
