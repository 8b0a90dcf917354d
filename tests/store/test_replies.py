"""A public reply is known as long as its images, and an orphan once one of them is deleted."""

from __future__ import annotations

import sqlite3

import pytest

from bot.models import ChannelRef, PublicReply, Source
from bot.store.guilds import Reply
from tests.store.samples import ref

FORGET = {
    "messages": lambda images: images.forget_messages([10]),
    "attachments": lambda images: images.forget_images(10, [(Source.ATTACHMENT, 100)]),
    "channel": lambda images: images.forget_channel(2),
    "author": lambda images: images.forget_author(1, 7),
}


async def two_images(images) -> list[int]:
    """One by member 7 in channel 2, one by member 8 in channel 3."""
    added = await images.accept([ref(10), ref(11, 101, place=ChannelRef(1, 3), author_id=8)])
    return [image.id for image in added]


def rows(path) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT message_id, image_id FROM replies ORDER BY 1, position").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
async def test_a_reply_is_an_orphan_as_soon_as_one_of_its_images_is_deleted(images, replies, forget):
    first, second = await two_images(images)
    await replies.remember(ChannelRef(1, 3), 50, [first, second])
    await replies.remember(ChannelRef(1, 3), 51, [second])
    assert await replies.orphans(5) == []
    await forget(images)
    assert await replies.orphans(5) == [Reply(3, 50)]


async def test_a_reply_about_an_image_that_was_deleted_before_is_an_orphan_at_once(images, replies):
    first, second = await two_images(images)
    await images.forget_messages([10])
    await replies.remember(ChannelRef(1, 3), 50, [first, second])
    assert await replies.orphans(5) == [Reply(3, 50)]


async def test_an_orphan_is_listed_until_it_is_dropped(path, images, replies):
    first, second = await two_images(images)
    await replies.remember(ChannelRef(1, 3), 50, [first])
    await replies.remember(ChannelRef(1, 3), 51, [second])
    await images.forget_messages([10])
    assert await replies.orphans(5) == await replies.orphans(5) == [Reply(3, 50)]
    await replies.drop(50)
    await replies.drop(50)
    assert await replies.orphans(5) == []
    assert rows(path) == [(51, second)]


async def test_orphans_come_page_by_page_each_once(images, replies):
    first, second = await two_images(images)
    for message_id in (54, 52, 53):
        await replies.remember(ChannelRef(1, 3), message_id, [first, second])
    await images.forget_messages([10, 11])
    assert [reply.message_id for reply in await replies.orphans(2)] == [52, 53]
    assert [reply.message_id for reply in await replies.orphans(2, after=53)] == [54]


async def test_a_reply_that_is_deleted_in_discord_is_deleted(path, images, replies):
    first, _ = await two_images(images)
    await replies.remember(ChannelRef(1, 3), 50, [first])
    assert await images.forget_messages([50]) == []
    assert rows(path) == []


@pytest.mark.parametrize("forget", [lambda images: images.forget_channel(3), lambda images: images.forget_guild(1)])
async def test_a_reply_is_deleted_with_its_channel_and_guild_and_does_not_come_back(path, images, replies, forget):
    first, _ = await two_images(images)
    await replies.remember(ChannelRef(1, 3), 50, [first])
    await forget(images)
    await replies.remember(ChannelRef(1, 3), 51, [first])
    assert rows(path) == []


async def test_a_reply_that_describes_no_image_is_not_stored(path, images, replies):
    await two_images(images)
    await replies.remember(ChannelRef(1, 3), 50, [])
    assert rows(path) == []


async def test_a_reply_that_is_found_again_goes_with_the_images_that_it_describes(images, replies):
    first, second = await two_images(images)
    await replies.find(ChannelRef(1, 2), {50: PublicReply(10), 51: PublicReply(9, (first, second))})
    assert await replies.orphans(5) == []
    await images.forget_messages([11])
    assert await replies.orphans(5) == [Reply(2, 51)]
    await images.forget_messages([10])
    assert await replies.orphans(5) == [Reply(2, 50), Reply(2, 51)]


async def test_a_reply_that_is_found_after_its_images_are_gone_is_an_orphan_at_once(images, replies):
    first, _ = await two_images(images)
    await images.forget_messages([10])
    await replies.find(ChannelRef(1, 2), {50: PublicReply(10), 51: PublicReply(9, (first,))})
    assert await replies.orphans(5) == [Reply(2, 50), Reply(2, 51)]


async def test_a_reply_that_is_found_after_one_of_two_images_was_removed_is_an_orphan(images, replies):
    await images.accept([ref(10, 100), ref(10, 101)])
    await images.forget_images(10, [(Source.ATTACHMENT, 100)])
    await replies.find(ChannelRef(1, 2), {50: PublicReply(10)})
    assert await replies.orphans(5) == [Reply(2, 50)]


@pytest.mark.parametrize("found_first", [True, False])
async def test_finding_a_reply_changes_nothing_of_what_is_remembered(path, images, replies, found_first):
    first, second = (image.id for image in await images.accept([ref(10, 100), ref(10, 101)]))
    await images.forget_author(1, 7)  # leaves no tombstone
    [third] = await images.accept([ref(10, 102, author_id=8)])
    if found_first:
        await replies.find(ChannelRef(1, 2), {50: PublicReply(10)})
        assert await replies.orphans(5) == []
    await replies.remember(ChannelRef(1, 2), 50, [first, second, third.id])
    await replies.find(ChannelRef(1, 2), {50: PublicReply(10)})
    assert rows(path) == [(50, None), (50, None), (50, third.id)]


async def test_a_reply_keeps_what_its_earlier_pages_showed_and_stays_the_orphan_that_it_is(path, images, replies):
    first, second = await two_images(images)
    await replies.remember(ChannelRef(1, 3), 50, [first])
    for shown in ([second], [first, second], [second]):
        await replies.remember(ChannelRef(1, 3), 50, shown, besides=True)
    assert rows(path) == [(50, first), (50, second)]
    await images.forget_messages([10])
    await replies.remember(ChannelRef(1, 3), 50, [second], besides=True)
    assert await replies.orphans(5) == [Reply(3, 50)]
