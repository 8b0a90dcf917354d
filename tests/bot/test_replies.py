"""How public replies are deleted, whatever Discord answers, on a real database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import pytest

from bot.discord_io.replies import PAGE, PublicReplies
from bot.models import ChannelRef, ImageRef, Source
from bot.store.database import Database
from bot.store.guilds import ReplyStore
from bot.store.images import ImageStore
from tests.empty_database import empty_database

CHANNEL, MESSAGE = 2, 10
HERE = ChannelRef(1, CHANNEL)


FIRST_PAUSE_S, MAX_PAUSE_S = 0.02, 0.08


@dataclass
class FakeClient:
    """Answers the deletion of a message with the next of its `answers`, and finally with success."""

    answers: dict[int, list[Exception]] = field(default_factory=dict)
    deletions: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def get_partial_messageable(self, channel_id: int) -> Any:
        assert channel_id == CHANNEL
        return self

    def get_partial_message(self, message_id: int) -> Any:
        async def delete() -> None:
            self.deletions.append(message_id)
            self.times.append(asyncio.get_running_loop().time())
            if self.answers.get(message_id):
                raise self.answers[message_id].pop(0)

        return SimpleNamespace(delete=delete)


@dataclass
class Desk:
    client: FakeClient
    store: ReplyStore
    images: ImageStore
    replies: PublicReplies

    async def orphan(self, *message_ids: int) -> None:
        for message_id in message_ids:
            await self.store.remember(HERE, message_id, [999])

    async def until_no_orphans(self) -> None:
        async with asyncio.timeout(30):
            while await self.store.orphans(1):  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.005)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with await Database.open(empty_database(tmp_path / "magpie.db")) as database:
        client, store, images = FakeClient(), ReplyStore(database), ImageStore(database)
        replies = PublicReplies(client, store, first_pause_s=FIRST_PAUSE_S, max_pause_s=MAX_PAUSE_S)  # type: ignore[arg-type]
        yield Desk(client, store, images, replies)
        await replies.close()


def refused(kind: type[discord.HTTPException], status: int, code: int) -> discord.HTTPException:
    return kind(SimpleNamespace(status=status, reason="no"), {"code": code, "message": "no"})  # type: ignore[arg-type]


GONE = [refused(discord.NotFound, 404, 10003), refused(discord.NotFound, 404, 10008)]
FORBIDDEN = refused(discord.Forbidden, 403, 50001)
TEMPORARY = [
    refused(discord.NotFound, 404, 0),
    refused(discord.HTTPException, 400, 50083),
    refused(discord.DiscordServerError, 503, 0),
    aiohttp.ClientConnectionError(),
    TimeoutError(),
]


@pytest.mark.parametrize("answer", [None, *GONE, FORBIDDEN], ids=repr)
async def test_a_reply_that_is_deleted_or_cannot_be_is_not_tried_again(desk: Desk, answer: Exception | None) -> None:
    await desk.orphan(50)
    desk.client.answers = {50: [answer] if answer is not None else []}
    desk.replies.start()
    await desk.until_no_orphans()
    await asyncio.sleep(2 * MAX_PAUSE_S)
    assert desk.client.deletions == [50]


async def test_a_missing_permission_is_logged_with_ids(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.orphan(50)
    desk.client.answers = {50: [FORBIDDEN]}
    with caplog.at_level(logging.WARNING, "bot.discord_io.replies"):
        desk.replies.start()
        await desk.until_no_orphans()
    [line] = caplog.records
    assert (line.channel_id, line.message_id) == (CHANNEL, 50)  # type: ignore[attr-defined]


@pytest.mark.parametrize("answer", TEMPORARY, ids=repr)
async def test_a_temporary_failure_is_retried_after_a_pause_and_delays_no_other_reply(
    desk: Desk, answer: Exception
) -> None:
    await desk.orphan(50, 51)
    desk.client.answers = {50: [answer]}
    desk.replies.start()
    await desk.until_no_orphans()
    assert desk.client.deletions == [50, 51, 50]
    assert desk.client.times[2] - desk.client.times[1] >= FIRST_PAUSE_S


async def test_pauses_double_up_to_a_limit_and_waking_does_not_shorten_them(desk: Desk) -> None:
    await desk.orphan(50)
    desk.client.answers = {50: [TimeoutError()] * 5}

    async def keep_waking() -> None:
        while True:
            desk.replies.wake()
            await asyncio.sleep(0.001)

    waking = asyncio.create_task(keep_waking())
    desk.replies.start()
    await desk.until_no_orphans()
    waking.cancel()
    pauses = [later - earlier for earlier, later in pairwise(desk.client.times)]
    wanted = [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S]
    assert all(pause >= least for pause, least in zip(pauses, wanted, strict=True))
    assert desk.replies._pause_s <= MAX_PAUSE_S


async def test_more_than_a_page_is_deleted_without_a_pause(desk: Desk) -> None:
    many = range(50, 50 + 2 * PAGE + 1)
    await desk.orphan(*many)
    desk.replies.start()
    await desk.until_no_orphans()
    assert desk.client.deletions == [*many]


async def test_a_reply_is_deleted_once_an_image_that_it_describes_is_forgotten(tmp_path: Path) -> None:
    async with await Database.open(empty_database(tmp_path / "magpie.db")) as database:
        client, images = FakeClient(), ImageStore(database)
        replies = PublicReplies(client, ReplyStore(database))  # type: ignore[arg-type]  # it pauses for minutes
        [image] = await images.accept([ImageRef(HERE, MESSAGE, 100, Source.ATTACHMENT, 7)])
        replies.start()
        await replies.remember(HERE, 50, [image.id])
        await asyncio.sleep(0.05)
        assert client.deletions == []
        await images.forget_messages([MESSAGE])
        replies.wake()
        async with asyncio.timeout(30):
            while client.deletions != [50]:  # noqa: ASYNC110 - the fake has no event
                await asyncio.sleep(0.005)
        await replies.close()


async def test_a_reply_about_an_image_that_was_forgotten_before_it_was_sent_is_deleted(desk: Desk) -> None:
    desk.replies.start()
    await desk.replies.remember(HERE, 50, [999])
    await desk.until_no_orphans()
    assert desk.client.deletions == [50]


async def test_a_reply_that_shows_an_image_openly_is_deleted_once_it_is_a_spoiler_also_one_that_was_being_sent(
    desk: Desk,
) -> None:
    [image] = await desk.images.accept([ImageRef(HERE, MESSAGE, 100, Source.ATTACHMENT, 7)])
    await desk.replies.remember(HERE, 50, [image.id])
    await desk.replies.cover([image.id])
    await desk.replies.remember(HERE, 51, [image.id])
    await desk.replies.remember(HERE, 52, [image.id], covered=[image.id])
    desk.replies.start()
    await desk.until_no_orphans()
    assert desk.client.deletions == [50, 51]


async def test_a_failing_store_does_not_end_the_deletions(desk: Desk) -> None:
    await desk.orphan(50)
    failures: Iterator[Exception] = iter([OSError("the disk is away")])
    read = desk.store.orphans

    async def orphans(limit: int, after: int = 0) -> Any:
        for failure in failures:
            raise failure
        return await read(limit, after)

    desk.store.orphans = orphans  # type: ignore[method-assign]
    desk.replies.start()
    async with asyncio.timeout(30):
        while desk.client.deletions != [50]:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0.005)


async def test_closing_during_a_deletion_leaves_it_for_the_next_start(desk: Desk) -> None:
    await desk.orphan(50)
    begun = asyncio.Event()

    class Stuck(FakeClient):
        def get_partial_message(self, message_id: int) -> Any:
            async def delete() -> None:
                begun.set()
                await asyncio.Event().wait()

            return SimpleNamespace(delete=delete)

    replies = PublicReplies(Stuck(), desk.store)  # type: ignore[arg-type]
    replies.start()
    await asyncio.wait_for(begun.wait(), 30)
    await replies.close()
    await replies.close()
    desk.replies.start()
    await desk.until_no_orphans()
    assert desk.client.deletions == [50]
