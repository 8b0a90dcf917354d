"""After a change of model: images are queued page by page, each once, whatever happens between two pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from bot.errors import StoreBusy
from bot.models import ChannelRef, ImageState
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, NOON, OTHER, due, finished, ref

THIRD = type(CARD)("third", "r1", 24, 224, 77, 100.0)


class CutShort:
    """The database, which refuses all writes after so many. written: set after the first."""

    def __init__(self, database: Database, writes: int) -> None:
        self._database = database
        self._left = writes
        self.written = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, work: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise StoreBusy("locked")
        result = await self._database.write(work, **options)
        self.written.set()
        return result


async def remembered(images: ImageStore, count: int) -> list[int]:
    """Ready images in three guilds, encoded by the first model."""
    refs = [ref(10 + n, place=ChannelRef(n % 3 + 1, n % 3 + 101)) for n in range(count)]
    ids = [image.id for image in await images.accept(refs)]
    await images.finish([finished(id_) for id_ in ids], CARD)
    return ids


async def pending(images: ImageStore) -> list[int]:
    return [image.id for image in await due(images, 1000, NOON)]


async def states(images: ImageStore, ids: Sequence[int]) -> set[ImageState]:
    return {image.state for image in (await images.get(ids)).values()}


@pytest.mark.parametrize("page", [1, 4, 12, 13, 1000])
async def test_every_image_is_queued_once_for_every_page_size(images, page):
    ids = await remembered(images, 12)
    assert await images.requeue_for_model(OTHER.key, page=page) == 12
    assert sorted(await pending(images)) == ids
    assert await images.requeue_for_model(OTHER.key, page=page) == 0


@pytest.mark.parametrize("writes", [1, 2, 3])
async def test_an_interrupted_requeue_continues_and_queues_nothing_twice(images, database, writes):
    ids = await remembered(images, 12)
    with pytest.raises(StoreBusy):
        await ImageStore(CutShort(database, writes), clock=lambda: NOON).requeue_for_model(OTHER.key, page=3)
    begun = await pending(images)
    assert len(begun) == 3 * writes
    await images.begin({begun[0]: NOON})
    await images.finish([finished(begun[0], dimension=24)], OTHER)
    await images.begin({begun[1]: NOON})
    assert await images.requeue_for_model(OTHER.key, page=3) == 12 - len(begun)
    assert sorted(await pending(images)) == sorted(set(ids) - {begun[0]})
    assert (await images.get([begun[1]]))[begun[1]].attempts == 1


async def test_another_writer_gets_its_turn_between_two_pages(images, database):
    await remembered(images, 60)
    watched = CutShort(database, 1000)
    requeueing = asyncio.create_task(ImageStore(watched).requeue_for_model(OTHER.key, page=1))
    await watched.written.wait()
    assert len(await images.accept([ref(500)])) == 1
    assert not requeueing.done()
    assert await requeueing == 60


@pytest.mark.parametrize("page", [1, 3, 100])
async def test_returning_to_a_model_makes_its_pending_and_parked_images_ready(images, page):
    ids = await remembered(images, 9)
    await images.requeue_for_model(OTHER.key)
    for id_, reason in zip(ids, ("too_large", "too_large", "encoding_failed", "broken"), strict=False):
        await images.park(id_, reason)
    read = ids[-1]
    await images.finish([finished(read, dimension=24)], OTHER)
    assert await images.requeue_for_model(CARD.key, page=page) == 1
    assert await pending(images) == [read]
    assert await states(images, ids[:-1]) == {ImageState.READY}


async def test_images_of_several_earlier_models_are_all_queued(images):
    first, second, third = await remembered(images, 3)
    await images.requeue_for_model(OTHER.key)
    await images.finish([finished(second, dimension=24)], OTHER)
    assert await images.requeue_for_model(THIRD.key, page=1) == 1
    assert sorted(await pending(images)) == [first, second, third]


async def test_images_that_a_model_failed_on_are_retried_and_other_parked_ones_are_not(images):
    ids = [image.id for image in await images.accept([ref(10 + n) for n in range(7)])]
    for id_ in ids:
        await images.park(id_, "broken" if id_ == ids[3] else "encoding_failed")
    assert await images.requeue_for_model(CARD.key, page=2) == 6
    assert sorted(await pending(images)) == [*ids[:3], *ids[4:]]
