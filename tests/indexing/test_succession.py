"""Another model encodes every image while the present one answers, and then takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.retry import RetryPolicy
from bot.indexing.succession import PAGE, Succession, pause_after
from bot.models import Image, ImageRef
from bot.search.service import SearchResult
from bot.search.vector_cache import VectorCache
from bot.store.database import Database
from bot.store.models import ModelStore
from bot.store.retagging import Progress
from clipcore.errors import EngineClosed, ImageRejected, RejectReason
from tests.indexing.pipeline import QUICK, Pipeline
from tests.indexing.support import CARD, FakeEngine, Readers, axis, image_ref, like, until


class House:
    """A pipeline with a succession, which switches the pipeline's parts."""

    def __init__(self, database: Database) -> None:
        self.pipeline = Pipeline(database)
        self.models = ModelStore(database)
        self.successor = FakeEngine(replace(CARD, revision="2"))
        self.switched = asyncio.Event()
        self.yielded = 0
        pipeline = self.pipeline
        self.succession = Succession(
            self.models,
            pipeline.store,
            pipeline.registry,
            pipeline.indexer,
            pipeline.cdn,
            switch=self._switch,
            yield_to_queries=self._yield,
            concurrency=4,
            retry=QUICK,
        )

    async def _yield(self) -> None:
        self.yielded += 1

    async def _switch(self) -> None:
        self.left = await self.models.left_to(self.successor.card.key, 0, 1000)
        await self.models.answer_with(self.successor.card)
        index = VectorCache(self.pipeline.store.embeddings, self.successor.card.key, self.successor.card.dimension)
        await self.pipeline.registry.use(index, self.pipeline.tagger, self.successor.card)
        self.pipeline.indexer.use(self.successor, self.pipeline.tagger)
        self.answered = self.pipeline.search.use(self.successor, index)
        self.pipeline.index = index
        self.switched.set()

    async def until_switched(self) -> None:
        await asyncio.wait_for(self.switched.wait(), 60)
        await until(lambda: self.succession.progress is None)

    async def encoded(self) -> list[int]:
        """The images that the successor has encoded."""
        pages = [
            page
            async for page in self.pipeline.store.embeddings(image_ref(1).channel.guild_id, self.successor.card.key)
        ]
        return [int(id_) for page in pages for id_ in page.ids]


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    built = House(database)
    await built.models.answer_with(CARD)
    await built.pipeline.indexer.start()
    yield built
    await built.succession.close()
    await built.pipeline.close()


async def seen(house: House, *numbers: int) -> list[Image]:
    """Images that the present model sees along the first axis, and the successor along the second."""
    refs = [house.pipeline.cdn.put(image_ref(number), b"file %d" % number) for number in numbers]
    for number in numbers:
        house.pipeline.engine.image_embeddings[b"file %d" % number] = axis(0)
        house.successor.image_embeddings[b"file %d" % number] = axis(1)
    return await house.pipeline.remember(*refs)


async def ids_like(house: House, sight: np.ndarray) -> list[int]:
    result: SearchResult = await house.pipeline.search.ask(Readers(image_ref(1)), like(sight))
    return [] if result.nearest else sorted(match.image.id for match in result.matches)


async def test_the_present_model_answers_until_the_other_one_has_encoded_everything(house: House) -> None:
    images = await seen(house, 1, 2, 3)
    ids = [image.id for image in images]
    house.successor.gate = asyncio.Event()
    house.succession.begin(house.successor)
    await until(lambda: len(house.successor.encoded) == 3)
    assert await ids_like(house, axis(0)) == ids
    assert await ids_like(house, axis(1)) == []
    house.successor.gate.set()
    await house.until_switched()
    assert house.left == []
    assert await ids_like(house, axis(1)) == ids
    assert await ids_like(house, axis(0)) == []
    assert house.yielded == 3


async def test_what_is_posted_meanwhile_is_found_at_once_and_encoded_by_both(house: House) -> None:
    await seen(house, 1)
    hold = house.successor.gate = asyncio.Event()
    house.succession.begin(house.successor)
    await until(lambda: house.successor.encoded[b"file 1"] == 1)
    [new] = await seen(house, 2)
    assert new.id in await ids_like(house, axis(0))
    hold.set()
    await house.until_switched()
    assert new.id in await ids_like(house, axis(1))
    assert house.left == []
    [newer] = await seen(house, 3)
    assert newer.id in await ids_like(house, axis(1))


async def test_a_restart_goes_on_where_the_last_run_stopped(house: House, database: Database) -> None:
    images = await seen(house, *range(1, PAGE + 6))
    held = house.pipeline.cdn.hold(images[-1].ref)
    house.succession.begin(house.successor)
    await until(lambda: house.succession.progress == Progress(PAGE, PAGE + 5))
    await house.succession.close()
    assert len(await house.encoded()) == PAGE
    again = House(database)
    for number in range(1, PAGE + 6):
        again.pipeline.cdn.put(image_ref(number), b"file %d" % number)
    held.set()
    await again.pipeline.indexer.start()
    again.succession.begin(again.successor)
    await again.until_switched()
    assert again.successor.encoded.total() == 5
    assert len(await again.encoded()) == PAGE + 5
    await again.succession.close()
    await again.pipeline.close()


async def test_an_image_that_cannot_be_read_now_is_tried_again_before_the_switch(house: House) -> None:
    images = await seen(house, 1, 2)
    house.pipeline.cdn.errors[images[0].ref.attachment_id] = [ImageUnreachable("not now"), ImageUnreachable("not now")]
    house.succession.begin(house.successor)
    await house.until_switched()
    assert await house.encoded() == [image.id for image in images]


@pytest.mark.parametrize("error", [ImageForbidden("no right"), ImageRejected(RejectReason.BROKEN, "broken")])
async def test_an_image_that_cannot_be_read_at_all_holds_nothing_up_and_is_pending_afterwards(
    house: House, error: Exception
) -> None:
    hidden, shown = await seen(house, 1, 2)
    house.pipeline.cdn.errors[hidden.ref.attachment_id] = [error] * 3
    house.succession.begin(house.successor)
    await house.until_switched()
    assert [image.id for image in house.left] == [hidden.id]
    assert await ids_like(house, axis(1)) == [shown.id]
    await until(lambda: house.pipeline.cdn.fetched[hidden.ref.attachment_id] >= 4)


async def test_an_image_whose_message_is_gone_is_forgotten(house: House) -> None:
    gone, kept = await seen(house, 1, 2)
    house.pipeline.cdn.errors[gone.ref.attachment_id] = [ImageGone("deleted")]
    house.succession.begin(house.successor)
    await house.until_switched()
    assert list(await house.pipeline.store.get([gone.id, kept.id])) == [kept.id]


async def test_an_image_deleted_while_it_is_encoded_stays_deleted(house: House) -> None:
    gone, kept = await seen(house, 1, 2)
    hold = house.successor.gate = asyncio.Event()
    house.succession.begin(house.successor)
    await until(lambda: len(house.successor.encoded) == 2)
    await house.pipeline.registry.forget_messages([gone.ref.message_id])
    hold.set()
    await house.until_switched()
    assert await house.encoded() == [kept.id]


async def test_what_was_asked_before_the_switch_is_answered_by_the_former_model(house: House) -> None:
    [image] = await seen(house, 1)
    pipeline, looked_up = house.pipeline, asyncio.Event()
    look_up, asked = pipeline.search._look_up, asyncio.Event()

    async def slowly(ref: ImageRef) -> Sequence[object]:
        asked.set()
        await looked_up.wait()
        return await look_up(ref)

    pipeline.search._look_up = slowly  # type: ignore[assignment]
    answer = asyncio.create_task(ids_like(house, axis(0)))
    await asyncio.wait_for(asked.wait(), 60)
    house.succession.begin(house.successor)
    await house.until_switched()
    ended = asyncio.create_task(house.answered())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not ended.done()
    looked_up.set()
    assert await answer == [image.id]
    await asyncio.wait_for(ended, 60)


async def test_an_image_that_the_former_model_encoded_is_not_asked_of_the_next_one(house: House) -> None:
    await seen(house, 1)
    question = replace(like(axis(0)), model=house.pipeline.search.model_key)
    assert (await house.pipeline.search.ask(Readers(image_ref(1)), question)).matches
    house.succession.begin(house.successor)
    await house.until_switched()
    with pytest.raises(EngineClosed, match="ask again"):
        await house.pipeline.search.ask(Readers(image_ref(1)), question)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 20))
def test_the_successor_takes_over_once_nothing_is_left_or_as_many_passes_as_attempts_were_in_vain(
    passes: list[int], attempts: int
) -> None:
    retry, in_vain, fewest = RetryPolicy(attempts=attempts), 0, 4
    for number, failed in enumerate(passes, 1):
        in_vain = 0 if failed < fewest else in_vain + 1
        fewest = min(fewest, failed)
        pause = pause_after(passes[:number], retry)
        assert (pause is None) == (failed == 0 or in_vain >= attempts)
        if pause is None:
            break
        assert 0 < pause <= retry.longest_pause_s


def test_an_image_that_never_succeeds_does_not_hold_up_a_server_where_others_are_always_posted() -> None:
    """However many new images each pass encodes, one that is left over and over counts."""
    retry = RetryPolicy(attempts=3)
    assert [pause_after([1] * passes, retry) is None for passes in range(1, 5)] == [False, False, False, True]
