"""What the bot itself said about a picture is known for as long as the picture, and an orphan once that is gone."""

from __future__ import annotations

import sqlite3

import pytest

from bot.records import Place
from bot.store.replies import Reply
from tests.store.samples import ref

FORGET = {
    "messages": lambda pictures: pictures.forget_messages([10]),
    "attachments": lambda pictures: pictures.forget_attachments(10, [100]),
    "channel": lambda pictures: pictures.forget_channel(2),
    "author": lambda pictures: pictures.forget_author(1, 7),
}


async def two_pictures(pictures) -> list[int]:
    """One by member 7 in channel 2, one by member 8 in channel 3."""
    added = await pictures.accept([ref(10), ref(11, 101, place=Place(1, 3), author_id=8)])
    return [picture.id for picture in added]


def rows(path) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT message_id, picture_id FROM replies ORDER BY 1, position").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
async def test_a_reply_is_an_orphan_as_soon_as_one_of_its_pictures_is_forgotten(pictures, replies, forget):
    first, second = await two_pictures(pictures)
    await replies.remember(Place(1, 3), 50, [first, second])
    await replies.remember(Place(1, 3), 51, [second])
    assert await replies.orphans(5) == []
    await forget(pictures)
    assert await replies.orphans(5) == [Reply(3, 50)]


async def test_a_reply_about_a_picture_forgotten_before_it_was_sent_is_an_orphan_at_once(pictures, replies):
    first, second = await two_pictures(pictures)
    await pictures.forget_messages([10])
    await replies.remember(Place(1, 3), 50, [first, second])
    assert await replies.orphans(5) == [Reply(3, 50)]


async def test_an_orphan_stays_one_until_it_is_dropped(path, pictures, replies):
    first, second = await two_pictures(pictures)
    await replies.remember(Place(1, 3), 50, [first])
    await replies.remember(Place(1, 3), 51, [second])
    await pictures.forget_messages([10])
    assert await replies.orphans(5) == await replies.orphans(5) == [Reply(3, 50)]
    await replies.drop(50)
    await replies.drop(50)
    assert await replies.orphans(5) == []
    assert rows(path) == [(51, second)]


async def test_orphans_come_once_each_and_page_by_page(pictures, replies):
    first, second = await two_pictures(pictures)
    for message_id in (54, 52, 53):
        await replies.remember(Place(1, 3), message_id, [first, second])
    await pictures.forget_messages([10, 11])
    assert [reply.message_id for reply in await replies.orphans(2)] == [52, 53]
    assert [reply.message_id for reply in await replies.orphans(2, after=53)] == [54]


async def test_a_reply_that_is_deleted_in_discord_is_known_no_more(path, pictures, replies):
    first, _ = await two_pictures(pictures)
    await replies.remember(Place(1, 3), 50, [first])
    assert await pictures.forget_messages([50]) == []
    assert rows(path) == []


@pytest.mark.parametrize(
    "forget", [lambda pictures: pictures.forget_channel(3), lambda pictures: pictures.forget_guild(1)]
)
async def test_a_reply_goes_with_its_channel_and_its_server_and_does_not_come_back(path, pictures, replies, forget):
    first, _ = await two_pictures(pictures)
    await replies.remember(Place(1, 3), 50, [first])
    await forget(pictures)
    await replies.remember(Place(1, 3), 51, [first])
    assert rows(path) == []


async def test_a_reply_that_describes_nothing_is_not_kept(path, pictures, replies):
    await two_pictures(pictures)
    await replies.remember(Place(1, 3), 50, [])
    assert rows(path) == []
