"""Whatever one author or one server posts, and however much of it, others' images are indexed at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bot.models import ImageRef
from bot.store.database import Database
from clipcore.types import ImageVector, Lane
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import CARD, GUILD, FakeEngine, channel_ref, image_ref, until

HOSTILE, OTHER = 66, 7
ELSEWHERE = channel_ref(1, guild=5)


class HoldingEngine(FakeEngine):
    """Holds the images of some authors for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[int] = set()

    async def encode_image(
        self, data: bytes, lane: Lane = Lane.BACKGROUND, owner: object = None, *, frames: int = 1
    ) -> ImageVector:
        assert isinstance(owner, tuple)
        if owner[1] in self.held:
            await asyncio.Event().wait()
        return await super().encode_image(data, lane, owner, frames=frames)


@pytest.fixture
async def pipeline(database: Database) -> AsyncIterator[Pipeline]:
    built = Pipeline(database, engine=HoldingEngine())
    await built.restart(concurrency=8, stall_s=0.05)
    await built.indexer.settled()
    yield built
    await built.close()


def hostile_refs(count: int, *, author: int = HOSTILE) -> list[ImageRef]:
    return [image_ref(1_000 + number, author=author) for number in range(count)]


def announced(pipeline: Pipeline) -> set[ImageRef]:
    return {image.ref for image in pipeline.announced}


@pytest.mark.parametrize("author", [OTHER, HOSTILE])
async def test_an_image_does_not_wait_for_30_stalled_downloads_of_another_or_of_the_same_author(
    pipeline: Pipeline, author: int
) -> None:
    stalled, good = hostile_refs(30), image_ref(1, author=author)
    for ref in stalled:
        pipeline.cdn.hold(ref)
    await pipeline.indexer.accept([*stalled, good])
    await until(lambda: announced(pipeline) == {good})
    await until(lambda: pipeline.cdn.downloading == 30)
    for ref in stalled:
        pipeline.cdn.hold(ref).set()
    await until(lambda: announced(pipeline) == {good, *stalled})
    assert pipeline.cdn.fetched.total() == 31, "none of them was given up"


async def test_stalled_downloads_of_some_authors_leave_places_to_others(pipeline: Pipeline) -> None:
    """More than may go on without a place."""
    stalled = [ref for author in range(100, 104) for ref in hostile_refs(40, author=author)]
    stalled = [replace(ref, message_id=ref.message_id + at, attachment_id=at) for at, ref in enumerate(stalled)]
    for ref in stalled:
        pipeline.cdn.hold(ref)
    await pipeline.indexer.accept(stalled)
    await until(lambda: pipeline.cdn.downloading > 48)
    for number in range(3):
        good = image_ref(number, author=OTHER)
        await pipeline.indexer.accept([good])
        await until(lambda good=good: good in announced(pipeline))


async def test_costly_images_of_one_author_leave_places_to_others(pipeline: Pipeline) -> None:
    pipeline.engine.held = {HOSTILE}
    await pipeline.indexer.accept(hostile_refs(100))
    await until(lambda: pipeline.cdn.in_memory >= 24)
    for number in range(20):
        good = image_ref(number, author=OTHER)
        await pipeline.indexer.accept([good])
        await until(lambda good=good: good in announced(pipeline))
    assert pipeline.cdn.in_memory == 24, "three for each download"


async def test_an_image_does_not_wait_for_ten_thousand_of_another_author(pipeline: Pipeline) -> None:
    await pipeline.indexer.close()
    pipeline.engine.held = {HOSTILE}
    await pipeline.store.accept(hostile_refs(10_000))
    waiting, coming = image_ref(1, author=OTHER), image_ref(2, author=OTHER)
    await pipeline.store.accept([waiting])
    await pipeline.restart(concurrency=8)
    await until(lambda: announced(pipeline) == {waiting})
    await pipeline.indexer.accept([coming])
    await until(lambda: announced(pipeline) == {waiting, coming})


async def test_authors_take_turns_while_the_images_of_all_wait(pipeline: Pipeline) -> None:
    await pipeline.indexer.close()
    refs = [image_ref(1_000 * author + number, author=author) for author in (1, 2, 3) for number in range(200)]
    await pipeline.store.accept([replace(ref, message_id=at + 1, attachment_id=at + 1) for at, ref in enumerate(refs)])
    await pipeline.restart(concurrency=4)
    await pipeline.indexer.settled()
    order = [image.ref.author_id for image in pipeline.announced]
    assert sorted(order) == sorted(ref.author_id for ref in refs)
    assert all(order[:300].count(author) > 60 for author in (1, 2, 3))


async def test_one_servers_images_leave_places_to_other_servers(pipeline: Pipeline) -> None:
    pipeline.engine.held = set(range(100, 200))
    await pipeline.indexer.accept([image_ref(number, author=number) for number in range(100, 200)])
    await until(lambda: pipeline.cdn.in_memory == 32)
    good = image_ref(1, ELSEWHERE, author=OTHER)
    assert good.channel.guild_id != GUILD
    await pipeline.indexer.accept([good])
    await until(lambda: announced(pipeline) == {good})


async def test_an_image_does_not_wait_for_the_same_file_by_another_author(pipeline: Pipeline) -> None:
    """Whose turn may be far away."""
    pipeline.engine.held = {HOSTILE}
    copy, original = (
        pipeline.cdn.put(image_ref(n, author=author), b"file") for n, author in ((1, HOSTILE), (2, OTHER))
    )
    await pipeline.indexer.accept([copy])
    await until(lambda: pipeline.cdn.in_memory == 1)
    await pipeline.indexer.accept([original])
    await until(lambda: announced(pipeline) == {original})


async def test_images_to_be_encoded_again_get_the_places_that_new_ones_leave(
    pipeline: Pipeline, database: Database
) -> None:
    await pipeline.remember(*hostile_refs(100))
    await pipeline.indexer.close()
    await pipeline.store.requeue_for_model(replace(CARD, revision="2").key)
    new = [image_ref(author, author=author) for author in range(12)]
    await pipeline.store.accept(new)
    after = Pipeline(database, engine=FakeEngine(replace(CARD, revision="2")))
    await after.restart(concurrency=2)
    await after.indexer.settled()
    assert len(after.cdn.fetched) == 112
    first = list(after.cdn.fetched)[:9]  # as many as there are places, of which one server alone gets eight
    assert len({ref.attachment_id for ref in new}.intersection(first)) == 8
    await after.close()


async def test_an_image_does_not_wait_for_ten_thousand_of_a_backfill_not_even_of_the_same_author(
    pipeline: Pipeline, database: Database
) -> None:
    await pipeline.indexer.close()
    old = hostile_refs(10_000, author=OTHER)
    await pipeline.store.accept(old, backfilled=True)
    for ref in old[:1000]:
        pipeline.cdn.hold(ref)
    await pipeline.restart(concurrency=8)
    await until(lambda: pipeline.cdn.downloading > 10)
    for number, author in enumerate((OTHER, OTHER, 8)):
        new = image_ref(number, author=author)
        await pipeline.indexer.accept([new])
        await until(lambda new=new: new in announced(pipeline))


async def test_images_of_a_backfill_come_after_new_ones_and_are_not_announced(pipeline: Pipeline) -> None:
    await pipeline.indexer.close()
    old = hostile_refs(50)
    await pipeline.store.accept(old, backfilled=True)
    new = [image_ref(author, author=author) for author in range(12)]
    await pipeline.store.accept(new)
    await pipeline.restart(concurrency=2)
    await pipeline.indexer.settled()
    first = list(pipeline.cdn.fetched)[:9]  # as many as there are places, of which one server alone gets eight
    assert len({ref.attachment_id for ref in new}.intersection(first)) == 8
    assert len(pipeline.cdn.fetched) == 62
    assert announced(pipeline) == set(new)
    assert [await pipeline.indexer.accept(old[:1], backfilled=True)] == [[]]


async def test_images_of_a_backfill_are_begun_while_nothing_else_waits(pipeline: Pipeline) -> None:
    old = hostile_refs(5)
    assert len(await pipeline.indexer.accept(old, backfilled=True)) == 5
    await pipeline.indexer.settled()
    assert len(pipeline.cdn.fetched) == 5
    assert pipeline.announced == []
