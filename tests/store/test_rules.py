"""What a server and its channels choose about indexing decides what is accepted, and what expires."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.models import FOR_GOOD, NEWEST, ChannelRef, ChannelRules, Source, ThreadKind, last_message_by, posted_at
from bot.store.rules import Expired
from tests.store.samples import NOON, ref

CHANNEL, OTHER = ChannelRef(1, 2), ChannelRef(1, 3)
THREAD = ChannelRef(1, 20, 2, ThreadKind.PUBLIC)
NOW = last_message_by(NOON)


def posted(days_ago: float, place: ChannelRef = CHANNEL, attachment: int = 100, author: int = 7):
    return ref(last_message_by(NOON - timedelta(days=days_ago)), attachment, place=place, author_id=author)


async def accepted(images, *refs) -> list:
    return [image.ref for image in await images.accept(refs)]


async def test_a_channel_that_is_off_and_its_threads_take_in_nothing_and_others_do(images, rules):
    await rules.set_indexed(CHANNEL, False, NOW)
    new, in_thread, elsewhere = ref(10), ref(11, place=THREAD), ref(12, place=OTHER)
    assert await accepted(images, new, in_thread, elsewhere) == [elsewhere]
    await rules.set_indexed(CHANNEL, True, NOW)
    assert await accepted(images, new, in_thread) == [new, in_thread]


async def test_a_channel_that_is_switched_on_counts_as_seen_up_to_that_moment_and_one_that_was_on_stays(
    images, rules, channels
):
    for place in (CHANNEL, THREAD, OTHER):
        await channels.mark_seen(place, 10)
    await rules.set_indexed(OTHER, True, 50)
    assert await images.first_seen(OTHER.channel_id) == 10
    await rules.set_indexed(CHANNEL, False, 40)
    await rules.set_indexed(CHANNEL, True, 50)
    assert [await images.first_seen(place.channel_id) for place in (CHANNEL, THREAD)] == [50, 50]
    await rules.set_indexed(CHANNEL, True, 60)
    assert await images.first_seen(CHANNEL.channel_id) == 50


async def test_the_default_for_new_channels_changes_no_existing_one(images, rules):
    await images.accept([ref(1)])
    await rules.set_index_new_channels(1, False, [CHANNEL.channel_id])
    late = ChannelRef(1, 9)
    assert await accepted(images, ref(10), ref(11, place=late)) == [ref(10)]
    await rules.set_index_new_channels(1, True, [CHANNEL.channel_id, late.channel_id])
    assert await accepted(images, ref(12), ref(13, place=late)) == [ref(12)]
    later = ref(14, place=ChannelRef(1, 10))
    assert await accepted(images, later) == [later]
    chosen = {one.channel_id: one.indexed for one in (await rules.of_guild(1)).channels}
    assert chosen == {CHANNEL.channel_id: True, late.channel_id: False}


async def test_a_paused_server_takes_in_nothing_and_another_one_does(images, rules):
    await rules.set_paused(1, True)
    elsewhere = ref(12, place=ChannelRef(9, 90))
    assert await accepted(images, ref(10), elsewhere) == [elsewhere]
    assert await rules.paused_guilds() == [1]
    await rules.set_paused(1, False)
    assert await accepted(images, ref(10)) == [ref(10)]


async def test_what_is_older_than_its_retention_is_not_accepted_and_a_channel_decides_before_its_server(images, rules):
    old, new = posted(40), posted(20)
    await rules.set_retention(1, None, 30)
    assert await accepted(images, old, new, posted(40, THREAD)) == [new]
    await rules.set_retention(1, CHANNEL.channel_id, FOR_GOOD)
    assert await accepted(images, old) == [old]
    await rules.set_retention(1, OTHER.channel_id, 7)
    assert await accepted(images, posted(8, OTHER), posted(6, OTHER)) == [posted(6, OTHER)]


async def test_what_has_expired_is_found_by_channel_and_its_threads_count_as_the_channels(images, rules):
    refs = [posted(40), posted(40, THREAD, 101), posted(8, OTHER), posted(1, ChannelRef(1, 4))]
    await images.accept([*refs, posted(400, ChannelRef(9, 90))])
    assert await rules.expired() == []
    await rules.set_retention(1, None, 30)
    month = last_message_by(NOON - timedelta(days=30))
    assert await rules.expired() == [Expired(1, (2,), month)]
    await rules.set_retention(1, OTHER.channel_id, 7)
    week = last_message_by(NOON - timedelta(days=7))
    assert sorted(await rules.expired(), key=lambda one: one.channel_ids) == [
        Expired(1, (2,), month),
        Expired(1, (3,), week),
    ]
    await images.forget_up_to(1, [2], month, for_good=False)
    assert await rules.expired() == [Expired(1, (3,), week)]


async def test_after_a_retention_was_lifted_a_comparison_brings_nothing_back_and_a_backfill_may(
    images, rules, channels
):
    old = posted(40)
    await channels.mark_seen(CHANNEL, old.message_id - 1)
    await images.accept([old])
    await rules.set_retention(1, None, 30)
    [expired] = await rules.expired()
    await images.forget_up_to(1, expired.channel_ids, expired.up_to_message, for_good=False)
    await rules.set_retention(1, None, None)
    assert await images.first_seen(CHANNEL.channel_id) >= old.message_id, "so no comparison accepts it"
    assert await accepted(images, old) == [old]


@pytest.mark.parametrize("place", [CHANNEL, THREAD])
async def test_what_was_forgotten_for_good_in_a_channel_or_server_never_comes_back(images, place):
    before, after, elsewhere = ref(10, place=place), ref(60, place=place), ref(11, place=OTHER)
    await images.accept([before, elsewhere])
    assert len(await images.forget_up_to(1, [CHANNEL.channel_id], 50, for_good=True)) == 1
    assert await accepted(images, before, after) == [after]
    assert len(await images.forget_up_to(1, [], 55, for_good=True)) == 1
    assert await accepted(images, elsewhere) == []
    assert [image.ref for image in await images.by_message(60)] == [after]


async def test_an_earlier_bound_does_not_replace_a_later_one(images):
    await images.forget_up_to(1, [2], 50, for_good=True)
    await images.forget_up_to(1, [2], 20, for_good=True)
    assert await accepted(images, ref(30)) == []


async def test_one_image_of_a_message_or_all_are_forgotten_for_good(images):
    one, two = ref(10, 100), ref(10, 101)
    await images.accept([one, two])
    assert len(await images.exclude_images(1, 10, [one.key])) == 1
    assert await accepted(images, one, two) == []
    assert [image.ref for image in await images.by_message(10)] == [two]
    assert len(await images.exclude_images(1, 10, [])) == 1
    later = ref(10, 102, source=Source.PREVIEW)
    assert await accepted(images, one, two, later) == []
    await images.forget_messages([10])  # the message is deleted in Discord: nothing of it is kept
    assert await images._database.read(count_excluded) == 0


async def count_excluded(connection) -> int:
    return (await connection.exec_driver_sql("SELECT count(*) FROM excluded_images")).scalar_one()


async def test_a_member_who_is_left_out_comes_back_only_when_readmitted(images, rules):
    await rules.exclude_member(1, 7)
    assert await rules.excluded_members(1) == [7]
    elsewhere = ref(11, place=ChannelRef(9, 90))
    assert await accepted(images, ref(10), ref(10, author_id=8), elsewhere) == [ref(10, author_id=8), elsewhere]
    await images.forget_author(1, 7, up_to_message=20)
    assert await rules.readmit_member(1, 7)
    assert not await rules.readmit_member(1, 7)
    assert await accepted(images, ref(20), ref(21)) == [ref(21)], "what was deleted stays deleted"


@given(st.integers(1, 36_500), st.integers(0, NEWEST >> 8))
def test_a_retention_covers_exactly_what_is_older(days: int, message_id: int) -> None:
    covered = message_id <= ChannelRules(retention_days=days).floor(NOON)
    age = NOON - posted_at(message_id)
    if abs(age - timedelta(days=days)) > timedelta(milliseconds=1):
        assert covered == (age > timedelta(days=days))
