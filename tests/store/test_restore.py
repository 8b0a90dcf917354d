"""A restored backup brings nothing back that was deleted since; a restore that fails changes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.models import ChannelRef, Image, ImageRef, ImageState, Source, TagDecision, TaggingMode, ThreadKind
from bot.store.backup import back_up, restore
from bot.store.database import Database
from bot.store.guilds import ChannelStore, Reply, ReplyStore
from bot.store.images import ImageStore
from bot.store.migrate import migrate
from bot.store.rules import RuleStore
from bot.store.schema import TOMBSTONE_LIFETIME
from bot.store.tags import TagStore
from tests.store.samples import CARD, finished, ref
from tests.store.test_backup import ROOT, query, run

THREAD = ChannelRef(1, 3, 2, ThreadKind.PUBLIC)
ELSEWHERE = ChannelRef(9, 90)


@asynccontextmanager
async def opened(path: Path):
    async with await Database.open(path) as database:
        yield ImageStore(database)


async def indexed(images: ImageStore, *refs: ImageRef) -> list[Image]:
    added = await images.accept(refs)
    await images.finish([finished(image.id) for image in added], CARD)
    return added


async def found(images: ImageStore, guild_id: int = 1) -> set[int]:
    """The images that a search can find."""
    return {int(id_) async for page in images.embeddings(guild_id, CARD.key) for id_ in page.ids}


@pytest.fixture
async def copy(path: Path, tmp_path: Path) -> Path:
    """A backup of a database with images by two members in two guilds."""
    async with opened(path) as images:
        mine = [ref(10), ref(10, 101), ref(11), ref(12, place=THREAD)]
        await indexed(images, *mine, ref(13, author_id=8), ref(14, author_id=8, place=ELSEWHERE))
    back_up(path, tmp_path / "copy")
    return tmp_path / "copy"


async def test_no_restored_image_is_found_before_it_is_verified(path, copy):
    sentence = await restore(path, copy)
    assert sentence.startswith(
        "Restored 6 images; the bot shows each of them once it has found it in Discord. What was"
    )
    async with opened(path) as images:
        [first, second] = await images.by_message(10)
        assert await found(images) == await found(images, 9) == set()
        assert await images.embedding(first.id, CARD.key) is None
        assert await images.embedding_of_hash(1, first.content_hash, CARD.key) is None
        assert await images.any_unverified([2])
        page = await images.verify([first.id], CARD.key)
        assert [*page.ids] == [first.id]
        assert await found(images) == {first.id}
        assert await images.embedding(first.id, CARD.key) is not None
        assert await images.embedding(second.id, CARD.key) is None
        [later] = await indexed(images, ref(20))
        assert await found(images) == {first.id, later.id}


async def test_an_image_that_is_downloaded_again_is_verified_by_that(path, copy):
    await restore(path, copy)
    async with opened(path) as images:
        await images.requeue_for_model("another")
        [image] = await images.by_message(11)
        assert await images.finish([finished(image.id)], CARD) == {image.id}
        assert await found(images) == {image.id}


async def reinvited(images: ImageStore) -> None:
    await images.forget_guild(1)
    await images.readmit_guild(1)
    await images.forget_guild(1)
    await images.readmit_guild(1)


DELETIONS: dict[str, tuple[Callable[[ImageStore], Awaitable[object]], list[int]]] = {
    "a message": (lambda images: images.forget_messages([10]), [11, 12, 13, 14]),
    "an attachment": (lambda images: images.forget_images(10, [(Source.ATTACHMENT, 100)]), [10, 11, 12, 13, 14]),
    "a thread": (lambda images: images.forget_channel(3), [10, 10, 11, 13, 14]),
    "a channel with its thread": (lambda images: images.forget_channel(2), [14]),
    "a member": (lambda images: images.forget_author(1, 7), [13, 14]),
    "a server": (lambda images: images.forget_guild(1), [14]),
    "a server that invited the bot again": (reinvited, [14]),
}


@pytest.mark.parametrize(("delete", "left"), DELETIONS.values(), ids=DELETIONS)
async def test_what_was_deleted_since_the_backup_stays_deleted(path, copy, delete, left):
    async with opened(path) as images:
        everything = [image.ref for message in range(10, 15) for image in await images.by_message(message)]
        await delete(images)
    await restore(path, copy)
    assert query(path, "PRAGMA foreign_key_check") == []
    async with opened(path) as images:
        kept = [image.ref for message in range(10, 15) for image in await images.by_message(message)]
        assert [one.message_id for one in kept] == left
        if delete is not reinvited:  # after that, new images of the server are accepted
            assert await images.accept([one for one in everything if one not in kept]) == []


async def test_a_server_that_came_back_before_the_backup_is_restored(path, tmp_path):
    async with opened(path) as images:
        await reinvited(images)
        await indexed(images, ref(10))
    back_up(path, tmp_path / "copy")
    await restore(path, tmp_path / "copy")
    async with opened(path) as images:
        assert len(await images.by_message(10)) == 1


async def test_a_later_cutoff_wins_over_an_earlier_one_and_an_earlier_one_changes_nothing(path, tmp_path):
    async with opened(path) as images:
        await images.forget_author(1, 7, up_to_message=5)
        await images.forget_author(1, 8, up_to_message=50)
    back_up(path, tmp_path / "copy")
    async with opened(path) as images:
        await images.forget_author(1, 7, up_to_message=30)
    await restore(path, tmp_path / "copy")
    assert query(path, "SELECT author_id, up_to_message FROM author_cutoffs ORDER BY 1") == [(7, 30), (8, 50)]


async def test_a_public_reply_since_the_backup_is_known_and_one_whose_image_is_not_is_deleted(path, copy):
    async with await Database.open(path) as database:
        images, replies = ImageStore(database), ReplyStore(database)
        [known] = await images.by_message(11)
        [since] = await indexed(images, ref(20, place=ChannelRef(1, 5)))
        await replies.remember(ChannelRef(1, 2), 60, [known.id])
        await replies.remember(ChannelRef(1, 5), 61, [since.id])
    await restore(path, copy)
    async with await Database.open(path) as database:
        images, replies = ImageStore(database), ReplyStore(database)
        assert await replies.orphans(10) == [Reply(5, 61)]
        await images.forget_messages([11])
        assert await replies.orphans(10) == [Reply(2, 60), Reply(5, 61)]


async def test_ids_that_were_given_since_the_backup_are_not_given_again(path, copy):
    async with opened(path) as images:
        [since] = await indexed(images, ref(20))
    await restore(path, copy)
    async with opened(path) as images:
        [image] = await images.accept([ref(21)])
        assert image.id > since.id


async def test_settings_and_watermarks_are_those_of_the_backup(path, tmp_path):
    async with await Database.open(path) as database:
        channels = ChannelStore(database)
        await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
        await channels.mark_seen(ChannelRef(1, 2), 10)
        back_up(path, tmp_path / "copy")
        await channels.mark_seen(ChannelRef(1, 2), 99)
    sentence = await restore(path, tmp_path / "copy")
    assert f"older than {TOMBSTONE_LIFETIME.days} days" in sentence  # message 10 is of 2015
    async with await Database.open(path) as database:
        assert await ChannelStore(database).last_seen(2) == 10
        assert await ChannelStore(database).tagging_mode(ChannelRef(1, 2)) is TaggingMode.REPLY


async def test_the_former_database_and_the_notes_beside_it_are_kept(path, copy):
    journal = path.with_name("magpie.db.deletions")
    journal.write_text("unfinished")
    async with opened(path) as images:
        await indexed(images, ref(20))
    sentence = await restore(path, copy)
    former = path.with_name("magpie.db.before-restore")
    assert f"The former database is now {former}: delete it" in sentence
    assert query(former, "SELECT count(*) FROM images WHERE message_id = 20") == [(1,)]
    assert journal.read_text() == "unfinished"
    assert {file.name for file in path.parent.iterdir()} == {
        "copy", "magpie.db", former.name, journal.name, "magpie.db.lock",
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StartupError, match=r"before-restore is left from an earlier restore: delete it"):
        await restore(path, copy)


@pytest.mark.parametrize("present", [None, b"", b"a shopping list\n" * 999], ids=["none", "empty", "unreadable"])
async def test_without_a_readable_database_it_says_what_is_not_known(path, copy, present):
    path.unlink()
    if present is not None:
        path.write_bytes(present)
    sentence = await restore(path, copy)
    assert "could not be read: ask members who deleted their data or opted out since to do so again." in sentence
    former = path.with_name("magpie.db.before-restore")
    assert (former.read_bytes() if former.exists() else None) == present
    async with opened(path) as images:
        assert len(await images.by_message(10)) == 2


async def test_a_new_machine_needs_no_directory(tmp_path, copy):
    await restore(tmp_path / "new" / "magpie.db", copy)
    assert query(tmp_path / "new" / "magpie.db", "SELECT count(*) FROM unverified") == [(6,)]


async def test_a_backup_of_an_earlier_version_is_migrated(path, copy):
    database = await Database.open(copy)
    await database.close()
    await migrate(database._backend, "0003")
    await restore(path, copy)
    assert query(path, "SELECT count(*) FROM unverified") == [(6,)]


async def test_nothing_is_restored_beside_a_running_bot(path, copy):
    before = path.read_bytes()
    async with await Database.open(path, exclusive=True):
        with pytest.raises(StartupError, match=r"^Another bot is running with the database .*: end it first"):
            await restore(path, copy)
    assert path.read_bytes() == before


async def test_the_database_itself_is_no_backup(path, copy):
    before = path.read_bytes()
    with pytest.raises(StartupError, match=r"is the database itself: name a file"):
        await restore(path, path)
    assert path.read_bytes() == before


def damage(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    copy.write_bytes(content)


def replace_by_text(copy: Path) -> None:
    copy.write_text("a shopping list\n" * 999)


def replace_by_other_program(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY AUTOINCREMENT)")


def make_newer(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


UNFIT = {
    damage: "is damaged, or no backup of Magpie's: restore another one",
    replace_by_text: "is damaged, or no backup of Magpie's: restore another one",
    replace_by_other_program: "is no backup of Magpie's, or of a newer version: restore another one",
    make_newer: "is no backup of Magpie's, or of a newer version: restore another one",
    Path.unlink: "There is no backup",
}


@pytest.mark.parametrize(("spoil", "why"), UNFIT.items(), ids=lambda value: getattr(value, "__name__", ""))
async def test_an_unfit_file_is_refused_and_the_database_stays_as_it_is(path, copy, spoil, why):
    spoil(copy)
    before = path.read_bytes()
    with pytest.raises(StartupError, match=why) as refused:
        await restore(path, copy)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} <= {"copy", "magpie.db", "magpie.db.lock"}


KILLED = """
import asyncio, os, sys
from pathlib import Path
from bot.store.backup import restore

left = int(sys.argv[3])

def kill(event, args):
    global left
    if event in ("os.link", "os.remove", "os.rename") and not str(args[0]).endswith(".lock"):
        left -= 1
        if not left:
            os._exit(9)

sys.addaudithook(kill)
asyncio.run(restore(sys.argv[1], Path(sys.argv[2])))
"""


async def test_a_restore_that_is_killed_at_any_step_leaves_the_former_database_or_the_new_one(path, copy):
    """The former one has a write-ahead log, which must never be applied to the new one."""
    async with opened(path) as images:
        await indexed(images, ref(20))
    log, former = path.with_name("magpie.db-wal"), path.with_name("magpie.db.before-restore")
    contents, ends = path.read_bytes(), set()
    for step in range(1, 40):
        for file in path.parent.glob("magpie.db.*"):
            file.unlink()
        path.write_bytes(contents)
        log.write_bytes(b"no log")
        command = [sys.executable, "-c", KILLED, path, copy, str(step)]
        code = await (await asyncio.create_subprocess_exec(*command, cwd=ROOT)).wait()
        if query(path, "SELECT count(*) FROM images") == [(7,)]:
            ends.add("former")
        else:
            assert query(path, "SELECT count(*) FROM unverified") == [(6,)]
            assert query(former, "SELECT count(*) FROM images") == [(7,)]
            ends.add("new")
        if code == 0:
            break
        assert code == 9
    assert (code, ends) == (0, {"former", "new"})


async def test_the_command_restores_without_a_token_and_says_so(path, copy):
    done = run(path.parent, "restore", "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Restored 6 images; ")
    again = run(path.parent, "restore", "copy")
    assert (again.returncode, again.stdout) == (2, "")
    assert len(again.stderr.splitlines()) == 1


async def test_what_moderators_kept_out_since_the_backup_stays_out(path, copy):
    async with opened(path) as images:
        await images.exclude_images(1, 11, [])
        await images.forget_up_to(1, [2], 10, for_good=True)
        await RuleStore(images._database).exclude_member(1, 8)
        await images.forget_author(1, 8, up_to_message=13)
        await images.forget_up_to(9, [], 14, for_good=True)
    await restore(path, copy)
    async with opened(path) as images:
        kept = [image.ref for message_id in range(10, 15) for image in await images.by_message(message_id)]
        assert kept == [ref(12, place=THREAD)]
        again = [ref(10), ref(11), ref(13, author_id=8), ref(30, author_id=8), ref(14, author_id=8, place=ELSEWHERE)]
        assert await images.accept(again) == []


async def test_decisions_about_tags_since_the_backup_hold_also_of_images_that_it_has_not(path, copy):
    async with opened(path) as images:
        [since] = await indexed(images, ref(20, place=ChannelRef(1, 4)))
        [known] = await images.by_message(11)
        tags = TagStore(images._database)
        for image in (known, since):
            await tags.decide(image.id, [TagDecision("cat", kept=False), TagDecision("lamp", kept=True)])
        [gone] = await indexed(images, ref(21))
        await tags.decide(gone.id, [TagDecision("cat", kept=False)])
        await images.exclude_images(1, 21, [])
    await restore(path, copy)
    async with opened(path) as images:
        [known] = await images.by_message(11)
        assert [tag.label for tag in known.tags] == ["lamp", "sofa"]
        assert await images.by_message(21) == []
        [again] = await images.by_message(20)
        assert (again.state, again.reread, again.ref.channel) == (ImageState.PENDING, True, ChannelRef(1, 4))
        await images.finish([finished(again.id)], CARD)
        [again] = await images.by_message(20)
        assert [tag.label for tag in again.tags] == ["lamp", "sofa"]


async def test_decisions_hold_about_images_that_were_not_indexed_yet_at_the_backup(path, tmp_path):
    async with opened(path) as images:
        [image] = await images.accept([ref(10)])
        back_up(path, tmp_path / "copy")
        await images.finish([finished(image.id)], CARD)
        await TagStore(images._database).decide(image.id, [TagDecision("cat", kept=False)])
    await restore(path, tmp_path / "copy")
    async with opened(path) as images:
        await images.finish([finished(image.id)], CARD)
        [image] = await images.by_message(10)
        assert [tag.label for tag in image.tags] == ["sofa"]


async def test_a_thread_goes_with_what_was_forgotten_of_its_channel_since_the_backup(path, copy):
    async with opened(path) as images:
        await images.forget_up_to(1, [2], 12, for_good=True)
    await restore(path, copy)
    async with opened(path) as images:
        assert await images.by_message(12) == []
        assert await images.accept([ref(12, place=THREAD)]) == []
