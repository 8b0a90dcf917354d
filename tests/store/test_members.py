"""What is kept of one member: shown to them whole, and gone with an opt-out, from every table."""

from __future__ import annotations

import pytest

from bot.models import ChannelRef, Source
from bot.store.backup import back_up, restore
from bot.store.database import Database
from bot.store.guilds import ReplyStore
from bot.store.images import ImageStore
from bot.store.members import Kept, MemberStore
from bot.store.schema import metadata, opt_outs
from tests.store.samples import CARD, finished, ref
from tests.store.test_backup import query

ANN, BOB = 7_007_007, 8_008_008
ELSEWHERE = ChannelRef(9, 90)


@pytest.fixture
def members(database: Database) -> MemberStore:
    return MemberStore(database)


async def indexed(images: ImageStore, *refs) -> list[int]:
    added = await images.accept(refs)
    await images.finish([finished(image.id) for image in added], CARD)
    return [image.id for image in added]


async def test_a_member_sees_how_much_is_kept_here_and_in_all_servers(images, members):
    await indexed(images, ref(10, author_id=ANN), ref(11, author_id=ANN), ref(12, author_id=BOB))
    await indexed(images, ref(20, author_id=ANN, place=ELSEWHERE))
    assert await members.kept(1, ANN) == Kept(here=2, everywhere=3, opted_out=False)
    assert await members.kept(3, ANN) == Kept(here=0, everywhere=3, opted_out=False)
    assert await members.kept(1, BOB) == Kept(here=1, everywhere=1, opted_out=False)


async def test_all_of_a_members_images_and_nobody_elses_are_listed_page_by_page(images, members):
    mine = await indexed(images, *[ref(10 + at, author_id=ANN) for at in range(5)])
    await indexed(images, ref(30, author_id=BOB))
    mine += [image.id for image in await images.accept([ref(40, author_id=ANN, place=ELSEWHERE)])]
    listed, after = [], 0
    while page := await members.images_of(ANN, after=after, limit=2):
        listed += page
        after = page[-1].id
    assert [image.id for image in listed] == mine
    assert [tag.label for tag in listed[0].tags] == ["cat", "sofa"]


async def test_an_opt_out_leaves_nothing_but_the_id_in_any_table(path, images, members, database):
    [first, _] = await indexed(images, ref(501, 601, author_id=ANN), ref(502, 602, author_id=ANN, place=ELSEWHERE))
    await images.accept([ref(503, 603, author_id=ANN)])
    [hers] = await indexed(images, ref(504, 604, author_id=BOB))
    await ReplyStore(database).remember(ChannelRef(1, 2), 900, [first])
    await images.forget_author(1, ANN, up_to_message=400)
    assert sorted(await images.opt_out(ANN)) == [first, first + 1, first + 2]
    traces = {ANN, 501, 502, 503, 601, 602, 603, first, first + 1, first + 2}
    found = {
        (table.name, value)
        for table in metadata.sorted_tables
        for row in query(path, f"SELECT * FROM {table.name}")
        for value in row
        if value in traces
    }
    # A counter may equal an id: the models, guilds and channels of this test are named by small numbers.
    assert {(table, value) for table, value in found if value > 100} == {(opt_outs.name, ANN)}
    assert set(await images.get([first, hers])) == {hers}
    assert await members.kept(1, ANN) == Kept(0, 0, opted_out=True)


async def test_nothing_of_who_opted_out_is_accepted_in_any_server_and_others_are(images):
    await images.opt_out(ANN)
    accepted = await images.accept(
        [ref(10, author_id=ANN), ref(11, author_id=ANN, place=ELSEWHERE), ref(12, author_id=BOB)]
    )
    assert [image.ref.author_id for image in accepted] == [BOB]


async def test_who_opts_in_again_is_indexed_from_then_on_and_not_before(images, members):
    await images.opt_out(ANN)
    await images.opt_in(ANN, until=50)
    accepted = await images.accept([ref(50, author_id=ANN), ref(51, author_id=ANN)])
    assert [image.ref.message_id for image in accepted] == [51]
    assert not (await members.kept(1, ANN)).opted_out
    await images.opt_in(ANN, until=99)  # pressed twice: what was posted since stays wanted
    assert await images.accept([ref(60, author_id=ANN)])


async def test_who_opts_out_again_is_left_out_again(images):
    await images.opt_out(ANN)
    await images.opt_in(ANN, until=50)
    await images.accept([ref(51, author_id=ANN)])
    assert len(await images.opt_out(ANN)) == 1
    assert not await images.accept([ref(52, author_id=ANN, source=Source.FORWARD)])


async def test_a_restored_backup_brings_nothing_back_of_who_opted_out_since(path, tmp_path):
    async with await Database.open(path) as database:
        images = ImageStore(database)
        await indexed(images, ref(10, author_id=ANN), ref(11, author_id=BOB))
        await images.opt_out(BOB)
        back_up(path, tmp_path / "copy")
        await images.opt_in(BOB, until=20)
        await images.opt_out(ANN)
    await restore(path, tmp_path / "copy")
    async with await Database.open(path) as database:
        images = ImageStore(database)
        assert query(path, "SELECT author_id FROM images") == []
        assert not await images.accept([ref(12, author_id=ANN), ref(20, author_id=BOB)])
        assert await images.accept([ref(21, author_id=BOB)])
