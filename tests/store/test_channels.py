from __future__ import annotations

import pytest

from bot.models import ChannelRef, TaggingMode, ThreadKind
from tests.store.samples import ref

THREAD = ChannelRef(1, 3, parent_id=2, thread=ThreadKind.PUBLIC)


async def test_a_channels_tagging_mode_is_silent_by_default(channels):
    assert await channels.tagging_mode(ChannelRef(1, 2)) is TaggingMode.SILENT


@pytest.mark.parametrize("wanted", list(TaggingMode))
async def test_a_tagging_mode_is_stored_and_can_be_changed(channels, wanted):
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REACTION)
    await channels.set_tagging_mode(ChannelRef(1, 2), wanted)
    assert await channels.tagging_mode(ChannelRef(1, 2)) is wanted


async def test_a_thread_inherits_the_tagging_mode_of_its_parent_until_it_has_its_own(channels):
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
    assert await channels.tagging_mode(THREAD) is TaggingMode.REPLY
    await channels.set_tagging_mode(THREAD, TaggingMode.OFF)
    assert await channels.tagging_mode(THREAD) is TaggingMode.OFF
    assert await channels.tagging_mode(ChannelRef(1, 2)) is TaggingMode.REPLY


async def test_a_channel_has_no_watermark_until_it_is_marked(channels):
    assert await channels.last_seen(2) is None
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.OFF)
    assert await channels.last_seen(2) is None
    assert await channels.seen_channels(1) == {}


async def test_a_watermark_never_moves_back(channels):
    for message in (10, 30, 20):
        await channels.mark_seen(ChannelRef(1, 2), message)
    assert await channels.last_seen(2) == 30


async def test_watermarks_are_listed_for_one_guild(channels):
    await channels.mark_seen(ChannelRef(1, 2), 10)
    await channels.mark_seen(ChannelRef(1, 3), 11)
    await channels.mark_seen(ChannelRef(9, 90), 12)
    assert await channels.seen_channels(1) == {2: 10, 3: 11}


async def test_accepting_images_keeps_tagging_modes_and_watermarks(channels, images):
    await channels.set_tagging_mode(THREAD, TaggingMode.OFF)
    await channels.mark_seen(THREAD, 10)
    [image] = await images.accept([ref(11, place=THREAD)])
    assert await channels.tagging_mode(THREAD) is TaggingMode.OFF
    assert await channels.last_seen(3) == 10
    await channels.mark_seen(THREAD, 11)
    assert (await images.get([image.id]))[image.id].ref.channel == THREAD
