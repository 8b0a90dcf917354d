from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from bot.models import ChannelRef, ImageState
from bot.store import image_texts
from bot.store.backup import mark_unverified
from tests.store.samples import CARD, NOON, OTHER, finished, ref

HERE = [2]


async def ready(images, *refs, **changes) -> list[int]:
    accepted = await images.accept(refs)
    await images.finish([finished(image.id, **changes) for image in accepted], CARD)
    return [image.id for image in accepted]


async def read(images, texts, message: int, text: str, **changes) -> int:
    [id_] = await ready(images, ref(message, **changes))
    await texts.save(id_, text)
    return id_


async def queued(texts, guild_id: int = 1) -> list[int]:
    """All that is to be read, in its order; nothing is left."""
    found = []
    while (unread := await texts.next_unread(guild_id, NOON)) is not None:
        found.append(unread.image.id)
        await texts.save(unread.image.id, "")
    return found


async def test_nothing_is_read_unless_a_guild_wants_it(images, texts):
    [before] = await ready(images, ref(10))
    assert not await texts.is_reading(1)
    assert await texts.guilds_to_read(NOON) == []
    await texts.save(before, "opening hours")
    assert await texts.find(HERE, "hours", 5) == []


async def test_later_images_are_queued_as_they_are_indexed_and_earlier_ones_follow_newest_first(
    images, texts, monkeypatch
):
    monkeypatch.setattr(image_texts, "WINDOW", 2)
    earlier = await ready(images, *(ref(message) for message in range(10, 15)))
    [pending] = await images.accept([ref(20)])
    await texts.set_reading(1, True)
    assert await texts.is_reading(1)
    [later] = await ready(images, ref(30))
    assert await queued(texts) == [later]
    order = []
    while await texts.guilds_to_read(NOON):
        await texts.queue_earlier(1)
        order += await queued(texts)
    assert order == sorted(earlier, reverse=True)
    await images.finish([finished(pending.id)], CARD)
    assert await queued(texts) == [pending.id]
    await texts.queue_earlier(1)
    assert await texts.guilds_to_read(NOON) == []


async def test_each_guild_has_its_own_choice_and_queue(images, texts):
    await texts.set_reading(1, True)
    [mine] = await ready(images, ref(10))
    await ready(images, ref(11, place=ChannelRef(5, 6)))
    await texts.queue_earlier(1)
    assert await queued(texts, 5) == []
    assert await queued(texts) == [mine]
    assert [await texts.count(guild) for guild in (1, 5)] == [1, 0]


async def test_an_image_that_is_encoded_again_is_not_read_again(images, texts):
    await texts.set_reading(1, True)
    [image_id] = await ready(images, ref(10))
    await texts.save(image_id, "opening hours")
    await images.requeue_for_model(OTHER.key)
    await images.finish([finished(image_id, dimension=24)], OTHER)
    assert await queued(texts) == []
    assert await texts.find(HERE, "hours", 5) == [image_id]


async def test_a_postponed_image_waits_for_its_time(images, texts):
    await texts.set_reading(1, True)
    [image_id] = await ready(images, ref(10))
    await texts.queue_earlier(1)
    await texts.postpone(image_id, NOON + timedelta(minutes=1))
    assert await texts.next_unread(1, NOON) is None
    assert await texts.guilds_to_read(NOON) == []
    unread = await texts.next_unread(1, NOON + timedelta(minutes=1))
    assert (unread.image.id, unread.attempts) == (image_id, 1)


async def test_another_post_of_a_file_brings_its_text_within_its_guild(images, texts):
    for guild in (1, 5):
        await texts.set_reading(guild, True)
    [first] = await ready(images, ref(10), content_hash="same")
    await texts.save(first, "opening hours")
    await ready(images, ref(11), content_hash="same")
    await ready(images, ref(12, place=ChannelRef(5, 6)), content_hash="same")
    assert (await texts.next_unread(1, NOON)).text == "opening hours"
    assert (await texts.next_unread(5, NOON)).text is None


async def test_words_are_found_in_these_channels_the_least_text_and_the_newest_first(images, texts):
    await texts.set_reading(1, True)
    long = await read(images, texts, 10, "our opening hours are long")
    first, second = [await read(images, texts, message, "opening hours") for message in (11, 12)]
    await read(images, texts, 13, "opening hoursglass")
    await read(images, texts, 14, "opening hours", place=ChannelRef(1, 3))
    assert await texts.find(HERE, "opening hours", 5) == [second, first, long]
    assert await texts.find(HERE, "opening hours", 2) == [second, first]
    assert await texts.find(HERE, "opening hours", 5, np.array([long, first])) == [first, long]
    for nothing in ("o", "", "100%", "opening_hours", "'; drop table"):
        assert await texts.find(HERE, nothing, 5) == []


@pytest.mark.parametrize("words", ["营", "营业", "营业时间", "业时间9:00"])
async def test_chinese_is_found_by_any_part_of_it(images, texts, words):
    await texts.set_reading(1, True)
    found = await read(images, texts, 10, "今日营业时间9:00")
    assert await texts.find(HERE, words, 5) == [found]


async def test_what_is_not_searchable_at_present_is_not_found(database, images, texts):
    await texts.set_reading(1, True)
    found = await read(images, texts, 10, "opening hours")
    await database.write(mark_unverified)
    assert await texts.find(HERE, "hours", 5) == []
    await images.verify([found], CARD.key)
    assert await texts.find(HERE, "hours", 5) == [found]
    await images.requeue_for_model(OTHER.key)
    [image] = (await images.get([found])).values()
    assert image.state is ImageState.PENDING
    assert await texts.find(HERE, "hours", 5) == []


FORGET = {
    "message": lambda images, texts: images.forget_messages([10]),
    "channel": lambda images, texts: images.forget_channel(2),
    "guild": lambda images, texts: images.forget_guild(1),
    "author": lambda images, texts: images.forget_author(1, 7),
    "opt_out": lambda images, texts: images.opt_out(7),
    "off": lambda images, texts: texts.set_reading(1, False),
}


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
async def test_the_words_go_with_their_image_and_with_the_guilds_choice_and_are_in_no_file(
    images, texts, database, forget
):
    await texts.set_reading(1, True)
    secret = "words-seen-nowhere-else"
    found = await read(images, texts, 10, secret)
    await ready(images, ref(11))
    assert await texts.of_images([found]) == {found: secret}
    assert any(secret.encode() in file.read_bytes() for file in database.path.parent.glob("magpie.db*"))
    await forget(images, texts)
    assert await texts.find(HERE, secret, 5) == []
    assert await texts.of_images([found]) == {}
    assert not any(secret.encode() in file.read_bytes() for file in database.path.parent.glob("magpie.db*"))
    await texts.save(found, secret)
    assert await texts.of_images([found]) == {}


async def test_switched_on_again_everything_is_read_again(images, texts):
    await texts.set_reading(1, True)
    found = await read(images, texts, 10, "opening hours")
    await texts.set_reading(1, False)
    assert await texts.guilds_to_read(NOON) == []
    await texts.set_reading(1, True)
    await texts.queue_earlier(1)
    assert await queued(texts) == [found]
