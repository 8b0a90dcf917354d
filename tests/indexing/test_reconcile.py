from __future__ import annotations

import asyncio

import pytest

from bot.errors import StoreBusy
from bot.indexing.reconcile import ChannelReconciler, missing
from bot.models import ChannelRef, ThreadKind

GUILD = 1
CHANNEL, THREAD = ChannelRef(GUILD, 10), ChannelRef(GUILD, 20, 10, ThreadKind.PUBLIC)
PRIVATE, ELSEWHERE = ChannelRef(GUILD, 30, 10, ThreadKind.PRIVATE), ChannelRef(GUILD, 40, 11, ThreadKind.PUBLIC)


def test_missing_channels_come_first_then_missing_threads_the_newest_first() -> None:
    assert missing([CHANNEL, THREAD, PRIVATE, ELSEWHERE], {10}) == [11, 30, 20]
    assert missing([CHANNEL, THREAD], {10, 20}) == []


def test_threads_of_a_missing_channel_are_left_out() -> None:
    assert missing([CHANNEL, THREAD, PRIVATE], {11}) == [10]


class Discord:
    """Answers once `may_answer` is set, and counts concurrent requests."""

    def __init__(self, deleted: set[int]) -> None:
        self.deleted, self.asked, self.forgotten = deleted, list[int](), list[int]()
        self.may_answer, self.asking, self.most = asyncio.Event(), 0, 0
        self.busy = False

    async def places(self, guild_id: int) -> list[ChannelRef]:
        if guild_id == 13:
            raise RuntimeError("a bug")
        if guild_id == 14 and not self.busy:
            self.busy = True
            raise StoreBusy("locked")
        return [ChannelRef(guild_id, guild_id * 100 + at) for at in range(3)]

    async def is_deleted(self, channel_id: int) -> bool:
        self.asked.append(channel_id)
        self.asking += 1
        self.most = max(self.most, self.asking)
        await self.may_answer.wait()
        self.asking -= 1
        return channel_id in self.deleted

    async def forget(self, channel_id: int) -> None:
        self.forgotten.append(channel_id)

    def reconciler(self) -> ChannelReconciler:
        return ChannelReconciler(self.places, self.is_deleted, self.forget, pause_s=0)


async def until_asked(discord: Discord, number: int) -> None:
    async with asyncio.timeout(60):
        while len(discord.asked) < number or discord.asking:  # noqa: ASYNC110 - the fake has no signal of its own
            await asyncio.sleep(0)


async def test_only_what_discord_says_is_deleted_is_forgotten_with_one_request_at_a_time() -> None:
    discord = Discord({101, 202})
    reconciler = discord.reconciler()
    discord.may_answer.set()
    for guild_id in (1, 2):
        reconciler.begin(guild_id, ())
    await until_asked(discord, 6)
    await reconciler.close()
    assert sorted(discord.forgotten) == [101, 202]
    assert discord.most == 1


async def test_a_store_that_is_locked_is_asked_again() -> None:
    discord = Discord({1401})
    discord.may_answer.set()
    reconciler = discord.reconciler()
    reconciler.begin(14, ())
    await until_asked(discord, 3)
    await reconciler.close()
    assert discord.busy
    assert discord.forgotten == [1401]


async def test_closing_ends_a_request_that_is_in_progress() -> None:
    discord = Discord({102})
    reconciler = discord.reconciler()
    reconciler.begin(1, ())
    async with asyncio.timeout(60):
        while not discord.asked:  # noqa: ASYNC110 - the fake has no signal of its own
            await asyncio.sleep(0)
        await reconciler.close()
    assert discord.forgotten == []


async def test_a_new_session_replaces_a_run_that_has_not_ended() -> None:
    discord = Discord(set())
    reconciler = discord.reconciler()
    reconciler.begin(1, ())
    await asyncio.sleep(0)
    reconciler.begin(1, {100, 101})
    discord.may_answer.set()
    async with asyncio.timeout(60):
        while reconciler._runs:  # noqa: ASYNC110 - no signal of its own
            await asyncio.sleep(0)
    assert discord.asked[-1] == 102
    assert discord.asked.count(100) == discord.asked.count(101) == 0


async def test_one_guild_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    discord = Discord({101})
    discord.may_answer.set()
    reconciler = discord.reconciler()
    reconciler.begin(13, ())
    reconciler.begin(1, ())
    await until_asked(discord, 3)
    await reconciler.close()
    assert discord.forgotten == [101]
    assert [getattr(record, "guild_id", None) for record in caplog.records] == [13]
