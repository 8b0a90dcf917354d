"""A backfill's progress is in the store, so that a restart goes on where it was."""

from __future__ import annotations

from bot.models import BackfillMode, BackfillState, ChannelRef, ThreadKind
from bot.store.backfills import CHANNELS_PER_SEARCH, SearchFilter, TaskKind
from tests.store.samples import CARD, NOON, finished, ref

ONE, TWO, FORUM = ChannelRef(1, 1001), ChannelRef(1, 1002), ChannelRef(1, 1003)
THREAD = ChannelRef(1, 1030, 1003, ThreadKind.PRIVATE)
UNTIL = 2001


async def begun(backfills, mode=BackfillMode.THOROUGH, *tasks) -> None:
    tasks = tasks or ((ONE, TaskKind.MESSAGES), (FORUM, TaskKind.PUBLIC), (TWO, TaskKind.MESSAGES))
    assert await backfills.begin(1, None, mode, UNTIL, tasks)


async def test_a_server_has_one_backfill_at_a_time_and_another_one_replaces_it_once_it_has_ended(backfills):
    await begun(backfills)
    assert not await backfills.begin(1, None, BackfillMode.QUICK, UNTIL, [])
    assert await backfills.begin(9, 5, BackfillMode.QUICK, UNTIL, [])
    assert await backfills.set_state(1, BackfillState.PAUSED, of=[BackfillState.RUNNING])
    assert not await backfills.begin(1, None, BackfillMode.QUICK, UNTIL, [])
    assert sorted(await backfills.unfinished()) == [1, 9]
    assert await backfills.set_state(1, BackfillState.CANCELLED, of=[BackfillState.PAUSED])
    assert (await backfills.get(1)).ended == NOON
    await begun(backfills, BackfillMode.QUICK, (TWO, TaskKind.MESSAGES))
    assert [task.channel for task in await backfills.next_tasks(1)] == [TWO]


async def test_archived_threads_are_listed_page_after_page_before_messages_are_read(backfills):
    await begun(backfills)
    [listing] = await backfills.next_tasks(1)
    assert (listing.channel, listing.kind, listing.cursor) == (FORUM, TaskKind.PUBLIC, None)
    await backfills.listed(listing, [THREAD], 77)
    [again] = await backfills.next_tasks(1)
    assert again.cursor == 77
    await backfills.listed(again, [THREAD], None)  # the page before was listed twice: a kill came in between
    found = []
    while tasks := await backfills.next_tasks(1):
        found += [task.channel for task in tasks]
        await backfills.advanced(tasks, None)
    assert found == [ONE, TWO, THREAD]


async def test_a_history_is_read_channel_after_channel_and_counted(backfills):
    await begun(backfills, BackfillMode.THOROUGH, (ONE, TaskKind.MESSAGES), (TWO, TaskKind.MESSAGES))
    [task] = await backfills.next_tasks(1)
    await backfills.advanced([task], 1501, messages=100, found=40)
    assert await backfills.next_tasks(1) == [replaced(task, 1501)]
    progress = await backfills.progress(1)
    assert (progress.messages, progress.found, progress.channels, progress.read) == (100, 40, 2, 0)
    assert progress.fraction == 0.25, "half of one of two channels, by time"
    await backfills.refuse([task])
    [other] = await backfills.next_tasks(1)
    await backfills.advanced([other], None, messages=3, found=1)
    progress = await backfills.progress(1)
    assert (progress.read, progress.refused, progress.fraction) == (1, 1, 1.0)
    assert progress.found == 41


def replaced(task, cursor):
    return type(task)(task.id, task.channel, task.kind, task.filter, cursor)


async def test_channels_are_searched_together_first_for_pictures_then_for_forwarded_messages(backfills):
    places = [ChannelRef(1, 1100 + number) for number in range(CHANNELS_PER_SEARCH + 5)]
    await begun(backfills, BackfillMode.QUICK, *((place, TaskKind.MESSAGES) for place in places))
    tasks = await backfills.next_tasks(1)
    assert len(tasks) == CHANNELS_PER_SEARCH
    await backfills.advanced(tasks, 1500, messages=25, found=25, expected=50)
    assert [task.cursor for task in await backfills.next_tasks(1)] == [1500] * CHANNELS_PER_SEARCH
    await backfills.search_for(tasks, SearchFilter.SNAPSHOT)
    forwarded = await backfills.next_tasks(1)
    assert {(task.filter, task.cursor) for task in forwarded} == {(SearchFilter.SNAPSHOT, None)}
    assert len(forwarded) == CHANNELS_PER_SEARCH
    await backfills.advanced(forwarded, None)
    assert [task.channel for task in await backfills.next_tasks(1)] == places[CHANNELS_PER_SEARCH:]


async def test_without_the_search_each_channel_is_read_and_those_that_it_has_given_are_done(backfills):
    await begun(backfills, BackfillMode.QUICK, (ONE, TaskKind.MESSAGES), (TWO, TaskKind.MESSAGES))
    tasks = await backfills.next_tasks(1)
    await backfills.search_for(tasks[:1], SearchFilter.SNAPSHOT)
    await backfills.stop_searching(1)
    assert [task.channel for task in await backfills.next_tasks(1)] == [TWO]
    assert not (await backfills.get(1)).searching


async def test_what_a_backfill_found_is_counted_by_what_became_of_it(images, backfills):
    [earlier] = await images.accept([ref(1)], backfilled=True)
    await images.park(earlier.id, "broken")
    await begun(backfills)
    found = await images.accept([ref(message) for message in range(10, 15)], backfilled=True)
    live = await images.accept([ref(20)])
    assert await backfills.backlog(1) == 5
    [listing] = await backfills.next_tasks(1)
    await backfills.listed(listing, [], None)
    await backfills.advanced(await backfills.next_tasks(1), None, found=5)
    done, broken, late, begun_one, _ = found
    await images.finish([finished(done.id), finished(live[0].id)], CARD)
    await images.park(broken.id, "broken")
    await images.postpone(late.id, NOON, "unreachable")
    await images.begin({begun_one.id: NOON})
    progress = await backfills.progress(1)
    assert (progress.waiting, progress.later, progress.failed, progress.done) == (2, 1, 1, 1)
    assert await backfills.backlog(1) == 2


async def test_what_was_covered_counts_as_seen_as_far_as_it_is_contiguous(images, channels, backfills):
    await channels.mark_seen(ONE, 1500)
    await backfills.cover([ONE.channel_id], 1000, 1400)
    assert await images.first_seen(ONE.channel_id) == 1500, "there is a hole between 1400 and 1500"
    await backfills.cover([ONE.channel_id], 1000, 1600)
    await backfills.cover([ONE.channel_id], 1200, 1600)
    assert await images.first_seen(ONE.channel_id) == 1000
    assert await channels.last_seen(ONE.channel_id) == 1500


async def test_a_thread_that_was_never_seen_was_read_up_to_the_beginning_of_the_backfill(images, channels, backfills):
    await images.accept([ref(1200, place=THREAD)], backfilled=True)
    await backfills.cover([THREAD.channel_id], 1100, UNTIL)
    await backfills.cover([THREAD.channel_id], 0, 1100)
    assert await channels.last_seen(THREAD.channel_id) == UNTIL
    assert await images.first_seen(THREAD.channel_id) == 0


async def test_a_server_that_removed_the_bot_has_no_backfill(images, backfills):
    await begun(backfills)
    await images.forget_guild(1)
    assert await backfills.get(1) is None
    assert await backfills.progress(1) is None
    assert await backfills.next_tasks(1) == []
    assert not await backfills.begin(1, None, BackfillMode.QUICK, UNTIL, [])
