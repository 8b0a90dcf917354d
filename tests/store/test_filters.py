"""Which images a filter leaves, in which order, and how often their files were posted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.models import EVERY_IMAGE, ChannelRef, ImageFilter, Sort, Tag
from bot.store.backup import mark_unverified
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.empty_database import empty_database
from tests.store.samples import CARD, OTHER, finished, ref


async def post(images, message: int, *, label: str = "cat", content: str = "", **where) -> int:
    [image] = await images.accept([ref(message, message, **where)])
    changes = {"content_hash": content} if content else {}
    await images.finish([finished(image.id, tags=(Tag(label, 0.9),), **changes)], CARD)
    return image.id


async def test_a_filter_leaves_an_authors_images_of_a_time_with_a_tag(images):
    wanted = await post(images, 20)
    for message, changes in [(10, {}), (30, {}), (21, {"author_id": 8}), (22, {"label": "dog"})]:
        await post(images, message, **changes)
    await post(images, 23, place=ChannelRef(1, 3))
    every = ImageFilter(author_id=7, after=11, before=30, label="CAT")
    assert (await images.matching(1, [2], every)).tolist() == [wanted]
    assert await images.listed(1, [2], every, Sort.NEWEST, 9) == [wanted]


async def test_bounds_include_the_first_message_and_not_the_last(images):
    ids = [await post(images, message) for message in (10, 11, 12)]
    assert (await images.matching(1, [2], ImageFilter(after=11, before=12))).tolist() == ids[1:2]
    assert (await images.matching(1, [2], ImageFilter(after=12))).tolist() == ids[2:]
    assert (await images.matching(1, [2], ImageFilter(before=11))).tolist() == ids[:1]
    assert (await images.matching(1, [2], ImageFilter(after=13))).tolist() == []


async def test_what_is_listed_comes_by_time_and_of_one_message_in_its_order(images):
    old, new = await post(images, 10), await post(images, 30)
    first, second = await images.accept([ref(20, 1), ref(20, 2)])
    await images.finish([finished(first.id), finished(second.id)], CARD)
    assert await images.listed(1, [2], EVERY_IMAGE, Sort.NEWEST, 9) == [new, first.id, second.id, old]
    assert await images.listed(1, [2], EVERY_IMAGE, Sort.OLDEST, 9) == [old, first.id, second.id, new]
    assert await images.listed(1, [2], EVERY_IMAGE, Sort.NEWEST, 2) == [new, first.id]
    assert await images.in_order_of_time([old, new, 999, second.id], Sort.NEWEST) == [new, second.id, old]


async def test_what_is_not_searchable_is_neither_left_nor_listed_nor_counted(images, database):
    reread, given_up = await post(images, 10, content="a"), await post(images, 11, content="a")
    await images.requeue_for_model(OTHER.key)
    await images.park(given_up, "broken")
    restored = await post(images, 12, content="a")
    await database.write(mark_unverified)
    shown = await post(images, 13, content="a")
    for wanted in (EVERY_IMAGE, ImageFilter(author_id=7), ImageFilter(label="cat")):
        assert (await images.matching(1, [2], wanted)).tolist() == [shown]
        assert await images.listed(1, [2], wanted, Sort.NEWEST, 9) == [shown]
    assert [*await images.searchable([reread, given_up, restored, shown])] == [shown]
    assert await images.posts(["a"], [2]) == {"a": 1}


async def test_a_files_posts_are_counted_in_the_channels_that_are_asked_for(images):
    for message, place in [(10, 2), (11, 2), (12, 3), (13, 4)]:
        await post(images, message, content="a", place=ChannelRef(1, place))
    await post(images, 14, content="b")
    assert await images.posts(["a", "b", "c"], [2, 3]) == {"a": 3, "b": 1}
    assert await images.posts(["a"], []) == {}


places, authors, labels = st.sampled_from([2, 3, 4]), st.sampled_from([7, 8]), st.sampled_from(["cat", "dog", "猫"])
posts = st.lists(st.tuples(places, authors, labels), max_size=12)


@settings(deadline=None, max_examples=30)
@given(
    posted=posts,
    channels=st.sets(places),
    author=st.none() | authors,
    label=st.none() | labels,
    after=st.integers(0, 15),
    before=st.integers(0, 15),
)
@pytest.mark.usefixtures("tmp_path_factory")
async def test_a_filter_leaves_exactly_what_meets_every_condition(
    tmp_path_factory, posted, channels, author, label, after, before
):
    path = empty_database(tmp_path_factory.mktemp("filters") / "magpie.db")
    async with await Database.open(path) as database:
        images = ImageStore(database)
        ids = {}
        for at, (place, by, tag) in enumerate(posted):
            ids[at] = await post(images, at + 1, label=tag, place=ChannelRef(1, place), author_id=by)
        expected = [
            ids[at]
            for at, (place, by, tag) in enumerate(posted)
            if place in channels and author in (None, by) and label in (None, tag) and after <= at + 1 < before
        ]
        wanted = ImageFilter(author, after, before, label)
        assert sorted((await images.matching(1, channels, wanted)).tolist()) == expected
        assert await images.listed(1, channels, wanted, Sort.OLDEST, 99) == expected
