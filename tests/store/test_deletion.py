from __future__ import annotations

from datetime import timedelta

import pytest

from bot.models import ChannelRef, Source, TaggingMode, ThreadKind, last_message_by
from bot.store.images import ImageStore
from bot.store.labels import LabelSet, OwnLabel
from bot.store.schema import TOMBSTONE_LIFETIME
from tests.store.samples import CARD, NOON, OTHER, finished, ref

THREAD = ChannelRef(1, 3, parent_id=2, thread=ThreadKind.PUBLIC)
ELSEWHERE = ChannelRef(1, 4)
OTHER_GUILD = ChannelRef(9, 90)


async def ready(images, *refs) -> list[int]:
    ids = [image.id for image in await images.accept(refs)]
    await images.finish([finished(id_) for id_ in ids], CARD)
    return ids


async def found(images, guild=1) -> list[int]:
    return [int(id_) async for page in images.embeddings(guild, CARD.key) for id_ in page.ids]


async def count(database, table) -> int:
    async def work(connection):
        return (await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar()

    return await database.read(work)


async def test_a_deleted_message_loses_every_image_and_never_comes_back(images):
    first, second, other = await ready(images, ref(10, 100), ref(10, 101), ref(11, 102))
    assert await images.forget_messages([10]) == [first, second]
    assert await images.get([first, second, other]) == {other: (await images.get([other]))[other]}
    assert await found(images) == [other]
    assert await images.accept([ref(10, 100), ref(10, 555)]) == []


async def test_a_message_that_was_never_indexed_gets_a_tombstone(images):
    assert await images.forget_messages([10, 11]) == []
    assert [image.ref.message_id for image in await images.accept([ref(10), ref(11), ref(12)])] == [12]


async def test_a_deleted_attachment_leaves_its_message_and_its_forwards(images):
    forward = ref(20, 100, source=Source.FORWARD)
    gone, sibling, forwarded = await ready(images, ref(10, 100), ref(10, 101), forward)
    assert await images.forget_images(10, [(Source.ATTACHMENT, 100)]) == [gone]
    assert await found(images) == [sibling, forwarded]
    assert await images.accept([ref(10, 100)]) == []
    await images.forget_messages([20])
    assert [image.ref for image in await images.accept([ref(30, 100)])] == [ref(30, 100)]


@pytest.mark.parametrize("source", Source)
async def test_only_what_an_edit_can_bring_back_comes_back_after_an_edit_removed_it(images, source):
    [gone] = await ready(images, ref(10, 100, source=source))
    assert await images.forget_images(10, [(source, 100)]) == [gone]
    assert bool(await images.accept([ref(10, 100, source=source)])) == source.returns


async def test_a_deleted_channel_is_deleted_with_its_threads_watermarks_and_modes(images, channels):
    mine, thread, elsewhere = await ready(images, ref(10), ref(11, place=THREAD), ref(12, place=ELSEWHERE))
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
    await channels.mark_seen(THREAD, 11)
    assert set(await images.forget_channel(2)) == {mine, thread}
    assert await found(images) == [elsewhere]
    assert await images.searchable_channels(1) == [ELSEWHERE]
    assert await channels.tagging_mode(ChannelRef(1, 2)) is TaggingMode.SILENT
    assert await channels.last_seen(3) is None
    unseen_thread = ChannelRef(1, 33, parent_id=2, thread=ThreadKind.PRIVATE)
    assert await images.accept([ref(20), ref(21, place=THREAD), ref(22, place=unseen_thread)]) == []


async def test_a_deleted_thread_leaves_its_channel(images):
    mine, thread = await ready(images, ref(10), ref(11, place=THREAD))
    assert await images.forget_channel(3) == [thread]
    assert await found(images) == [mine]
    assert len(await images.accept([ref(12)])) == 1


async def test_a_late_watermark_or_mode_does_not_restore_a_deleted_channel(images, channels):
    await ready(images, ref(10))
    await images.forget_channel(2)
    await channels.mark_seen(ChannelRef(1, 2), 11)
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
    assert await channels.seen_channels(1) == {}
    assert await channels.tagging_mode(ChannelRef(1, 2)) is TaggingMode.SILENT


async def test_no_table_has_a_row_of_a_deleted_guild(images, channels, labels, database):
    gone = await ready(images, ref(10), ref(11, place=THREAD))
    [kept] = await ready(images, ref(12, place=OTHER_GUILD))
    await channels.mark_seen(ChannelRef(1, 2), 11)
    await labels.change(1, None, lambda _: LabelSet((), (OwnLabel("cat"),)))
    await labels.change(1, ChannelRef(1, 2), lambda _: LabelSet((), (OwnLabel("cat"),)))
    await images.forget_author(1, 70)
    assert sorted(await images.forget_guild(1)) == gone
    assert await images.guild_ids() == [9]
    assert await found(images, 9) == [kept]
    for table in ("guilds", "channels", "images", "embeddings"):
        assert await count(database, table) == 1, table
    assert [
        await count(database, table) for table in ("labels", "label_sets", "retaggings", "author_cutoffs", "tags")
    ] == [0, 0, 0, 0, 2]


async def test_a_deleted_guild_accepts_nothing_until_it_is_readmitted(images, channels, labels):
    await ready(images, ref(10))
    await images.forget_guild(1)
    assert await images.accept([ref(11), ref(12, place=THREAD)]) == []
    await channels.mark_seen(ChannelRef(1, 2), 11)
    await images.forget_author(1, 70)
    assert (await labels.change(1, None, lambda _: LabelSet((), (OwnLabel("cat"),)))).server is None
    assert await images.guild_ids() == []
    await images.readmit_guild(1)
    assert len(await images.accept([ref(11)])) == 1


class TestAMemberWhoAsksToBeForgotten:
    BEFORE = last_message_by(NOON - timedelta(hours=1))
    AFTER = last_message_by(NOON + timedelta(hours=1))

    async def test_loses_the_images_of_one_guild(self, images):
        mine, others = await ready(images, ref(self.BEFORE), ref(self.BEFORE, 101, author_id=8))
        [elsewhere] = await ready(images, ref(self.BEFORE, 102, place=OTHER_GUILD))
        assert await images.forget_author(1, 7) == [mine]
        assert await found(images) == [others]
        assert await found(images, 9) == [elsewhere]

    async def test_has_no_earlier_image_accepted_again_known_or_not(self, images):
        await ready(images, ref(self.BEFORE))
        await images.forget_author(1, 7)
        never_seen = ref(self.BEFORE - 1)
        assert await images.accept([ref(self.BEFORE), never_seen]) == []

    async def test_has_later_images_accepted(self, images):
        await ready(images, ref(self.BEFORE))
        await images.forget_author(1, 7)
        assert len(await images.accept([ref(self.AFTER)])) == 1

    async def test_may_give_the_last_message_and_an_earlier_one_does_not_undo_it(self, images):
        await images.forget_author(1, 7, up_to_message=500)
        await images.forget_author(1, 7, up_to_message=400)
        added = await images.accept([ref(450), ref(500), ref(501), ref(450, 101, author_id=8)])
        assert [(image.ref.message_id, image.ref.author_id) for image in added] == [(501, 7), (450, 8)]

    async def test_keeps_the_cutoff_when_tombstones_expire(self, database):
        now = [NOON]
        images = ImageStore(database, clock=lambda: now[0])
        await images.forget_author(1, 7)
        now[0] += TOMBSTONE_LIFETIME * 2
        await images.forget_messages([1])
        assert await images.accept([ref(self.BEFORE)]) == []


async def test_an_image_that_is_deleted_in_progress_is_not_finished_postponed_or_parked(images):
    kept, gone = await images.accept([ref(10), ref(11)])
    await images.forget_messages([11])
    assert await images.finish([finished(kept.id), finished(gone.id)], CARD) == {kept.id}
    assert not await images.postpone(gone.id, NOON, "late")
    assert not await images.park(gone.id, "late")
    assert await found(images) == [kept.id]


async def test_an_image_that_is_encoded_again_can_be_deleted(images):
    [id_] = await ready(images, ref(10))
    await images.requeue_for_model(OTHER.key)
    assert await images.forget_messages([10]) == [id_]
    assert await images.finish([finished(id_, dimension=24)], OTHER) == set()


async def test_the_id_of_a_deleted_image_is_never_used_again(images):
    [last] = await ready(images, ref(10))
    await images.forget_messages([10])
    [next_] = await images.accept([ref(11)])
    assert next_.id > last


async def test_tombstones_expire(database):
    now = [NOON]
    images = ImageStore(database, clock=lambda: now[0])
    await images.forget_messages(range(1, 101))
    assert await count(database, "tombstones") == 100
    now[0] += TOMBSTONE_LIFETIME + timedelta(seconds=1)
    await images.forget_channel(2)
    assert await count(database, "tombstones") == 1


@pytest.mark.parametrize(
    "forget",
    [
        lambda images: images.forget_messages([]),
        lambda images: images.forget_images(10, []),
        lambda images: images.forget_channel(77),
        lambda images: images.forget_guild(77),
        lambda images: images.forget_author(77, 7),
    ],
)
async def test_deleting_what_is_unknown_deletes_nothing(images, forget):
    [id_] = await ready(images, ref(10))
    assert await forget(images) == []
    assert await found(images) == [id_]


async def test_a_link_preview_that_discord_removes_and_adds_again_is_accepted_again(images):
    preview = ref(10, 555, source=Source.PREVIEW)
    gone, attached = await ready(images, preview, ref(10, 100))
    assert await images.forget_images(10, [preview.key, (Source.ATTACHMENT, 100)]) == [attached, gone]
    assert await images.finish([finished(gone)], CARD) == set()
    assert [image.ref for image in await images.accept([preview, ref(10, 100)])] == [preview]


async def test_a_preview_of_a_deleted_message_does_not_come_back(images):
    preview = ref(10, 555, source=Source.PREVIEW)
    await ready(images, preview)
    await images.forget_messages([10])
    assert await images.accept([preview]) == []


async def test_a_deleted_channel_is_deleted_with_its_threads_that_have_no_images(images, channels):
    marked, set_up = THREAD, ChannelRef(1, 5, parent_id=2, thread=ThreadKind.PRIVATE)
    await channels.mark_seen(marked, 11)
    await channels.set_tagging_mode(set_up, TaggingMode.REPLY)
    assert await images.forget_channel(2) == []
    assert await channels.seen_channels(1) == {}
    assert await channels.tagging_mode(set_up) is TaggingMode.SILENT


async def test_a_thread_of_a_deleted_channel_gets_no_watermark(images, channels):
    await images.forget_channel(2)
    await channels.mark_seen(THREAD, 11)
    await channels.set_tagging_mode(THREAD, TaggingMode.REPLY)
    assert await channels.last_seen(3) is None
    assert await channels.tagging_mode(THREAD) is TaggingMode.SILENT
