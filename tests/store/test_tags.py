"""Tags are counted, and images found by them, where the images are searchable."""

from __future__ import annotations

from bot.models import ChannelRef, Tag, ThreadKind
from bot.store.backup import mark_unverified
from bot.store.tags import CountedTag
from tests.store.samples import CARD, OTHER, finished, ref

HERE, THREAD = ChannelRef(1, 2), ChannelRef(1, 3, 2, ThreadKind.PUBLIC)


async def tagged(images, message: int, *labels: str, place: ChannelRef = HERE) -> int:
    [image] = await images.accept([ref(message, place=place)])
    marks = tuple(Tag(label, 0.9 - at / 10) for at, label in enumerate(labels))
    await images.finish([finished(image.id, tags=marks)], CARD)
    return image.id


async def test_tags_are_counted_in_the_channels_that_are_asked_for(images, tags):
    await tagged(images, 10, "cat", "sofa")
    await tagged(images, 11, "cat")
    await tagged(images, 12, "dog", place=THREAD)
    await tagged(images, 13, "secret", place=ChannelRef(1, 4))
    assert await tags.tags_in(1, [2]) == [CountedTag("cat", 2), CountedTag("sofa", 1)]
    assert await tags.tags_in(1, [2, 3]) == [CountedTag("cat", 2), CountedTag("dog", 1), CountedTag("sofa", 1)]
    assert await tags.tags_in(1, []) == []


async def test_another_guilds_channel_is_never_counted_or_found(images, tags):
    elsewhere = ChannelRef(9, 90)
    await tagged(images, 10, "cat", place=elsewhere)
    assert await tags.tags_in(1, [90]) == []
    assert await tags.tagged(1, [90], "cat") == set()
    assert await tags.tags_in(9, [90]) == [CountedTag("cat", 1)]


async def test_a_prefix_is_compared_as_people_read_it(images, tags):
    await tagged(images, 10, "Café", "cat", "猫咪", "100%")
    assert {tag.label for tag in await tags.tags_in(1, [2], "CA")} == {"Café", "cat"}
    assert await tags.tags_in(1, [2], "cafe\u0301") == [CountedTag("Café", 1)]
    assert await tags.tags_in(1, [2], "猫") == [CountedTag("猫咪", 1)]
    assert await tags.tags_in(1, [2], "%") == []
    assert await tags.tags_in(1, [2], "at") == []


async def test_spellings_of_one_label_count_as_the_most_frequent_one(images, tags):
    first = await tagged(images, 10, "Cat")
    others = [await tagged(images, message, "cat") for message in (11, 12)]
    assert await tags.tags_in(1, [2]) == [CountedTag("cat", 3)]
    assert await tags.tagged(1, [2], " CAT") == {first, *others}


async def test_images_that_are_not_searchable_are_neither_counted_nor_found(images, tags, database):
    """Encoded again by another model, given up, or restored from a backup and not verified."""
    kept = await tagged(images, 10, "cat")
    await images.requeue_for_model(OTHER.key)
    assert await tags.tags_in(1, [2]) == []
    assert await tags.tagged(1, [2], "cat") == set()
    await images.park(kept, "broken")
    assert await tags.tags_in(1, [2]) == []

    restored = await tagged(images, 11, "dog")
    await database.write(mark_unverified)
    new = await tagged(images, 12, "dog", "sofa")
    assert await tags.tags_in(1, [2]) == [CountedTag("dog", 1), CountedTag("sofa", 1)]
    assert await tags.tagged(1, [2], "dog") == {new}
    await images.verify([restored], CARD.key)
    assert await tags.tagged(1, [2], "dog") == {restored, new}


async def test_a_deleted_images_tags_are_gone_at_once(images, tags):
    await tagged(images, 10, "cat")
    await images.forget_messages([10])
    assert await tags.tags_in(1, [2]) == []
    assert await tags.tagged(1, [2], "cat") == set()


async def test_a_tag_is_read_as_it_was_written(images):
    [image] = await images.accept([ref(10)])
    marks = (Tag("猫", 0.75, language="zh"), Tag("cat", 0.5))
    await images.finish([finished(image.id, tags=marks)], CARD)
    [found] = await images.by_message(10)
    assert found.tags == marks
