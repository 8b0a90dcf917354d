from __future__ import annotations

import pytest

from bot.models import ChannelRef, TaggingMode, ThreadKind
from tests.store.samples import ref

THREAD = ChannelRef(1, 3, parent_id=2, thread=ThreadKind.PUBLIC)


async def test_a_channel_is_silent_unless_told_otherwise(channels):
    assert await channels.tagging_mode(ChannelRef(1, 2)) is TaggingMode.SILENT


@pytest.mark.parametrize("wanted", list(TaggingMode))
async def test_a_setting_is_kept_and_can_be_changed(channels, wanted):
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REACTION)
    await channels.set_tagging_mode(ChannelRef(1, 2), wanted)
    assert await channels.tagging_mode(ChannelRef(1, 2)) is wanted


async def test_a_thread_follows_its_parent_until_it_has_a_setting_of_its_own(channels):
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
    assert await channels.tagging_mode(THREAD) is TaggingMode.REPLY
    await channels.set_tagging_mode(THREAD, TaggingMode.OFF)
    assert await channels.tagging_mode(THREAD) is TaggingMode.OFF
    assert await channels.tagging_mode(ChannelRef(1, 2)) is TaggingMode.REPLY


async def test_an_unmarked_channel_has_no_newest_message(channels):
    assert await channels.last_seen(2) is None
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.OFF)
    assert await channels.last_seen(2) is None
    assert await channels.seen_channels(1) == {}


async def test_marks_never_move_back(channels):
    for message in (10, 30, 20):
        await channels.mark_seen(ChannelRef(1, 2), message)
    assert await channels.last_seen(2) == 30


async def test_marks_are_listed_for_their_server_alone(channels):
    await channels.mark_seen(ChannelRef(1, 2), 10)
    await channels.mark_seen(ChannelRef(1, 3), 11)
    await channels.mark_seen(ChannelRef(9, 90), 12)
    assert await channels.seen_channels(1) == {2: 10, 3: 11}


async def test_accepting_images_keeps_settings_and_marks(channels, images):
    await channels.set_tagging_mode(THREAD, TaggingMode.OFF)
    await channels.mark_seen(THREAD, 10)
    [image] = await images.accept([ref(11, place=THREAD)])
    assert await channels.tagging_mode(THREAD) is TaggingMode.OFF
    assert await channels.last_seen(3) == 10
    await channels.mark_seen(THREAD, 11)
    assert (await images.get([image.id]))[image.id].ref.channel == THREAD


async def test_a_batch_of_places_is_answered_as_each_by_itself(channels):
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REACTION)
    await channels.set_tagging_mode(ChannelRef(1, 4), TaggingMode.OFF)
    places = [ChannelRef(1, 2), THREAD, ChannelRef(1, 4), ChannelRef(1, 5), ChannelRef(6, 7)]
    assert await channels.tagging_modes(places) == {place: await channels.tagging_mode(place) for place in places}
    assert await channels.tagging_modes([]) == {}
