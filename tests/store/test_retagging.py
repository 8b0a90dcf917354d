"""Images are tagged again page by page, whatever is deleted, decided or changed meanwhile."""

from __future__ import annotations

from bot.models import ChannelRef, Tag, TagDecision, TaggingMode, ThreadKind
from bot.store.labels import LabelSet, OwnLabel
from bot.store.retagging import Progress
from tests.store.damage import flip_a_byte
from tests.store.samples import CARD, OTHER, finished, ref

HERE = ChannelRef(1, 2)
NEW = (Tag("lamp", 0.5),)


def only(*names: str):
    return lambda _: LabelSet((), tuple(map(OwnLabel, names)))


async def indexed(images, *messages: int, **changes: object) -> list[int]:
    added = await images.accept([ref(message) for message in messages])
    await images.finish([finished(image.id, **changes) for image in added], CARD)
    return [image.id for image in added]


async def tags_by_id(images, ids) -> dict[int, list[str]]:
    return {id_: [tag.label for tag in image.tags] for id_, image in (await images.get(ids)).items()}


async def test_pages_follow_each_other_to_the_last_image(images, labels, retaggings):
    ids = await indexed(images, *range(10, 15))
    await labels.change(1, None, only("lamp"))
    seen, progress = [], []
    while (page := await retaggings.page(1, CARD.key, 2)) is not None:
        seen += [id_ for id_, _, _ in page.images]
        assert await retaggings.retag(page, {id_: NEW for id_, _, _ in page.images})
        progress.append(await retaggings.progress(1))
    assert seen == ids
    assert progress == [Progress(2, 5), Progress(4, 5), Progress(5, 5), None]
    assert await tags_by_id(images, ids) == dict.fromkeys(ids, ["lamp"])
    assert await retaggings.guild_ids() == []


async def test_an_image_comes_with_its_channel_and_embedding(images, labels, retaggings):
    thread = ChannelRef(1, 3, 2, ThreadKind.PRIVATE)
    [image] = await images.accept([ref(10, place=thread)])
    done = finished(image.id)
    await images.finish([done], CARD)
    await labels.change(1, None, only("lamp"))
    [(id_, channel, embedding)] = (await retaggings.page(1, CARD.key, 9)).images
    assert (id_, channel, list(embedding)) == (image.id, thread, list(done.embedding))


async def test_what_members_decided_stays(images, labels, retaggings, tags):
    [first, second] = await indexed(images, 10, 11)
    await tags.decide(first, [TagDecision("Lamp", kept=False), TagDecision("mine", kept=True)])
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, CARD.key, 9)
    await tags.decide(second, [TagDecision("LAMP", kept=False)])  # after the page was read
    assert await retaggings.retag(page, {first: NEW, second: NEW})
    assert await tags_by_id(images, [first, second]) == {first: ["mine"], second: []}


async def test_a_page_that_was_read_before_another_change_is_not_written(images, labels, retaggings):
    [first] = await indexed(images, 10)
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, CARD.key, 9)
    await labels.change(1, None, only("desk"))
    assert not await retaggings.retag(page, {first: NEW})
    assert await tags_by_id(images, [first]) == {first: ["cat", "sofa"]}
    assert await retaggings.progress(1) == Progress(0, None)


async def test_a_page_is_not_written_twice(images, labels, retaggings):
    [first] = await indexed(images, 10)
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, CARD.key, 9)
    assert await retaggings.retag(page, {first: NEW})
    assert not await retaggings.retag(page, {first: NEW})


async def test_a_deleted_image_does_not_come_back(images, labels, retaggings):
    [first, second] = await indexed(images, 10, 11)
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, CARD.key, 9)
    await images.forget_messages([10])
    assert await retaggings.retag(page, {first: NEW, second: NEW})
    assert await tags_by_id(images, [first, second]) == {second: ["lamp"]}


async def test_images_that_are_left_out_keep_their_tags(images, labels, retaggings):
    [first, second] = await indexed(images, 10, 11)
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, CARD.key, 9)
    await retaggings.retag(page, {second: ()})
    assert await tags_by_id(images, [first, second]) == {first: ["cat", "sofa"], second: []}


async def test_a_damaged_embedding_is_left_out_and_stops_nothing(images, labels, retaggings, path):
    [first, second] = await indexed(images, 10, 11)
    flip_a_byte(path, first)
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, CARD.key, 1)
    assert page.images == ()
    assert await retaggings.retag(page, {})
    assert [id_ for id_, _, _ in (await retaggings.page(1, CARD.key, 1)).images] == [second]


async def test_an_image_that_was_tagged_while_the_labels_changed_is_tagged_again(images, labels, retaggings):
    """Also where everything before it is done already, and the others' progress is not lost."""
    [early, late] = await images.accept([ref(10), ref(11)])
    await labels.change(1, None, only("lamp"))
    while (page := await retaggings.page(1, CARD.key, 9)) is not None:
        await retaggings.retag(page, {})
    await images.finish([finished(early.id, labels_version=1)], CARD)
    assert await retaggings.guild_ids() == []
    await images.finish([finished(late.id, labels_version=0)], CARD)
    page = await retaggings.page(1, CARD.key, 9)
    assert [id_ for id_, _, _ in page.images] == [late.id]
    assert page.total == 1


async def test_an_image_of_another_model_is_not_tagged_by_this_one(images, labels, retaggings):
    await indexed(images, 10)
    await labels.change(1, None, only("lamp"))
    page = await retaggings.page(1, OTHER.key, 9)
    assert page.images == ()
    assert await retaggings.retag(page, {})
    assert await retaggings.progress(1) is None


async def test_a_channel_whose_tagging_is_switched_on_has_its_images_tagged(channels, retaggings):
    await channels.set_tagging_mode(HERE, TaggingMode.REPLY)
    await channels.set_tagging_mode(HERE, TaggingMode.OFF)
    assert await retaggings.guild_ids() == []
    thread = ChannelRef(1, 3, 2, ThreadKind.PUBLIC)
    await channels.set_tagging_mode(thread, TaggingMode.SILENT)
    assert await retaggings.guild_ids() == [1]


async def test_channels_with_a_mode_of_their_own_are_listed(channels):
    thread = ChannelRef(1, 3, 2, ThreadKind.PRIVATE)
    await channels.set_tagging_mode(HERE, TaggingMode.REPLY)
    await channels.set_tagging_mode(thread, TaggingMode.OFF)
    await channels.mark_seen(ChannelRef(1, 4), 10)
    await channels.set_tagging_mode(ChannelRef(9, 90), TaggingMode.OFF)
    assert await channels.tagging_modes(1) == {HERE: TaggingMode.REPLY, thread: TaggingMode.OFF}
