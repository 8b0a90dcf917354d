from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bot.records import PictureState, Place, Source, Tag, ThreadKind
from bot.store.database import Database
from bot.store.pictures import PictureStore
from tests.store.samples import CARD, NOON, OTHER, finished, ref, unit_vector

LATER = NOON + timedelta(minutes=5)


async def ready(pictures: PictureStore, *refs) -> list[int]:
    ids = [picture.id for picture in await pictures.accept(refs)]
    await pictures.finish([finished(id_) for id_ in ids], CARD)
    return ids


async def test_an_accepted_picture_is_pending_and_due(pictures):
    [picture] = await pictures.accept([ref()])
    assert picture.state is PictureState.PENDING
    assert picture.ref == ref()
    assert await pictures.due(10, NOON) == [picture]
    assert await pictures.get([picture.id]) == {picture.id: picture}


async def test_accepting_twice_adds_nothing_and_answers_nothing(pictures):
    [first, second] = await pictures.accept([ref(10), ref(11), ref(10)])
    assert (first.ref.message_id, second.ref.message_id) == (10, 11)
    assert await pictures.accept([ref(11), ref(10)]) == []
    assert len(await pictures.due(10, NOON)) == 2


async def test_a_forward_of_the_same_attachment_is_a_picture_of_its_own(pictures):
    forward = ref(11, 100, source=Source.FORWARD)
    added = await pictures.accept([ref(10, 100), forward, ref(10, 100, source=Source.FORWARD)])
    assert len(added) == 3
    assert [picture.ref for picture in await pictures.by_message(11)] == [forward]


async def test_more_pictures_than_sqlite_takes_parameters_are_accepted_and_finished_at_once(pictures):
    added = await pictures.accept([ref(message) for message in range(1, 20_002)])
    assert len(added) == 20_001
    done = await pictures.finish([finished(picture.id, tags=()) for picture in added], CARD)
    assert len(done) == 20_001
    assert len(await pictures.get(done)) == 20_001


async def test_a_thread_keeps_its_parent_and_kind(pictures):
    place = Place(1, 3, parent_id=2, thread=ThreadKind.PRIVATE)
    [id_] = await ready(pictures, ref(place=place))
    assert (await pictures.get([id_]))[id_].ref.place == place
    assert await pictures.places(1) == [place]


async def test_finishing_makes_a_picture_ready_with_vector_size_and_tags_in_order(pictures):
    [id_] = await ready(pictures, ref())
    picture = (await pictures.get([id_]))[id_]
    assert picture.state is PictureState.READY
    assert (picture.content_hash, picture.width, picture.height) == (f"hash-{id_}", 640, 480)
    assert picture.tags == (Tag("cat", 0.75), Tag("sofa", 0.25))
    assert np.array_equal(await pictures.vector(id_, CARD.key), unit_vector(id_))
    assert await pictures.due(10, LATER) == []


async def test_finishing_twice_counts_once(pictures):
    [picture] = await pictures.accept([ref()])
    assert await pictures.finish([finished(picture.id)], CARD) == {picture.id}
    assert await pictures.finish([finished(picture.id)], CARD) == set()


async def test_a_vector_of_the_wrong_dimension_is_refused_before_anything_is_written(pictures):
    [picture] = await pictures.accept([ref()])
    with pytest.raises(ValueError, match=r"\(24,\), not \(16,\)"):
        await pictures.finish([finished(picture.id, dimension=24)], CARD)
    assert await pictures.due(1, NOON) == [picture]


async def test_a_postponed_picture_is_due_at_its_time_with_its_attempts_counted(pictures):
    [picture] = await pictures.accept([ref()])
    await pictures.begin({picture.id: LATER})
    assert await pictures.postpone(picture.id, LATER, "unreachable")
    assert await pictures.due(10, LATER - timedelta(milliseconds=1)) == []
    [again] = await pictures.due(10, LATER)
    assert (again.attempts, again.reason) == (1, "unreachable")


async def test_a_picture_that_was_begun_is_due_again_only_later_and_may_be_let_go(pictures):
    first, second = await pictures.accept([ref(10), ref(11)])
    await pictures.begin({first.id: LATER, second.id: LATER})
    assert await pictures.due(10, NOON) == []
    await pictures.release([second.id])
    assert await pictures.due(10, NOON) == [second]
    assert [(picture.id, picture.attempts) for picture in await pictures.due(10, LATER)] == [
        (second.id, 0),
        (first.id, 1),
    ]


async def test_beginning_or_letting_go_changes_nothing_of_a_finished_picture(pictures):
    [id_] = await ready(pictures, ref())
    before = await pictures.get([id_])
    await pictures.begin({id_: LATER, 999: LATER})
    await pictures.release([id_, 999])
    assert await pictures.get([id_]) == before


async def test_a_parked_picture_is_never_due_and_keeps_its_reason(pictures):
    [picture] = await pictures.accept([ref()])
    assert await pictures.park(picture.id, "too_many_bytes")
    assert await pictures.due(10, NOON + timedelta(days=999)) == []
    parked = (await pictures.get([picture.id]))[picture.id]
    assert (parked.state, parked.reason) == (PictureState.PARKED, "too_many_bytes")
    assert await pictures.accept([ref()]) == []


@pytest.mark.parametrize("step", ["postpone", "park"])
async def test_only_a_pending_picture_is_postponed_or_parked(pictures, step):
    [id_] = await ready(pictures, ref())
    arguments = (id_, LATER, "late") if step == "postpone" else (id_, "late")
    assert not await getattr(pictures, step)(*arguments)
    assert (await pictures.get([id_]))[id_].state is PictureState.READY


async def test_what_is_left_out_of_what_is_due_is_what_the_caller_had_in_hand_when_it_asked(pictures):
    [picture] = await pictures.accept([ref()])
    in_hand = {picture.id: "being read"}
    asking = asyncio.create_task(pictures.due(10, NOON, exclude=in_hand.keys()))
    await asyncio.sleep(0)  # it has asked, and no thread has looked yet
    in_hand.clear()
    assert await asking == []


async def test_what_is_due_longest_comes_first_within_the_limit_and_without_the_excluded(pictures):
    first, second, third = await pictures.accept([ref(10), ref(11), ref(12)])
    await pictures.postpone(first.id, LATER, "late")
    assert [picture.id for picture in await pictures.due(2, LATER)] == [second.id, third.id]
    assert [picture.id for picture in await pictures.due(2, LATER, exclude={second.id})] == [third.id, first.id]


async def test_a_time_without_a_zone_is_refused(pictures):
    with pytest.raises(TypeError, match="offset"):
        await pictures.due(1, datetime(2026, 3, 1))  # noqa: DTZ001  # the mistake under test


async def test_created_at_is_the_time_of_the_message_id(pictures, database):
    message = 1_234_567_890_123_456_789
    await pictures.accept([ref(message)])

    def work(connection):
        return connection.exec_driver_sql("SELECT created_at FROM pictures").scalar()

    stored = datetime.fromtimestamp(await database.read(work) / 1000, UTC)
    assert stored == ref(message).created_at


async def test_everything_survives_closing_and_opening(path: Path):
    async with await Database.open(path) as database:
        [id_] = await ready(PictureStore(database), ref())
        before = await PictureStore(database).get([id_])
    async with await Database.open(path) as database:
        assert await PictureStore(database).get([id_]) == before


class TestAnotherModel:
    async def test_requeues_what_the_old_one_read_and_never_mixes_vectors(self, pictures):
        [id_] = await ready(pictures, ref())
        assert await pictures.requeue_for_model(OTHER.key) == 1
        [picture] = await pictures.due(10, NOON)
        assert (picture.id, picture.reread, picture.attempts) == (id_, True, 0)
        assert await pictures.vector(id_, OTHER.key) is None
        assert [chunk async for chunk in pictures.vectors(1, OTHER.key)] == []

    async def test_replaces_vector_and_tags_once_it_has_read_the_picture(self, pictures):
        [id_] = await ready(pictures, ref())
        await pictures.requeue_for_model(OTHER.key)
        assert await pictures.finish([finished(id_, dimension=24, tags=(Tag("dog", 0.5),))], OTHER) == {id_}
        picture = (await pictures.get([id_]))[id_]
        assert (picture.state, picture.tags, picture.reread) == (PictureState.READY, (Tag("dog", 0.5),), True)
        assert await pictures.vector(id_, CARD.key) is None
        assert np.array_equal(await pictures.vector(id_, OTHER.key), unit_vector(id_, 24))

    async def test_has_nothing_to_do_the_second_time(self, pictures):
        await ready(pictures, ref())
        assert await pictures.requeue_for_model(CARD.key) == 0
        assert await pictures.requeue_for_model(OTHER.key) == 1
        assert await pictures.requeue_for_model(OTHER.key) == 0

    async def test_comes_after_what_is_new(self, pictures):
        [old] = await ready(pictures, ref(10))
        await pictures.requeue_for_model(OTHER.key)
        [new] = await pictures.accept([ref(11)])
        assert [picture.id for picture in await pictures.due(10, NOON)] == [new.id, old]
        assert [picture.id for picture in await pictures.due(1, NOON)] == [new.id]

    async def test_going_back_needs_no_second_look(self, pictures):
        [id_] = await ready(pictures, ref())
        await pictures.requeue_for_model(OTHER.key)
        assert await pictures.requeue_for_model(CARD.key) == 0
        assert await pictures.due(10, NOON) == []
        assert np.array_equal(await pictures.vector(id_, CARD.key), unit_vector(id_))

    async def test_gives_up_a_picture_without_losing_what_the_old_one_knew(self, pictures):
        [id_] = await ready(pictures, ref())
        [before] = (await pictures.get([id_])).values()
        await pictures.requeue_for_model(OTHER.key)
        await pictures.park(id_, "broken")
        assert [chunk async for chunk in pictures.vectors(1, OTHER.key)] == []
        assert await pictures.requeue_for_model(OTHER.key) == 0
        assert await pictures.requeue_for_model(CARD.key) == 0
        [after] = (await pictures.get([id_])).values()
        assert (after.state, after.tags) == (PictureState.READY, before.tags)
        assert np.array_equal(await pictures.vector(id_, CARD.key), unit_vector(id_))

    async def test_or_another_start_tries_again_what_a_model_failed_on_and_nothing_else(self, pictures):
        failed, broken = await pictures.accept([ref(10), ref(11)])
        await pictures.begin({failed.id: LATER})
        await pictures.park(failed.id, "encoding_failed")
        await pictures.park(broken.id, "broken")
        assert await pictures.requeue_for_model(CARD.key) == 1
        assert await pictures.due(10, NOON) == [failed]

    async def test_the_same_key_with_another_dimension_is_refused(self, pictures):
        await ready(pictures, ref(10))
        [picture] = await pictures.accept([ref(11)])
        impostor = type(CARD)("first", "r1", 24, 224, 77, 100.0)
        with pytest.raises(ValueError, match="had 16 dimensions before and has 24 now"):
            await pictures.finish([finished(picture.id, dimension=24)], impostor)
        assert (await pictures.get([picture.id]))[picture.id].state is PictureState.PENDING
