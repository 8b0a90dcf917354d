"""Two models beside each other: one answers, the other one is to take over."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from bot.models import ImageState, Tag
from bot.store.backend import open_backend
from bot.store.migrate import migrate
from bot.store.models import AnsweringModel, ModelStore
from bot.store.retagging import Progress
from tests.store.samples import CARD, OTHER, finished, ref, unit_embedding


@pytest.fixture
def models(database) -> ModelStore:
    return ModelStore(database)


async def ready(images, *messages: int) -> list[int]:
    added = await images.accept([ref(message) for message in messages])
    await images.finish([finished(image.id) for image in added], CARD)
    return [image.id for image in added]


async def test_a_model_answers_once_it_was_chosen_and_has_encoded_something(images, models):
    assert await models.answering() is None
    await models.answer_with(CARD)
    assert await models.answering() is None
    await ready(images, 10)
    assert await models.answering() == AnsweringModel("first", CARD.key)


async def test_a_successors_embeddings_stand_beside_the_others_until_it_answers(images, models):
    [id_] = await ready(images, 10)
    await models.answer_with(CARD)
    more = (unit_embedding(7, 24),)
    assert await models.add([finished(id_, dimension=24, more=more, tags=(Tag("dog", 1),))], OTHER) == 1
    assert np.array_equal(await images.embedding(id_, CARD.key), unit_embedding(id_))
    assert np.array_equal(await images.embedding(id_, OTHER.key), unit_embedding(id_, 24))
    assert [page.frames.tolist() async for page in images.embeddings(1, OTHER.key)] == [[0, 1]]
    [image] = (await images.get([id_])).values()
    assert (image.state, image.tags) == (ImageState.READY, finished(id_).tags)
    assert (await models.answering()).key == CARD.key
    await models.answer_with(OTHER)
    assert (await models.answering()).key == OTHER.key


async def test_what_is_left_are_searchable_images_that_it_has_not_encoded_by_rising_id(images, models):
    first, second, third = await ready(images, 10, 11, 12)
    await images.accept([ref(13)])
    await models.add([finished(second, dimension=24)], OTHER)
    assert [image.id for image in await models.left_to(OTHER.key, 0, 9)] == [first, third]
    assert [image.id for image in await models.left_to(OTHER.key, 0, 1)] == [first]
    assert [image.id for image in await models.left_to(OTHER.key, first, 9)] == [third]
    assert await models.progress(OTHER.key) == Progress(1, 3)


async def test_what_was_deleted_or_is_pending_meanwhile_is_not_added(images, models):
    gone, kept = await ready(images, 10, 11)
    [pending] = await images.accept([ref(12)])
    await images.forget_messages([10])
    batch = [finished(id_, dimension=24) for id_ in (gone, kept, pending.id)]
    assert await models.add(batch, OTHER) == 1
    assert await models.add(batch[1:2], OTHER) == 1, "the same again"
    assert [page.ids.tolist() async for page in images.embeddings(1, OTHER.key)] == [[kept]]
    await images.forget_messages([11])
    assert [page async for page in images.embeddings(1, OTHER.key)] == []


async def test_the_present_models_start_requeues_nothing_because_of_a_successor(images, models):
    ids = await ready(images, 10, 11)
    await models.add([finished(ids[0], dimension=24)], OTHER)
    assert await images.requeue_for_model(CARD.key) == 0
    assert await images.requeue_for_model(OTHER.key) == 1, "the one that the successor has not encoded"


async def test_all_images_are_tagged_again_where_another_model_answers(images, models, retaggings):
    await ready(images, 10)
    await models.answer_with(CARD)
    await models.answer_with(CARD)
    assert await retaggings.guild_ids() == []
    await models.answer_with(OTHER)
    assert await retaggings.guild_ids() == [1]


async def test_embeddings_of_models_that_are_not_in_use_are_deleted_in_portions(images, models):
    ids = await ready(images, *range(10, 15))
    await models.add([finished(id_, dimension=24) for id_ in ids], OTHER)
    assert await models.drop_others([CARD.key, OTHER.key]) == 0
    assert [await models.drop_others([OTHER.key], page=2) for _ in range(4)] == [2, 2, 1, 0]
    assert await images.embedding(ids[0], CARD.key) is None
    assert [page.ids.tolist() async for page in images.embeddings(1, OTHER.key)] == [ids]


async def test_of_a_database_from_before_the_model_answers_that_has_encoded_the_most(images, models, database, path):
    first, second, third = await ready(images, 10, 11, 12)
    await images.requeue_for_model(OTHER.key)
    await images.finish([finished(second, dimension=24), finished(third, dimension=24)], OTHER)
    await database.close()
    await migrate(open_backend(path, 1.0), "0005")
    await migrate(open_backend(path, 1.0), "head")
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT key FROM models WHERE answering").fetchall() == [(OTHER.key,)]
    connection.close()
