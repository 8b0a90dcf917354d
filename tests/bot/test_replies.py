"""What the cleaner makes of Discord's answers, on a real database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import pytest

from bot.features.tagging import FIRST_PAUSE_S, LONGEST_PAUSE_S, PAGE, ReplyCleaner
from bot.models import ChannelRef, ImageRef, Source
from bot.store.database import Database
from bot.store.guilds import ReplyStore
from bot.store.images import ImageStore
from tests.empty_database import empty_database

CHANNEL, MESSAGE = 2, 10
HERE = ChannelRef(1, CHANNEL)


@dataclass
class FakeClient:
    """Answers the deletion of a message with what `answers` has in store for it, at last with success."""

    answers: dict[int, list[Exception]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def get_partial_messageable(self, channel_id: int) -> Any:
        assert channel_id == CHANNEL
        return self

    def get_partial_message(self, message_id: int) -> Any:
        async def delete() -> None:
            self.asked.append(message_id)
            if self.answers.get(message_id):
                raise self.answers[message_id].pop(0)

        return SimpleNamespace(delete=delete)


class FakeSleep:
    """Time passes only by `pass_time`."""

    def __init__(self) -> None:
        self.asked_for: list[float] = []
        self._passed = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked_for.append(seconds)
        await self._passed.acquire()

    def pass_time(self) -> None:
        self._passed.release()


@dataclass
class Desk:
    client: FakeClient
    store: ReplyStore
    images: ImageStore
    sleep: FakeSleep
    cleaner: ReplyCleaner

    async def orphan(self, *message_ids: int) -> None:
        for message_id in message_ids:
            await self.store.remember(HERE, message_id, [999])

    async def done(self, *message_ids: int) -> None:
        """Waits until these were asked for, and the cleaner has gone to sleep over it."""
        await _until(lambda: self.client.asked == [*message_ids] and bool(self.sleep.asked_for))


async def _until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the cleaner rings no bell
            await asyncio.sleep(0.005)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with await Database.open(empty_database(tmp_path / "magpie.db")) as database:
        client, store, images, sleep = FakeClient(), ReplyStore(database), ImageStore(database), FakeSleep()
        desk = Desk(client, store, images, sleep, ReplyCleaner(client, store, sleep=sleep))  # type: ignore[arg-type]
        yield desk
        await desk.cleaner.close()


def refused(kind: type[discord.HTTPException], status: int, code: int) -> discord.HTTPException:
    return kind(SimpleNamespace(status=status, reason="no"), {"code": code, "message": "no"})  # type: ignore[arg-type]


GONE = [refused(discord.NotFound, 404, 10003), refused(discord.NotFound, 404, 10008)]
OUT_OF_REACH = refused(discord.Forbidden, 403, 50001)
LATER = [
    refused(discord.NotFound, 404, 0),
    refused(discord.HTTPException, 400, 50083),
    refused(discord.DiscordServerError, 503, 0),
    aiohttp.ClientConnectionError(),
    TimeoutError(),
]


@pytest.mark.parametrize("answer", [None, *GONE, OUT_OF_REACH], ids=repr)
async def test_what_is_gone_or_out_of_reach_is_not_asked_for_again(desk: Desk, answer: Exception | None) -> None:
    await desk.orphan(50)
    desk.client.answers = {50: [answer] if answer is not None else []}
    desk.cleaner.start()
    await desk.done(50)
    assert await desk.store.orphans(5) == []
    assert desk.sleep.asked_for == [LONGEST_PAUSE_S]


async def test_what_is_out_of_reach_leaves_a_line_with_ids_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.orphan(50)
    desk.client.answers = {50: [OUT_OF_REACH]}
    with caplog.at_level(logging.WARNING, "bot.features.tagging"):
        desk.cleaner.start()
        await desk.done(50)
    [line] = caplog.records
    assert (line.channel_id, line.message_id) == (CHANNEL, 50)  # type: ignore[attr-defined]


@pytest.mark.parametrize("answer", LATER, ids=repr)
async def test_what_fails_for_now_is_tried_again_after_a_pause_and_holds_up_nothing_else(
    desk: Desk, answer: Exception
) -> None:
    await desk.orphan(50, 51)
    desk.client.answers = {50: [answer]}
    desk.cleaner.start()
    await desk.done(50, 51)
    assert [orphan.message_id for orphan in await desk.store.orphans(5)] == [50]
    assert desk.sleep.asked_for == [FIRST_PAUSE_S]
    desk.sleep.pass_time()
    await _until(lambda: len(desk.sleep.asked_for) == 2)
    assert desk.client.asked == [50, 51, 50]
    assert await desk.store.orphans(5) == []


async def test_pauses_grow_and_have_an_end_and_waking_does_not_shorten_them(desk: Desk) -> None:
    await desk.orphan(50)
    desk.client.answers = {50: [TimeoutError()] * 20}
    desk.cleaner.start()
    for round_ in range(1, 12):
        await _until(lambda round_=round_: len(desk.sleep.asked_for) == round_)
        desk.cleaner.wake()
        desk.sleep.pass_time()
    assert desk.sleep.asked_for[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert desk.sleep.asked_for[10] == LONGEST_PAUSE_S


async def test_more_than_a_page_is_deleted_in_one_go(desk: Desk) -> None:
    many = range(50, 50 + 2 * PAGE + 1)
    await desk.orphan(*many)
    desk.cleaner.start()
    await desk.done(*many)
    assert await desk.store.orphans(5) == []


async def test_a_message_about_an_image_is_deleted_once_it_wakes_after_the_forgetting(desk: Desk) -> None:
    [image] = await desk.images.accept([ImageRef(HERE, MESSAGE, 100, Source.ATTACHMENT, 7)])
    desk.cleaner.start()
    await desk.cleaner.remember(HERE, 50, [image.id])
    await _until(lambda: len(desk.sleep.asked_for) == 2)
    assert desk.client.asked == []
    await desk.images.forget_messages([MESSAGE])
    desk.cleaner.wake()
    await desk.done(50)


async def test_a_message_about_an_image_that_went_before_it_was_sent_is_deleted_at_once(desk: Desk) -> None:
    desk.cleaner.start()
    await _until(lambda: desk.sleep.asked_for)
    await desk.cleaner.remember(HERE, 50, [999])
    await desk.done(50)


async def test_a_store_that_fails_once_does_not_end_the_cleaning(desk: Desk) -> None:
    await desk.orphan(50)
    failures: Iterator[Exception] = iter([OSError("the disk is away")])
    read = desk.store.orphans

    async def orphans(limit: int, after: int = 0) -> Any:
        for failure in failures:
            raise failure
        return await read(limit, after)

    desk.store.orphans = orphans  # type: ignore[method-assign]
    desk.cleaner.start()
    await _until(lambda: desk.sleep.asked_for == [FIRST_PAUSE_S])
    desk.sleep.pass_time()
    await desk.done(50)


async def test_closing_in_the_middle_of_a_deletion_keeps_it_for_the_next_start(desk: Desk) -> None:
    await desk.orphan(50)
    begun = asyncio.Event()

    class Stuck(FakeClient):
        def get_partial_message(self, message_id: int) -> Any:
            async def delete() -> None:
                begun.set()
                await asyncio.Event().wait()

            return SimpleNamespace(delete=delete)

    cleaner = ReplyCleaner(Stuck(), desk.store)  # type: ignore[arg-type]
    cleaner.start()
    await asyncio.wait_for(begun.wait(), 60)
    await cleaner.close()
    await cleaner.close()
    desk.cleaner.start()
    await desk.done(50)
