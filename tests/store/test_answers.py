"""The answers of the last day: what is kept of them, and how soon it goes."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.models import first_message_at, utc_now
from bot.store.answers import AnswerStore
from bot.store.schema import answer_images, answers
from tests.store.samples import CARD, NOON, answer, finished, ref


@pytest.fixture
def store(database) -> AnswerStore:
    return AnswerStore(database)


async def three(images) -> list[int]:
    accepted = await images.accept([ref(message) for message in (10, 11, 12)])
    await images.finish([finished(image.id) for image in accepted], CARD)
    return [image.id for image in accepted]


async def test_an_answer_is_read_as_it_was_given(images, store):
    given = replace(answer(*await three(images)), more=True, covered=True)
    await store.save(given)
    await store.save(given)
    assert await store.get(given.id, 1) == given
    assert await store.get(given.id, 2) is None
    assert await store.get(given.id + 1, 1) is None


async def test_a_deleted_image_is_gone_from_every_answer_at_once(images, store, path):
    first, second, third = await three(images)
    one, other = answer(first, second, third), answer(second)
    other = replace(other, id=one.id + 1)
    await store.save(one)
    await store.save(other)
    await images.forget_messages([11])
    found = await store.get(one.id, 1)
    assert [ranked.image_id for ranked in found.ranking] == [first, third]
    assert (await store.get(other.id, 1)).ranking == ()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM answer_images").fetchone() == (2,)


async def test_what_was_deleted_since_the_search_is_not_kept(images, store):
    first, second, _ = await three(images)
    await images.forget_messages([10])
    await store.save(answer(first, second))
    await images.forget_guild(1)
    late = answer(second, id_=first_message_at(utc_now()) + 9)
    await store.save(late)
    assert await store.get(late.id, 1) is None


async def test_an_answer_goes_with_its_guild(images, store, path):
    await store.save(answer(*await three(images)))
    await images.forget_guild(1)
    connection = sqlite3.connect(path)
    for table in (answers, answer_images):
        assert connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,)


async def test_an_answer_is_kept_for_a_day_and_no_longer(images, database, path):
    """It is not given out any more from then on, and deleted with the next purge."""
    store = AnswerStore(database, clock=lambda: NOON)
    ids = await three(images)
    old, new = [answer(*ids, id_=first_message_at(NOON - timedelta(hours=hours))) for hours in (25, 23)]
    for one in (old, new):
        await store.save(one)
    assert await store.get(old.id, 1) is None
    assert await store.get(new.id, 1) == new
    assert await store.purge() == 1
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT id FROM answers").fetchall() == [(new.id,)]
    assert connection.execute("SELECT DISTINCT answer_id FROM answer_images").fetchall() == [(new.id,)]


async def test_neither_what_was_asked_nor_who_asked_is_kept():
    """Ids of images, and of the interaction."""
    assert set(answers.c.keys()) == {
        "id", "guild_id", "asked", "page_size", "more", "nearest", "covered", "threshold",
    }  # fmt: skip
    assert set(answer_images.c.keys()) == {"answer_id", "rank", "image_id", "score", "look", "written"}
