"""A transaction crosses to the database's thread few times, and decodes large results off the event loop."""

from __future__ import annotations

import threading

import aiosqlite
import pytest

from bot.store import deletion as deletion_module
from bot.store import embeddings as embeddings_module
from bot.store.images import ImageStore
from tests.store.samples import CARD, OTHER, finished, ref


@pytest.fixture
def crossings(monkeypatch) -> list[object]:
    """What was handed to aiosqlite's thread."""
    seen: list[object] = []
    execute = aiosqlite.Connection._execute

    async def counted(self, function, *args, **kwargs):
        seen.append(function)
        return await execute(self, function, *args, **kwargs)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    return seen


async def test_finishing_a_batch_takes_six_crossings_once_the_model_is_known(images: ImageStore, crossings):
    added = await images.accept([ref(message) for message in range(10, 139)])
    await images.finish([finished(added[0].id)], CARD)
    crossings.clear()
    assert len(await images.finish([finished(image.id) for image in added[1:65]], CARD)) == 64
    assert len(crossings) == 6  # begin, select, update, embeddings, tags, commit


async def test_finishing_images_of_an_earlier_model_takes_three_crossings_more(images: ImageStore, crossings):
    added = await images.accept([ref(message) for message in range(10, 74)])
    await images.finish([finished(image.id) for image in added], CARD)
    await images.requeue_for_model(OTHER.key)
    await images.finish([finished(added[0].id, dimension=24)], OTHER)
    crossings.clear()
    await images.finish([finished(image.id, dimension=24) for image in added[1:]], OTHER)
    assert len(crossings) == 9  # and a deletion of the old embeddings and tags, and a look at members' decisions


async def test_accepting_a_page_of_history_takes_nine_crossings(images: ImageStore, crossings):
    await images.accept([ref(1)])
    crossings.clear()
    await images.accept([ref(message) for message in range(10, 110)])
    # begin, tombstones, excluded images, authors, rules, guilds, channels, images, commit
    assert len(crossings) == 9


async def test_embeddings_and_channels_are_decoded_off_the_event_loop(images: ImageStore, monkeypatch):
    [image] = await images.accept([ref()])
    await images.finish([finished(image.id)], CARD)
    threads = []

    def noting(function):
        def noted(*args):
            threads.append(threading.current_thread())
            return function(*args)

        return noted

    monkeypatch.setattr(embeddings_module, "_decode", noting(embeddings_module._decode))
    monkeypatch.setattr(deletion_module, "_channels_of", noting(deletion_module._channels_of))
    assert [page.ids.tolist() async for page in images.embeddings(1, CARD.key)] == [[image.id]]
    assert len(await images.searchable_channels(1)) == 1
    assert len(threads) == 3
    assert threading.main_thread() not in threads
