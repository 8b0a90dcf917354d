"""Commits in batches: one transaction for many images, and one bad row costs only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.errors import ImageUnreachable, StoreBusy
from bot.models import ImageState, TaggingMode
from bot.store.database import Database
from bot.store.images import Finished, ImageStore
from clipcore.errors import EngineClosed
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, channel_ref, image_ref, only, until


class Temperamental(ImageStore):
    """The real store, with a door before each `finish` and errors on demand."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.door = asyncio.Event()
        self.door.set()
        self.batches: list[int] = []
        self.begun: list[int] = []
        self.poison: set[int] = set()
        self.reading: asyncio.Event | None = None
        self.reads = 0
        self.errors: dict[str, list[Exception]] = {}

    async def finish(self, batch: Sequence[Finished], model: Any) -> set[int]:
        self.batches.append(len(batch))
        await self.door.wait()
        self._fail("finish")
        if self.poison & {item.image_id for item in batch}:
            raise ValueError("a row that no table takes")
        return await super().finish(batch, model)

    async def due(self, wanted: Any, now: Any, *, exclude: Any = ()) -> Any:
        """The answer is on its way until `reading` is set."""
        self._fail("due")
        answer = await super().due(wanted, now, exclude=exclude)
        if self.reading is not None:
            self.reads += 1
            await self.reading.wait()
        return answer

    async def begin(self, next_attempts: Any) -> None:
        self.begun.append(len(next_attempts))
        await super().begin(next_attempts)

    async def postpone(self, image_id: int, next_attempt: Any, reason: str) -> bool:
        self._fail("postpone")
        return await super().postpone(image_id, next_attempt, reason)

    def _fail(self, what: str) -> None:
        if self.errors.get(what):
            raise self.errors[what].pop(0)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[tuple[Pipeline, Temperamental]]:
    async with await Database.open(tmp_path / "magpie.sqlite3") as database:
        store = Temperamental(database)
        pipeline = Pipeline(database, store=store)
        yield pipeline, store
        await pipeline.close()


async def test_images_that_arrive_during_a_commit_form_the_next_batch(home: tuple[Pipeline, Temperamental]) -> None:
    pipeline, store = home
    store.door.clear()
    await pipeline.restart(concurrency=8)
    await pipeline.indexer.accept([image_ref(number) for number in range(8)])
    await until(lambda: sum(pipeline.engine.encoded.values()) == 8 and len(store.batches) == 1)
    store.door.set()
    await pipeline.indexer.settled()
    assert max(store.batches) > 1
    assert sum(store.batches) == 8
    assert len(pipeline.announced) == 8


async def test_in_a_batch_each_image_gets_the_tags_of_its_own_guild_and_channel(
    home: tuple[Pipeline, Temperamental],
) -> None:
    pipeline, store = home
    quiet, other = channel_ref(channel=2), channel_ref(guild=GUILD + (1 << 30))
    await pipeline.channels.set_tagging_mode(quiet, TaggingMode.OFF)
    await pipeline.labels.change(other.guild_id, None, only("sofa"))
    wanted = [("cat", channel_ref()), (None, quiet), ("sofa", other)] * 2
    store.door.clear()
    await pipeline.restart(concurrency=8)
    await pipeline.indexer.accept([image_ref(99)])  # holds the door
    await until(lambda: len(store.batches) == 1)
    accepted = await pipeline.indexer.accept([image_ref(at, where) for at, (_, where) in enumerate(wanted)])
    await until(lambda: sum(pipeline.engine.encoded.values()) == 7)
    store.door.set()
    await pipeline.indexer.settled()
    rows = await store.get([image.id for image in accepted])
    assert [[tag.label for tag in rows[one.id].tags] for one in accepted] == [
        [name] if name else [] for name, _ in wanted
    ]
    assert max(store.batches) > 1


async def test_due_images_are_begun_many_at_a_time(home: tuple[Pipeline, Temperamental]) -> None:
    pipeline, store = home
    await store.accept([image_ref(number) for number in range(40)])
    await pipeline.restart(concurrency=4)
    await pipeline.indexer.settled()
    assert len(pipeline.announced) == 40
    begun = [count for count in store.begun if count]
    assert begun[0] == 12, "as many as may be in progress"
    assert min(begun[:-1]) >= 4, "and then never one by one"


async def test_a_row_that_cannot_be_written_costs_only_itself(home: tuple[Pipeline, Temperamental]) -> None:
    pipeline, store = home
    accepted = await store.accept([image_ref(number) for number in range(10)])
    store.poison = {accepted[4].id}
    store.door.clear()
    await pipeline.restart(concurrency=8)
    await until(lambda: sum(pipeline.engine.encoded.values()) >= 8)
    store.door.set()

    async def given_up() -> bool:
        return (await store.get([accepted[4].id]))[accepted[4].id].state is ImageState.PARKED

    await until(given_up)
    await pipeline.indexer.settled()
    assert {image.id for image in pipeline.announced} == {image.id for image in accepted} - store.poison
    assert {image.attempts for image in pipeline.announced} == {0}


@pytest.mark.parametrize("what", ["due", "finish"])
async def test_a_store_that_is_busy_for_a_while_costs_no_attempt(
    home: tuple[Pipeline, Temperamental], what: str
) -> None:
    pipeline, store = home
    store.errors[what] = [StoreBusy("locked")] * 3
    if what == "due":
        await store.accept([image_ref(1)])
    began = asyncio.get_running_loop().time()
    await pipeline.restart()
    await pipeline.indexer.accept([image_ref(1)])
    await until(lambda: len(pipeline.announced) == 1)
    assert pipeline.announced[0].attempts == 0
    assert asyncio.get_running_loop().time() - began >= 0.3, "three pauses"


async def test_an_image_whose_failure_cannot_be_recorded_is_retried(home: tuple[Pipeline, Temperamental]) -> None:
    pipeline, store = home
    ref = image_ref(1)
    pipeline.cdn.errors[ref.attachment_id] = [ZeroDivisionError()]
    store.errors["postpone"] = [StoreBusy("locked")]
    await pipeline.restart()
    await pipeline.indexer.accept([ref])
    await until(lambda: len(pipeline.announced) == 1)
    assert pipeline.cdn.fetched[ref.attachment_id] == 2


@pytest.mark.parametrize("error", [ImageUnreachable(), EngineClosed()], ids=["postponed", "released"])
async def test_an_attempt_that_ends_while_due_images_are_read_is_not_lost(
    home: tuple[Pipeline, Temperamental], error: Exception
) -> None:
    """The query leaves out what is in progress as it begins."""
    pipeline, store = home
    fails, comes = image_ref(1), image_ref(2)
    held = pipeline.cdn.hold(fails)
    pipeline.cdn.errors[fails.attachment_id] = [error]
    await pipeline.restart(concurrency=2)
    await pipeline.indexer.settled()
    await pipeline.indexer.accept([fails])
    await until(lambda: pipeline.cdn.downloading == 1)
    store.reading = asyncio.Event()
    await store.accept([comes])
    pipeline.indexer._unread = True
    pipeline.indexer._wake.set()
    await until(lambda: store.reads > 0)
    held.set()
    await until(lambda: pipeline.indexer.in_progress == 0)
    store.reading.set()
    await until(lambda: len(pipeline.announced) == 2)
