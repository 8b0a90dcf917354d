"""A deletion wins whenever it comes, and what it deleted is never found again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.models import ImageState
from bot.store.database import Database
from bot.store.images import Finished, ImageStore
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, Readers, channel_ref, direction, image_ref, like, only, until


class SlowStore(ImageStore):
    """The real store with a door before and a door after each `finish`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.before, self.after = asyncio.Event(), asyncio.Event()
        self.before.set()
        self.after.set()
        self.at_before, self.at_after = asyncio.Event(), asyncio.Event()

    async def finish(self, batch: Sequence[Finished], model: Any) -> set[int]:
        self.at_before.set()
        await self.before.wait()
        taken = await super().finish(batch, model)
        self.at_after.set()
        await self.after.wait()
        return taken


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[Pipeline, SlowStore]]:
    async with await Database.open(tmp_path / "slow.sqlite3") as database:
        store = SlowStore(database)
        pipeline = Pipeline(database, store=store)
        await pipeline.restart()
        yield pipeline, store
        await pipeline.close()


async def _hits(pipeline: Pipeline, *refs: Any) -> list[int]:
    vector = direction(b"wanted".hex())
    result = await pipeline.search.ask(Readers(*refs), like(vector))
    return [match.image.ref.message_id for match in result.matches]


async def test_a_forgotten_message_is_never_found_again(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    ref = pipeline.cdn.put(image_ref(1), b"wanted")
    [image] = await pipeline.remember(ref)
    assert await _hits(pipeline, ref) == [ref.message_id]
    assert await pipeline.registry.forget_messages([ref.message_id]) == [image.id]
    assert await _hits(pipeline, ref) == []
    assert await pipeline.indexer.accept([ref]) == []
    assert await _hits(pipeline, ref) == []


async def test_forgetting_while_the_image_is_downloaded_wins(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    ref = pipeline.cdn.put(image_ref(1), b"wanted")
    held = pipeline.cdn.hold(ref)
    [image] = await pipeline.indexer.accept([ref])
    await until(lambda: pipeline.cdn.downloading == 1)
    assert await pipeline.registry.forget_messages([ref.message_id]) == [image.id]
    held.set()
    await pipeline.indexer.settled()
    assert await pipeline.store.get([image.id]) == {}
    assert await _hits(pipeline, ref) == []
    assert pipeline.announced == []


async def test_forgetting_that_begins_before_the_commit_wins(slow: tuple[Pipeline, SlowStore]) -> None:
    pipeline, store = slow
    store.before.clear()
    ref = pipeline.cdn.put(image_ref(1), b"wanted")
    await _hits(pipeline, ref)
    [image] = await pipeline.indexer.accept([ref])
    await store.at_before.wait()
    forgetting = asyncio.create_task(pipeline.registry.forget_messages([ref.message_id]))
    store.before.set()
    assert await forgetting == [image.id]
    await pipeline.indexer.settled()
    assert await store.get([image.id]) == {}
    assert await _hits(pipeline, ref) == []


async def test_forgetting_between_the_commit_and_the_vector_index_wins(slow: tuple[Pipeline, SlowStore]) -> None:
    pipeline, store = slow
    store.after.clear()
    ref = pipeline.cdn.put(image_ref(1), b"wanted")
    await _hits(pipeline, ref)  # the server's vectors are in memory from here on
    [image] = await pipeline.indexer.accept([ref])
    await store.at_after.wait()
    forgetting = asyncio.create_task(pipeline.registry.forget_messages([ref.message_id]))
    await asyncio.wait({forgetting}, timeout=0.5)  # it waits for its turn; a wrong one would be over by now
    store.after.set()
    assert await forgetting == [image.id]
    await pipeline.indexer.settled()
    ranking = await pipeline.index.search(GUILD, direction(b"wanted".hex()), [ref.channel.channel_id], 10)
    assert ranking.hits == [], "not even in memory"


async def test_a_deletion_in_the_store_alone_wins_over_an_image_in_progress(slow: tuple[Pipeline, SlowStore]) -> None:
    pipeline, store = slow
    store.before.clear()
    ref = image_ref(1)
    [image] = await pipeline.indexer.accept([ref])
    await store.at_before.wait()
    await store.forget_messages([ref.message_id])
    store.before.set()
    await pipeline.indexer.settled()
    assert await store.get([image.id]) == {}
    assert pipeline.announced == []


async def test_forgetting_one_attachment_keeps_the_rest_of_its_message(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    first, second = image_ref(1, message=5), image_ref(2, message=5)
    await pipeline.remember(first, second)
    await pipeline.registry.forget_images(5, [first.key])
    [left] = await pipeline.store.by_message(5)
    assert left.ref == second


async def test_forgetting_a_channel_forgets_its_threads_and_nothing_else(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    inside = [image_ref(1, channel_ref(1)), image_ref(2, channel_ref(2, parent=1))]
    outside = image_ref(3, channel_ref(3))
    gone = await pipeline.remember(*inside)
    await pipeline.remember(outside)
    assert sorted(await pipeline.registry.forget_channel(channel_ref(1).channel_id)) == [image.id for image in gone]
    assert len(await pipeline.store.by_message(outside.message_id)) == 1


async def test_forgetting_a_guild_empties_store_and_memory_and_keeps_other_guilds(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    ref = pipeline.cdn.put(image_ref(1), b"wanted")
    other = pipeline.cdn.put(image_ref(2, channel_ref(9, guild=77)), b"wanted")
    await pipeline.remember(ref, other)
    assert await _hits(pipeline, ref) == [ref.message_id]
    assert len(await pipeline.registry.forget_guild(GUILD)) == 1
    assert await _hits(pipeline, ref) == []
    [left] = await pipeline.store.by_message(other.message_id)
    assert left.state is ImageState.READY


async def test_forgetting_a_guild_costs_the_others_in_memory_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.indexer.start()
    await pipeline.remember(image_ref(1), image_ref(2, channel_ref(9, guild=77)))
    discarded: list[int] = []
    monkeypatch.setattr(pipeline.index, "discard", discarded.extend)
    await pipeline.registry.forget_guild(GUILD)
    assert discarded == []


async def test_forgetting_a_member_keeps_what_they_post_later(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    mine, theirs = image_ref(1, author=1), image_ref(2, author=2)
    await pipeline.remember(mine, theirs)
    assert len(await pipeline.registry.forget_author(GUILD, 1, mine.message_id)) == 1
    assert await pipeline.indexer.accept([mine]) == []
    assert len(await pipeline.remember(image_ref(3, author=1))) == 1
    assert len(await pipeline.store.by_message(theirs.message_id)) == 1


@pytest.mark.parametrize(
    "forget",
    [
        lambda registry, ref: registry.forget_messages([ref.message_id]),
        lambda registry, ref: registry.forget_images(ref.message_id, [ref.key]),
        lambda registry, ref: registry.forget_channel(ref.channel.channel_id),
        lambda registry, ref: registry.forget_author(GUILD, ref.author_id, ref.message_id),
        lambda registry, ref: registry.forget_guild(GUILD),
    ],
    ids=["messages", "attachments", "channel", "author", "guild"],
)
async def test_every_deletion_calls_on_forgotten_if_it_deleted_something(pipeline: Pipeline, forget: Any) -> None:
    await pipeline.indexer.start()
    ref = pipeline.cdn.put(image_ref(1), b"wanted")
    await pipeline.remember(ref)
    await forget(pipeline.registry, ref)
    assert pipeline.forgotten == 1
    await forget(pipeline.registry, ref)
    assert pipeline.forgotten == 1


async def test_a_forgotten_guild_is_tagged_with_the_defaults_when_it_comes_back(pipeline: Pipeline) -> None:
    await pipeline.labels.change(GUILD, None, only("sofa"))
    await pipeline.indexer.start()
    [before] = await pipeline.remember(image_ref(1))
    await pipeline.registry.forget_guild(GUILD)
    await pipeline.store.readmit_guild(GUILD)
    [after] = await pipeline.remember(image_ref(2))
    assert [[tag.label for tag in image.tags] for image in (before, after)] == [["sofa"], ["cat"]]
