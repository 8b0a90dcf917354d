"""After a time offline no message is missing, and none is indexed twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from bot.errors import ImageForbidden, ImageUnreachable, StoreUnusable
from bot.indexing.catch_up import ChannelSnapshot
from bot.models import ChannelRef, ImageRef
from bot.store.database import Database
from tests.indexing.away import PAGE_MESSAGES, Bot, Discord
from tests.indexing.support import GUILD, channel_ref, image_ref, snowflake, until


@pytest.fixture
def discord() -> Discord:
    return Discord()


@pytest.fixture
async def bots() -> AsyncIterator[list[Bot]]:
    running: list[Bot] = []
    yield running
    for bot in running:
        await bot.catch_up.close()


ONE, TWO, THREE = channel_ref(1), channel_ref(2), channel_ref(3)


async def joined(database: Database, discord: Discord, bots: list[Bot], *places: ChannelRef) -> Bot:
    bot = Bot(database, discord, *places)
    bots.append(bot)
    await bot.online()
    return bot


async def test_history_from_before_the_first_session_is_not_read(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    before = discord.post(1, ONE)
    bot = await joined(database, discord, bots, ONE, TWO)
    assert await bot.known() == []
    assert discord.asked == []
    assert await bot.watermark(ONE) == before.message_id
    assert await bot.watermark(TWO) == TWO.channel_id


async def test_messages_posted_while_offline_are_accepted_once(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE, TWO)
    seen = discord.post(1, ONE)
    await first.see(seen)
    await first.catch_up.close()
    missed = [discord.post(number, where) for number, where in [(2, ONE), (3, ONE), (4, TWO)]]
    again = await joined(database, discord, bots, ONE, TWO)
    assert await again.known() == sorted(ref.message_id for ref in [seen, *missed])
    assert await again.watermark(ONE) == missed[1].message_id
    discord.asked.clear()
    await again.catch_up.close()
    third = await joined(database, discord, bots, ONE, TWO)
    assert discord.asked == [], "where nothing is new, nothing is asked"
    assert await third.known() == await again.known()


async def test_a_live_message_does_not_move_the_watermark_past_a_gap(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    before = discord.post(1, ONE)
    await first.see(before)
    await first.catch_up.close()
    missed = discord.post(2, ONE)
    discord.hold_at[missed.message_id] = asyncio.Event()
    bot = Bot(database, discord, ONE)
    bots.append(bot)
    bot.catch_up.start()
    bot.connect()
    await discord.reached.wait()
    live = discord.post(3, ONE)
    await bot.see(live)
    assert await bot.watermark(ONE) == before.message_id
    discord.hold_at[missed.message_id].set()
    await bot.catch_up.finished()
    assert await bot.watermark(ONE) == live.message_id
    later = discord.post(4, ONE)
    await bot.see(later)
    assert await bot.watermark(ONE) == later.message_id
    assert await bot.known() == [ref.message_id for ref in (before, missed, live, later)]


async def test_a_crash_in_the_middle_of_a_history_loses_nothing(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    missed = [discord.post(number, ONE) for number in range(2 * PAGE_MESSAGES + 10)]
    stop = missed[PAGE_MESSAGES + 5]
    discord.hold_at[stop.message_id] = asyncio.Event()
    crashed = Bot(database, discord, ONE)
    crashed.catch_up.start()
    crashed.connect()
    await discord.reached.wait()
    await crashed.catch_up.close()
    assert await crashed.watermark(ONE) == missed[PAGE_MESSAGES - 1].message_id, "one watermark for each page"
    discord.hold_at[stop.message_id].set()
    again = await joined(database, discord, bots, ONE)
    assert await again.known() == [ref.message_id for ref in missed]


async def test_the_watermark_stays_below_a_message_that_is_still_being_accepted(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots, ONE)
    slow, quick = discord.post(1, ONE), discord.post(2, ONE)
    door = asyncio.Event()

    async def accept(refs: list[ImageRef]) -> list:
        if [*refs] == [slow]:
            await door.wait()
        return await bot.store.accept(refs)

    bot.accepting = accept
    waiting = asyncio.create_task(bot.see(slow))
    await asyncio.sleep(0)
    await bot.see(quick)
    assert (await bot.watermark(ONE) or 0) < slow.message_id
    door.set()
    await waiting
    assert await bot.watermark(ONE) == quick.message_id


async def test_a_message_that_could_not_be_accepted_is_read_again_from_the_history(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots, ONE)

    async def fail(refs: list[ImageRef]) -> list:
        bot.accepting = bot.store.accept
        raise OSError("disk")

    bot.accepting = fail
    lost = discord.post(1, ONE)
    with pytest.raises(OSError, match="disk"):
        await bot.see(lost)
    await bot.catch_up.finished()
    assert await bot.known() == [lost.message_id]
    assert await bot.watermark(ONE) == lost.message_id


async def test_a_new_session_in_the_middle_of_a_history_starts_that_channel_over(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    missed = [discord.post(number, ONE) for number in range(5)]
    discord.hold_at[missed[3].message_id] = asyncio.Event()
    bot = Bot(database, discord, ONE)
    bots.append(bot)
    bot.catch_up.start()
    bot.connect()
    await discord.reached.wait()
    unseen = discord.post(10, ONE)
    bot.catch_up.hold()
    live = discord.post(11, ONE)
    await bot.see(live)
    discord.hold_at[missed[3].message_id].set()

    async def stopped() -> bool:
        return await bot.watermark(ONE) == missed[4].message_id

    await until(stopped)
    bot.catch_up.begin(GUILD, [discord.snapshot(ONE)], {ONE.channel_id})
    await bot.catch_up.finished()
    assert await bot.known() == [ref.message_id for ref in (*missed, unseen, live)]
    assert await bot.watermark(ONE) == live.message_id


async def test_an_unreadable_channel_is_skipped_and_not_requested_at_every_message(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE, TWO)
    await first.catch_up.close()
    discord.post(1, ONE)
    fine = discord.post(2, TWO)
    discord.errors[ONE.channel_id] = [ImageForbidden()]
    bot = await joined(database, discord, bots, ONE, TWO)
    assert await bot.known() == [fine.message_id]
    before = await bot.watermark(ONE)
    for number in range(3, 6):
        await bot.see(discord.post(number, ONE))
    await bot.catch_up.finished()
    assert [channel for channel, _ in discord.asked].count(ONE.channel_id) == 1
    assert await bot.watermark(ONE) == before
    bot.connect()
    await bot.catch_up.finished()
    assert len(await bot.known()) == 5, "the next session asks again"


async def test_a_channel_that_fails_is_retried_after_pauses_and_the_others_get_their_turn(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE, TWO)
    await first.catch_up.close()
    refs = [discord.post(1, ONE), discord.post(2, TWO)]
    discord.errors[ONE.channel_id] = [ImageUnreachable(), RuntimeError()]
    bot = await joined(database, discord, bots, ONE, TWO)
    assert await bot.known() == [ref.message_id for ref in refs]
    assert [channel for channel, _ in discord.asked] == [ONE.channel_id, TWO.channel_id, ONE.channel_id, ONE.channel_id]
    pauses = [pause for pause in bot.sleep.slept if pause != 1.0]
    assert len(pauses) == 2
    assert pauses[1] > pauses[0]


async def test_a_channel_that_keeps_failing_is_tried_until_it_can_be_read(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    missed = discord.post(1, ONE)
    discord.errors[ONE.channel_id] = [ImageUnreachable()] * 40
    bot = await joined(database, discord, bots, ONE)
    assert await bot.known() == [missed.message_id]
    assert await bot.watermark(ONE) == missed.message_id
    assert max(bot.sleep.slept) <= 600 * 1.25


async def test_a_store_that_keeps_failing_is_asked_after_growing_pauses(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = Bot(database, discord, ONE)
    bots.append(bot)
    store, failures = bot.catch_up._store, [StoreUnusable("damaged")] * 5

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def seen_channels(self, guild_id: int) -> Any:
            if failures:
                raise failures.pop()
            return await store.seen_channels(guild_id)

    bot.catch_up._store = cast(Any, Failing())
    await bot.online()
    assert failures == []
    pauses = [pause for pause in bot.sleep.slept if pause != 1.0]
    assert len(pauses) == 5
    assert pauses[-1] > 20 * pauses[0]


async def test_a_channel_is_read_while_another_pauses_after_a_failure(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE, TWO)
    await first.catch_up.close()
    refs = [discord.post(1, ONE), discord.post(2, TWO)]
    discord.errors[ONE.channel_id] = [ImageUnreachable()]
    bot = Bot(database, discord, ONE, TWO)
    bots.append(bot)
    patience = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds != 1.0:  # the pause after the failure, not the one after a page
            await patience.wait()

    bot.catch_up._sleep = sleep
    bot.catch_up.start()
    bot.connect()
    await until(lambda: bot_knows(bot, refs[1]))
    assert not await bot_knows(bot, refs[0])
    patience.set()
    await bot.catch_up.finished()
    assert await bot_knows(bot, refs[0])


async def bot_knows(bot: Bot, ref: ImageRef) -> bool:
    return ref.message_id in await bot.known()


async def test_a_pause_follows_every_page_and_channel(database: Database, discord: Discord, bots: list[Bot]) -> None:
    first = await joined(database, discord, bots, ONE, TWO)
    await first.catch_up.close()
    for number in range(PAGE_MESSAGES + 1):
        discord.post(number, ONE)
    discord.post(500, TWO)
    bot = await joined(database, discord, bots, ONE, TWO)
    assert bot.sleep.slept == [1.0] * 5, "three pages, and one of each channel to compare"


async def test_a_channel_created_while_offline_is_read_from_its_beginning(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.see(discord.post(1, ONE))
    await first.catch_up.close()
    made = ChannelRef(GUILD, snowflake(5), ONE.channel_id)
    inside = [discord.post(number, made) for number in (6, 7)]
    old_but_hidden = TWO
    discord.post(2, old_but_hidden)
    bot = await joined(database, discord, bots, ONE, made, old_but_hidden)
    assert set(await bot.known()) >= {ref.message_id for ref in inside}
    assert [channel for channel, _ in discord.asked] == [made.channel_id]


async def test_the_first_message_of_a_forum_post_created_while_offline_is_read_too(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    post = ChannelRef(GUILD, snowflake(5), ONE.channel_id)
    starter = discord.post(5, post)
    assert starter.message_id == post.channel_id
    bot = await joined(database, discord, bots, ONE, post)
    assert await bot.known() == [starter.message_id]


async def test_a_thread_created_while_offline_from_a_known_message_is_read(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    seen = [discord.post(number, ONE) for number in (1, 2)]
    for ref in seen:
        await first.see(ref)
    await first.catch_up.close()
    thread = ChannelRef(GUILD, seen[0].message_id, ONE.channel_id)
    discord.made[thread.channel_id] = snowflake(10)
    inside = discord.post(11, thread)
    bot = await joined(database, discord, bots, ONE, thread)
    assert await bot.known() == [ref.message_id for ref in (*seen, inside)]


async def test_a_new_thread_has_a_watermark_at_once_which_moves_with_its_messages(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots, ONE)
    thread = ChannelRef(GUILD, snowflake(5), ONE.channel_id)
    bot.catch_up.appeared(discord.snapshot(thread))
    await bot.catch_up.finished()
    assert await bot.watermark(thread) == thread.channel_id
    message = discord.post(6, thread)
    await bot.see(message)
    assert await bot.watermark(thread) == message.message_id


async def test_a_channel_that_was_not_listed_is_caught_up_on_at_its_first_message(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE, TWO)
    await first.catch_up.close()
    missed = discord.post(1, TWO)
    bot = await joined(database, discord, bots, ONE)
    live = discord.post(2, TWO)
    await bot.see(live)
    await bot.catch_up.finished()
    assert await bot.known() == [missed.message_id, live.message_id]
    assert await bot.watermark(TWO) == live.message_id


async def test_closing_twice_is_harmless(database: Database, discord: Discord, bots: list[Bot]) -> None:
    bot = await joined(database, discord, bots, ONE)
    await bot.catch_up.close()
    await bot.catch_up.close()


async def test_a_message_that_is_lost_while_its_channel_is_read_makes_it_read_again(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    missed = [discord.post(number, ONE) for number in range(3)]
    discord.hold_at[missed[1].message_id] = asyncio.Event()
    bot = Bot(database, discord, ONE)
    bots.append(bot)
    bot.catch_up.start()
    bot.connect()
    await discord.reached.wait()
    lost = image_ref(9, ONE)

    async def accept(refs: list[ImageRef]) -> list:
        if [*refs] == [lost]:
            bot.accepting = bot.store.accept
            raise OSError("disk")
        return await bot.store.accept(refs)

    bot.accepting = accept
    with pytest.raises(OSError, match="disk"):
        await bot.see(lost)
    discord.post(9, ONE)
    discord.hold_at[missed[1].message_id].set()
    await bot.catch_up.finished()
    assert await bot.known() == [ref.message_id for ref in (*missed, lost)]
    assert await bot.watermark(ONE) == lost.message_id


async def test_a_new_session_of_one_shard_holds_the_channels_of_its_guilds_only(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    elsewhere = channel_ref(4, guild=GUILD + (1 << 22))
    bot = await joined(database, discord, bots, ONE)
    bot.catch_up.begin(elsewhere.guild_id, [discord.snapshot(elsewhere)], {elsewhere.channel_id})
    await bot.catch_up.finished()
    bot.catch_up.hold({elsewhere.guild_id})
    here, there = discord.post(1, ONE), discord.post(2, elsewhere)
    await bot.see(here)
    await bot.see(there)
    assert await bot.watermark(ONE) == here.message_id
    assert await bot.watermark(elsewhere) == elsewhere.channel_id
    bot.catch_up.begin(elsewhere.guild_id, [discord.snapshot(elsewhere)], {elsewhere.channel_id})
    await bot.catch_up.finished()
    assert await bot.watermark(elsewhere) == there.message_id


async def test_what_was_missed_while_the_right_to_read_was_lost_is_read_when_it_returns(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots, ONE, TWO)
    await bot.see(discord.post(1, ONE))
    before = await bot.watermark(ONE)
    bot.catch_up.unreadable(ONE)
    unheard, heard = discord.post(2, ONE), discord.post(3, ONE)
    await bot.see(heard)
    assert await bot.watermark(ONE) == before
    discord.asked.clear()
    stale = replace(discord.snapshot(ONE), newest=before)
    bot.catch_up.readable(GUILD, [stale, discord.snapshot(TWO)])
    await bot.catch_up.finished()
    assert unheard.message_id in await bot.known()
    assert await bot.watermark(ONE) == heard.message_id
    assert {channel for channel, _ in discord.asked} == {ONE.channel_id}


async def test_a_channel_that_is_read_while_the_right_is_lost_is_read_again_when_it_returns(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    missed = discord.post(1, ONE)
    discord.hold_at[missed.message_id] = asyncio.Event()
    bot = Bot(database, discord, ONE)
    bots.append(bot)
    bot.catch_up.start()
    bot.connect()
    await discord.reached.wait()
    bot.catch_up.unreadable(ONE)
    discord.hold_at.pop(missed.message_id).set()
    await bot.catch_up.finished()
    unheard = discord.post(2, ONE)
    bot.catch_up.readable(GUILD, [discord.snapshot(ONE)])
    await bot.catch_up.finished()
    assert await bot.known() == [missed.message_id, unheard.message_id]


async def test_a_channel_that_becomes_readable_for_the_first_time_is_indexed_from_then_on(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots, ONE)
    seen = discord.post(1, ONE)
    await bot.see(seen)
    discord.post(2, TWO)
    bot.catch_up.readable(GUILD, [ChannelSnapshot(TWO, snowflake(5))])
    await bot.catch_up.finished()
    assert await bot.known() == [seen.message_id]
    later = discord.post(6, TWO)
    await bot.see(later)
    assert await bot.known() == [seen.message_id, later.message_id]
    assert await bot.watermark(TWO) == later.message_id


# -- a pause


async def test_while_a_server_is_paused_nothing_is_taken_in_and_afterwards_nothing_is_missing(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots, ONE)
    before = discord.post(1, ONE)
    await bot.see(before)
    bot.catch_up.pause(GUILD)
    await bot.rules.set_paused(GUILD, True)
    meanwhile = [discord.post(number, ONE) for number in (2, 3)]
    for ref in meanwhile:
        await bot.see(ref)
    bot.connect()  # a new session in between
    assert await bot.known() == [before.message_id]
    assert await bot.watermark(ONE) == before.message_id
    await bot.rules.set_paused(GUILD, False)
    bot.catch_up.resume(GUILD)
    bot.connect()
    await bot.catch_up.finished()
    after = discord.post(4, ONE)
    await bot.see(after)
    assert await bot.known() == [ref.message_id for ref in (before, *meanwhile, after)]
    assert await bot.watermark(ONE) == after.message_id


async def test_a_page_that_is_under_way_when_a_pause_begins_moves_no_watermark(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots, ONE)
    await first.catch_up.close()
    missed = [discord.post(number, ONE) for number in (1, 2)]
    bot = Bot(database, discord, ONE)
    bots.append(bot)

    async def pause() -> None:
        bot.catch_up.pause(GUILD)
        await bot.rules.set_paused(GUILD, True)

    discord.meanwhile.append(pause)
    await bot.online()
    assert await bot.known() == []
    assert await bot.watermark(ONE) == ONE.channel_id
    await bot.rules.set_paused(GUILD, False)
    bot.catch_up.resume(GUILD)
    bot.connect()
    await bot.catch_up.finished()
    assert await bot.known() == [ref.message_id for ref in missed]
