"""A deletion that the store cannot do now is kept until it is done, and until then nobody is shown what it covers."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.errors import StartupError, StoreBusy, StoreError, StoreUnusable
from bot.indexing.deletions import (
    JOURNAL_BYTES,
    DeletionJournal,
    ForgetAuthor,
    ForgetChannel,
    ForgetMessages,
    Obligation,
    OptOut,
)
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import RetryPolicy, until_stored
from bot.models import Image, ImageRef, ImageState, RemoteImage, Source
from bot.search.question import Question
from bot.search.service import SearchService
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.empty_database import empty_database
from tests.indexing.pipeline import QUICK, Pipeline
from tests.indexing.support import GUILD, Readers, channel_ref, direction, image_ref, like, until
from tests.metric_values import values
from tests.store.test_locked import held
from tests.training.full_disk import disk_full_at

WANTED = direction(b"wanted".hex())

Forget = Callable[[ImageRegistry, ImageRef], Awaitable[Any]]
FORGET: dict[str, Forget] = {
    "message": lambda registry, ref: registry.forget_messages([ref.message_id]),
    "attachment": lambda registry, ref: registry.forget_images(ref.message_id, [ref.key]),
    "edit": lambda registry, ref: registry.forget_all_but(ref.message_id, [(Source.ATTACHMENT, 1)]),
    "channel": lambda registry, ref: registry.forget_channel(ref.channel.channel_id),
    "author": lambda registry, ref: registry.forget_author(GUILD, ref.author_id, ref.message_id),
    "opt-out": lambda registry, ref: registry.opt_out(ref.author_id),
    "channel up to": lambda registry, ref: registry.forget_up_to(
        GUILD, [ref.channel.channel_id], ref.message_id, for_good=True
    ),
    "server up to": lambda registry, ref: registry.forget_up_to(GUILD, [], ref.message_id, for_good=True),
    "excluded": lambda registry, ref: registry.exclude_images(GUILD, ref.message_id),
    "excluded image": lambda registry, ref: registry.exclude_images(GUILD, ref.message_id, [ref.key]),
    "guild": lambda registry, _: registry.forget_guild(GUILD),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return empty_database(tmp_path / "magpie.sqlite3")


@asynccontextmanager
async def bot_on(path: Path, **changes: Any) -> AsyncIterator[Pipeline]:
    """As at a start of the bot. It waits only for a moment for a lock or a deletion."""
    async with await Database.open(path, busy_timeout=0.2) as database:
        pipeline = Pipeline(database, patience_s=0.05, **changes)
        await pipeline.registry.start()
        await pipeline.indexer.start()
        try:
            yield pipeline
        finally:
            await pipeline.close()


@pytest.fixture
async def pipeline(path: Path) -> AsyncIterator[Pipeline]:
    async with bot_on(path) as pipeline:
        yield pipeline


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[sqlite3.Connection]:
    """Another process has the database. It waits for its turn while the bot goes on."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        await lock(other)
        yield other


async def lock(other: sqlite3.Connection) -> None:
    def got_it() -> bool:
        with suppress(sqlite3.OperationalError):
            other.execute("BEGIN IMMEDIATE")
        return other.in_transaction

    await until(got_it)


async def two_images(pipeline: Pipeline) -> tuple[Image, Image]:
    """One to be forgotten, and one by somebody else in another guild that stays."""
    mine = pipeline.cdn.put(image_ref(1), b"wanted")
    theirs = pipeline.cdn.put(image_ref(2, channel_ref(5, GUILD + 1000), author=8), b"other")
    [first], [second] = await pipeline.remember(mine), await pipeline.remember(theirs)
    return first, second


async def shown(pipeline: Pipeline, image: Image) -> list[bool]:
    """Whether it is shown, in each of the ways in which it could be."""
    readers = Readers(image.ref)
    found = await pipeline.search.ask(readers, like(WANTED))
    said = await pipeline.search.ask(readers, Question("wanted"))
    return [
        image.id in [match.image.id for match in found.matches],
        image.id in [match.image.id for match in said.matches],
        await pipeline.search.visible_image(readers, image.id) is not None,
        await pipeline.search.embedding_of(image) is not None,
    ]


async def test_what_is_forgotten_while_it_is_looked_up_is_not_shown(path: Path, pipeline: Pipeline) -> None:
    mine, _ = await two_images(pipeline)

    async def look_up(ref: ImageRef) -> list[RemoteImage]:
        await pipeline.registry.forget_author(GUILD, ref.author_id, ref.message_id)
        return await pipeline.look_up(ref)

    parts = pipeline.engine, pipeline.store, pipeline.index, pipeline.registry, look_up
    asked = SearchService(*parts, texts=pipeline.texts, page_size=10)
    async with locked(path):
        assert (await asked.ask(Readers(mine.ref), like(WANTED))).matches == ()


async def gone(pipeline: Pipeline, *images: Image) -> None:
    async def none_left() -> bool:
        return not pipeline.registry.owed and not await pipeline.store.get([image.id for image in images])

    await until(none_left)


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
async def test_what_a_locked_store_cannot_delete_is_hidden_at_once_and_deleted_once_it_can(
    path: Path, pipeline: Pipeline, forget: Forget
) -> None:
    pipeline.engine.query_embeddings["wanted"] = WANTED
    mine, theirs = await two_images(pipeline)
    assert await shown(pipeline, mine) == [True] * 4
    async with locked(path):
        assert await forget(pipeline.registry, mine.ref) is None
        assert await shown(pipeline, mine) == [False] * 4
        assert await pipeline.indexer.accept([mine.ref]) == [], "not even tried, so the lock raises nothing"
        assert await pipeline.store.get([mine.id]), "it waits indeed"
        assert values()["magpie_deletions_owed"] == 0, "that gauge is the running bot's"
        assert pipeline.registry.owed == 1
        with pytest.raises(StoreBusy):
            await pipeline.indexer.accept([image_ref(9, theirs.ref.channel, author=8)])
    await gone(pipeline, mine)
    assert pipeline.forgotten == 1
    assert await shown(pipeline, mine) == [False] * 4
    assert await pipeline.indexer.accept([mine.ref]) == []
    assert list(await pipeline.store.get([theirs.id]))
    await until(lambda: not journal_of(path).strip())


def journal_of(path: Path) -> bytes:
    return path.with_name(path.name + ".deletions").read_bytes()


@pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)
async def test_it_is_still_hidden_after_a_killed_process_started_again_and_then_deleted(
    path: Path, forget: Forget
) -> None:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        async with bot_on(path) as killed:
            mine, theirs = await two_images(killed)
            await lock(other)
            assert await forget(killed.registry, mine.ref) is None
            journal = journal_of(path)
        path.with_name(path.name + ".deletions").write_bytes(journal)  # as it was before the orderly end
        other.execute("ROLLBACK")
        async with await Database.open(path, busy_timeout=0.2) as database:
            await lock(other)  # again, before anything is done
            pipeline = Pipeline(database, patience_s=0.05)
            await pipeline.registry.start()
            assert await shown(pipeline, mine) == [False] * 4
            assert await pipeline.store.get([mine.id])
            other.execute("ROLLBACK")
            await gone(pipeline, mine)
            assert list(await pipeline.store.get([theirs.id]))
            await pipeline.close()
    assert not journal_of(path).strip()


async def test_a_deletion_that_has_just_begun_when_the_bot_stops_is_done_at_the_next_start(path: Path) -> None:
    async with bot_on(path) as pipeline:
        mine, _ = await two_images(pipeline)
        async with locked(path):
            forgetting = asyncio.create_task(pipeline.registry.forget_messages([mine.ref.message_id]))
            await asyncio.sleep(0)
            forgetting.cancel()  # as where an event's handler is given up
            await pipeline.close()
    async with bot_on(path) as pipeline:
        await gone(pipeline, mine)


async def test_deletions_that_wait_when_the_bot_stops_are_done_at_the_next_start(path: Path) -> None:
    async with bot_on(path) as pipeline:
        mine, _ = await two_images(pipeline)
        async with locked(path):
            await pipeline.registry.forget_messages([mine.ref.message_id])
            await pipeline.close()
    async with bot_on(path) as pipeline:
        await gone(pipeline, mine)


NEVER = RetryPolicy(first_pause_s=3600)


async def test_an_image_that_is_being_indexed_is_not_committed_while_its_deletion_waits(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bot_on(path, backoff=NEVER) as pipeline:
        ref = image_ref(1)
        download = pipeline.cdn.hold(ref)
        [image] = await pipeline.indexer.accept([ref])
        await until(lambda: pipeline.cdn.downloading == 1)
        async with locked(path):
            await pipeline.registry.forget_messages([ref.message_id])
            await until(lambda: any("deletions wait" in record.message for record in caplog.records))
        download.set()  # the store works again, but the deletion is not tried again yet
        await until(lambda: not pipeline.indexer.in_progress)
        assert (await pipeline.store.get([image.id]))[image.id].state is ImageState.PENDING
        assert pipeline.announced == []
    async with bot_on(path) as pipeline:
        await gone(pipeline, image)


async def test_what_is_hidden_takes_nobodys_place_in_an_answer(path: Path) -> None:
    async with bot_on(path, backoff=NEVER) as pipeline:
        refs = [image_ref(number, author=1) for number in range(1, 31)]
        for ref in [*refs, stays := image_ref(31, author=2)]:
            await pipeline.remember(pipeline.cdn.put(ref, b"wanted"))
        few = pipeline.searching(page_size=1)
        async with locked(path):
            await pipeline.registry.forget_author(GUILD, 1, refs[-1].message_id)
            result = await few.ask(Readers(stays), like(WANTED))
            assert [match.image.ref for match in result.matches] == [stays]


async def test_forgetting_a_member_spares_what_they_post_while_it_waits(path: Path, pipeline: Pipeline) -> None:
    before, after = image_ref(1, author=1), image_ref(3, author=1)
    [old], [new] = await pipeline.remember(before), await pipeline.remember(after)
    async with locked(path):
        await pipeline.registry.forget_author(GUILD, 1, before.message_id + 1)
        assert pipeline.registry.hides(before)
        assert not pipeline.registry.hides(after)
    await gone(pipeline, old)
    assert list(await pipeline.store.get([new.id]))


async def test_a_guild_that_invites_the_bot_again_keeps_what_is_posted_from_then_on(
    path: Path, pipeline: Pipeline
) -> None:
    mine, _ = await two_images(pipeline)
    async with locked(path):
        await pipeline.registry.forget_guild(GUILD)
        readmission = asyncio.create_task(pipeline.registry.readmit_guild(GUILD))
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy):  # so that catch-up reads it later, and does not take it for deleted
            await pipeline.indexer.accept([image_ref(3)])
        assert not readmission.done()
    await readmission
    assert await pipeline.store.get([mine.id]) == {}
    assert len(await pipeline.remember(image_ref(3))) == 1


class Damaged(ImageStore):
    """The real store, in which one guild's pages are damaged."""

    attempts = 0
    mended = False

    async def forget_guild(self, guild_id: int) -> list[int]:
        self.attempts += 1
        if not self.mended:
            raise StoreUnusable("damaged")
        return await super().forget_guild(guild_id)


async def test_a_guild_is_not_readmitted_before_it_was_forgotten(path: Path) -> None:
    async with await Database.open(path) as database:
        store = Damaged(database)
        pipeline = Pipeline(database, store=store, patience_s=0.05)
        await pipeline.indexer.start()
        mine, _ = await two_images(pipeline)
        await pipeline.registry.forget_guild(GUILD)
        readmission = asyncio.create_task(pipeline.registry.readmit_guild(GUILD))
        await until(lambda: store.attempts > 4)
        assert not readmission.done()
        store.mended = True
        await readmission
        assert await pipeline.store.get([mine.id]) == {}
        assert len(await pipeline.remember(image_ref(3))) == 1
        await pipeline.close()


class StuckJournal(DeletionJournal):
    stuck = False
    refused = 0

    async def hold(self, obligations: Collection[Obligation]) -> None:
        if self.stuck:
            self.refused += 1
            raise OSError("stuck")
        await super().hold(obligations)


async def test_a_guild_is_not_readmitted_while_the_journal_would_forget_it_after_a_restart(
    path: Path, pipeline: Pipeline
) -> None:
    journal = StuckJournal(path)
    registry = ImageRegistry(
        pipeline.store, pipeline.index, pipeline.tagger, pipeline.engine.card, journal, patience_s=0.05, backoff=QUICK
    )
    await two_images(pipeline)
    async with locked(path):
        await registry.forget_guild(GUILD)
        journal.stuck = True
    await until(lambda: not registry.owed)
    readmission = asyncio.create_task(registry.readmit_guild(GUILD))
    refused = journal.refused
    await until(lambda: journal.refused > refused + 2)
    assert not readmission.done()
    journal.stuck = False
    await readmission
    await until(lambda: not journal_of(path).strip())
    await registry.close()


async def test_the_journal_is_blank_once_nothing_is_owed_whatever_a_failed_write_left_in_it(path: Path) -> None:
    journal = DeletionJournal(path)
    await journal.read()
    await journal.hold([ForgetMessages((1,))])
    with path.with_name(path.name + ".deletions").open("r+b") as file:
        file.seek(1000)
        file.write(b'{"guild_id":1,"kind":"guild"}\n')
    await journal.hold([])
    assert journal_of(path) == b"\n" * JOURNAL_BYTES


async def test_a_guild_that_the_bot_left_again_stays_forgotten(path: Path, pipeline: Pipeline) -> None:
    mine, _ = await two_images(pipeline)
    async with locked(path):
        await pipeline.registry.forget_guild(GUILD)
        readmission = asyncio.create_task(pipeline.registry.readmit_guild(GUILD))
        await asyncio.sleep(0)
        await pipeline.registry.forget_guild(GUILD)
    await gone(pipeline, mine)
    await readmission
    assert await pipeline.indexer.accept([image_ref(3)]) == []


async def test_only_the_last_of_two_edits_counts(path: Path, pipeline: Pipeline) -> None:
    """Discord removes previews and adds them again."""
    file, preview = image_ref(1), ImageRef(channel_ref(), image_ref(1).message_id, 77, Source.PREVIEW, 7)
    await pipeline.remember(file, preview)
    async with locked(path):
        await pipeline.registry.forget_all_but(file.message_id, [file.key])
        assert pipeline.registry.hides(preview)
        await pipeline.registry.forget_all_but(file.message_id, [file.key, preview.key])
        assert not pipeline.registry.hides(preview)
    await pipeline.indexer.accept([file, preview])  # as after each edit: the first may have been under way already
    await until(lambda: not pipeline.registry.owed)
    assert {image.ref for image in await pipeline.store.by_message(file.message_id)} == {file, preview}


@pytest.mark.parametrize("removed", ["by an edit", "as an image that is gone"])
async def test_a_preview_that_is_back_before_its_deletion_is_done_is_accepted_later(
    path: Path, pipeline: Pipeline, removed: str
) -> None:
    """The edit that brought it back was missed, and a comparison finds it."""
    file, preview = image_ref(1), ImageRef(channel_ref(), image_ref(1).message_id, 77, Source.PREVIEW, 7)
    await pipeline.remember(file, preview)
    async with locked(path):
        if removed == "by an edit":
            await pipeline.registry.forget_all_but(file.message_id, [file.key])
        else:
            await pipeline.registry.forget_images(file.message_id, [preview.key])
        with pytest.raises(StoreBusy):  # so that catch-up reads it later
            await pipeline.indexer.accept([file, preview])
    await until(lambda: not pipeline.registry.owed)
    assert await pipeline.store.by_message(file.message_id)
    assert [image.ref for image in await pipeline.indexer.accept([file, preview])] == [preview]


async def test_a_deletion_of_a_preview_that_is_done_again_after_a_kill_does_not_bar_it(
    path: Path, pipeline: Pipeline
) -> None:
    preview = ImageRef(channel_ref(), image_ref(1).message_id, 77, Source.PREVIEW, 7)
    await pipeline.remember(preview)
    for _ in range(2):
        await pipeline.registry.forget_images(preview.message_id, [preview.key])
    assert len(await pipeline.indexer.accept([preview])) == 1


async def test_a_damaged_page_that_one_deletion_meets_does_not_hold_up_the_others(path: Path) -> None:
    async with bot_on(path) as pipeline:
        images = [(await pipeline.remember(image_ref(number)))[0] for number in range(1, 200)]
    mend = damage_first_page(path, "embeddings")
    async with bot_on(path) as pipeline:
        first, *_, last = images
        assert await pipeline.registry.forget_messages([first.ref.message_id]) is None
        assert await pipeline.registry.forget_all_but(images[1].ref.message_id, []) is None
        await pipeline.registry.forget_messages([last.ref.message_id])
        await gone_but(pipeline, 2, last)
        assert pipeline.registry.hides(first.ref)
        assert pipeline.registry.hides(images[1].ref)
    mend()
    async with bot_on(path) as pipeline:
        await gone(pipeline, first, images[1])


async def gone_but(pipeline: Pipeline, owed: int, image: Image) -> None:
    async def only_these_left() -> bool:
        return pipeline.registry.owed == owed and not await pipeline.store.get([image.id])

    await until(only_these_left)


def damage_first_page(path: Path, table: str) -> Callable[[], object]:
    """Overwrites the first leaf of a table. Returns what restores the file, as from a backup."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        [(size,)] = connection.execute("PRAGMA page_size")
    whole = path.read_bytes()
    page = whole[(root - 1) * size : root * size]
    assert page[0] == 5, "an interior page: the table has several leaves"
    cell = int.from_bytes(page[12:14])
    leaf = int.from_bytes(page[cell : cell + 4])
    path.write_bytes(whole[: (leaf - 1) * size] + b"\xff" * size + whole[leaf * size :])
    return partial(path.write_bytes, whole)


async def test_on_a_full_disk_a_deletion_is_written_down_all_the_same(path: Path, pipeline: Pipeline) -> None:
    mine, _ = await two_images(pipeline)
    with held(path, "BEGIN", "SELECT count(*) FROM images"):  # keeps the log from being cut back
        number = 10
        while path.with_name(path.name + "-wal").stat().st_size < JOURNAL_BYTES:
            await pipeline.remember(image_ref(number := number + 1))
        with disk_full_at(JOURNAL_BYTES):
            with pytest.raises(StoreUnusable):
                await pipeline.indexer.accept([image_ref(9)])
            assert await pipeline.registry.forget_author(GUILD, mine.ref.author_id, mine.ref.message_id) is None
            assert await shown(pipeline, mine) == [False] * 4
            assert b'"author"' in journal_of(path)
    await gone(pipeline, mine)


async def test_a_request_to_be_forgotten_that_cannot_be_written_down_fails_and_is_tried_all_the_same(
    path: Path, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    mine, _ = await two_images(pipeline)
    file = path.with_name(path.name + ".deletions")
    file.unlink()
    file.mkdir()
    async with locked(path):
        with pytest.raises(StoreUnusable):
            await pipeline.registry.forget_author(GUILD, mine.ref.author_id, mine.ref.message_id)
        assert await pipeline.registry.forget_messages([mine.ref.message_id]) is None
        assert pipeline.registry.hides(mine.ref)
    await gone(pipeline, mine)
    assert any("cannot be written down" in record.message for record in caplog.records)


# -- the journal itself

OWED = [ForgetMessages((1, 2)), ForgetAuthor(1, 2, 3), ForgetChannel(4), OptOut(5)]


async def test_the_journal_holds_what_it_was_given_last_and_nobody_else_can_read_it(path: Path) -> None:
    journal = DeletionJournal(path)
    assert await journal.read() == []
    assert stat.S_IMODE(path.with_name(path.name + ".deletions").stat().st_mode) == 0o600
    await journal.hold(OWED)
    await journal.hold(OWED[1:])
    await journal.hold([*OWED[1:], OWED[0]])
    assert await DeletionJournal(path).read() == [*OWED[1:], OWED[0]]
    await journal.hold([])
    assert journal_of(path) == b"\n" * JOURNAL_BYTES
    assert await DeletionJournal(path).read() == []


async def test_what_is_done_while_it_is_written_down_does_not_stay_in_the_journal(path: Path) -> None:
    journal, owed = DeletionJournal(path), dict.fromkeys(OWED)
    await journal.read()
    writing = asyncio.create_task(journal.hold(owed))
    await asyncio.sleep(0)
    del owed[OWED[1]]
    await writing
    assert await DeletionJournal(path).read() == [OWED[0], *OWED[2:]]


async def test_a_line_that_was_half_written_costs_itself_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = DeletionJournal(path)
    await journal.read()
    await journal.hold(OWED)
    lines = journal_of(path).split(b"\n")
    lines[1] = lines[1][:9].ljust(len(lines[1]), b"\0")
    path.with_name(path.name + ".deletions").write_bytes(b"\n".join(lines))
    again = DeletionJournal(path)
    assert await again.read() == [OWED[0], *OWED[2:]]
    assert [record.message for record in caplog.records] == [
        "a deletion that waited for the store is lost: its line is unreadable"
    ]
    await again.hold([OWED[1], *OWED])
    assert set(await DeletionJournal(path).read()) == set(OWED)


async def test_a_journal_that_cannot_be_read_ends_the_start_with_a_sentence(path: Path) -> None:
    path.with_name(path.name + ".deletions").mkdir()
    with pytest.raises(StartupError, match=r"\.deletions, which keeps deletions .* give the bot write access"):
        await DeletionJournal(path).read()


async def test_more_obligations_than_there_are_blanks_make_the_journal_longer_for_a_while(path: Path) -> None:
    journal = DeletionJournal(path)
    await journal.read()
    many = [ForgetMessages((number,)) for number in range(10**18, 10**18 + 2000)]
    await journal.hold(many)
    assert len(journal_of(path)) > JOURNAL_BYTES
    assert await DeletionJournal(path).read() == many
    await journal.hold([])
    assert journal_of(path) == b"\n" * JOURNAL_BYTES


async def test_a_question_to_the_store_is_asked_until_it_is_answered() -> None:
    answers: list[Any] = [StoreError("locked"), [1, 2]]

    async def ask() -> list[int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    assert await until_stored(ask) == [1, 2]
