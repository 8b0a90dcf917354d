"""What the index tells whoever counts, and that counting can harm nobody's images."""

from __future__ import annotations

from collections import Counter

import pytest

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.retry import RetryPolicy
from bot.models import ImageState
from bot.monitoring.events import (
    Accepted,
    Attempted,
    ContentRead,
    ContentSource,
    Event,
    Forgotten,
    IndexLoaded,
    IndexSearched,
    Outcome,
    Written,
)
from bot.search.vector_cache import GuildIndex
from bot.store.database import Database
from clipcore.errors import EngineClosed
from tests.index.house import House
from tests.index.support import DIMENSION, axis, image_ref, until


async def test_an_image_is_told_from_its_acceptance_to_its_end(house: House) -> None:
    told: list[Event] = []
    await house.restart(tell=told.append)
    fine, gone, locked, slow = (image_ref(number) for number in range(4))
    house.cdn.errors[gone.attachment_id] = [ImageGone("gone")]
    house.cdn.errors[locked.attachment_id] = [ImageForbidden("forbidden")]
    house.cdn.errors[slow.attachment_id] = [ImageUnreachable("away")]
    await house.indexer.accept([fine, gone, locked, slow])
    await house.indexer.accept([fine])
    await house.indexer.settled()
    assert told.count(Accepted(4)) == 1
    assert Accepted(0) not in told
    expected = {Outcome.FINISHED: 2, Outcome.GONE: 1, Outcome.PARKED: 1, Outcome.POSTPONED: 1}
    await until(lambda: Counter(event.outcome for event in told if isinstance(event, Attempted)) == expected)
    assert told.count(Forgotten(1)) == 1
    await house.indexer.forget_messages([fine.message_id])
    assert told.count(Forgotten(1)) == 2


async def test_an_image_that_a_closed_engine_gave_back_is_told_as_returned(house: House) -> None:
    told: list[Event] = []
    await house.restart(tell=told.append)
    ref = house.cdn.put(image_ref(1), b"a file")
    house.engine.errors[b"a file"] = [EngineClosed("closed")]
    await house.remember(ref)
    assert [event.outcome for event in told if isinstance(event, Attempted)] == [Outcome.RETURNED, Outcome.FINISHED]


async def test_where_a_files_vector_came_from_is_told(house: House) -> None:
    told: list[Event] = []
    await house.restart(tell=told.append)
    refs = [house.cdn.put(image_ref(number), b"the same file") for number in range(3)]
    await house.remember(refs[0])
    await house.remember(refs[1])
    await house.restart(tell=told.append)
    await house.remember(refs[2])
    sources = [event.source for event in told if isinstance(event, ContentRead)]
    assert sources == [ContentSource.MODEL, ContentSource.MEMORY, ContentSource.STORE]


async def test_a_searched_server_is_told_as_loaded_once(house: House) -> None:
    told: list[Event] = []
    index = GuildIndex(house.store, house.engine.card.key, DIMENSION, told.append)
    await house.indexer.start()
    ref = image_ref(1)
    await house.remember(ref)
    for _ in range(2):
        assert await index.search(ref.channel.guild_id, axis(0), [ref.channel.channel_id], 1)
    await index.close()
    assert [type(event) for event in told] == [IndexLoaded, IndexSearched, IndexSearched]


async def test_each_committed_transaction_is_told(tmp_path) -> None:
    told: list[Event] = []
    async with await Database.open(tmp_path / "magpie.sqlite3", tell=told.append) as database:
        await database.write(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        with pytest.raises(ZeroDivisionError):
            await database.write(lambda connection: 1 / 0)
    [written] = told
    assert isinstance(written, Written)
    assert written.seconds > 0


async def test_whoever_counts_may_fail_and_every_image_is_remembered(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: Event) -> None:
        raise RuntimeError("no room for another counter")

    await house.restart(tell=fails, retry=RetryPolicy(attempts=1))
    [image] = await house.remember(image_ref(1))
    assert image.state is ImageState.READY
    assert "whoever counts what happens failed" in caplog.text
