"""How many images there are, as moderators are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.models import ChannelRef, ThreadKind, last_message_by
from bot.store.statistics import ChannelCount, StatisticsStore
from tests.store.samples import CARD, NOON, finished, ref

THREAD, OTHER, ELSEWHERE = ChannelRef(1, 20, 2, ThreadKind.PRIVATE), ChannelRef(1, 3), ChannelRef(9, 90)


@pytest.fixture
def statistics(database) -> StatisticsStore:
    return StatisticsStore(database, clock=lambda: NOON)


async def test_images_are_counted_by_channel_and_state_with_the_reasons(images, statistics):
    one, two, three, four = await images.accept([ref(10), ref(11), ref(12, place=THREAD), ref(13, place=OTHER)])
    await images.accept([ref(14, place=ELSEWHERE)])
    await images.finish([finished(one.id), finished(three.id)], CARD)
    await images.park(two.id, "broken")
    await images.park(four.id, "too_large")
    counted = {count.channel: count for count in await statistics.by_channel(1)}
    assert counted == {
        ChannelRef(1, 2): ChannelCount(ChannelRef(1, 2), ready=1, parked=1),
        THREAD: ChannelCount(THREAD, ready=1),
        OTHER: ChannelCount(OTHER, parked=1),
    }
    assert await statistics.reasons(1) == {"broken": 1, "too_large": 1}


async def test_a_channel_counts_with_its_threads_and_up_to_a_message(images, statistics):
    await images.accept([ref(10), ref(11, place=THREAD), ref(12, place=OTHER), ref(13, place=ELSEWHERE)])
    assert await statistics.up_to(1) == 3
    assert await statistics.up_to(1, [2]) == 2
    assert await statistics.up_to(1, [2], 10) == await statistics.up_to(1, [20]) == 1
    assert await statistics.of_author(1, 7) == 3


async def test_what_a_retention_would_delete_is_counted_as_it_would_be_deleted(images, rules, statistics):
    old = last_message_by(NOON - timedelta(days=40))
    await images.accept([ref(old), ref(old + 1, place=THREAD), ref(old + 2, place=OTHER)])
    await images.accept([ref(last_message_by(NOON))])
    await rules.set_retention(1, OTHER.channel_id, 90)
    assert await statistics.older_than(1, None, 30) == 2
    assert await statistics.older_than(1, 2, 30) == 2
    assert await statistics.older_than(1, OTHER.channel_id, 30) == 1
    assert await statistics.older_than(1, None, 60) == 0


async def test_searchable_images_are_counted_by_the_day_of_their_message(images, statistics):
    days = [NOON, NOON - timedelta(days=3), NOON - timedelta(days=3, hours=1)]
    added = await images.accept([ref(last_message_by(day)) for day in days])
    await images.accept([ref(last_message_by(NOON), 200)])  # it waits
    await images.finish([finished(image.id) for image in added], CARD)
    today = (NOON - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert await statistics.by_day([2]) == {today: 1, today - 3: 2}
    assert await statistics.by_day([3]) == {}
