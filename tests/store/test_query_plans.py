"""Every statement that the store executes, as SQLite will run it: none may read a table from end to end."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from sqlalchemy import event

from bot.models import (
    EVERY_IMAGE,
    REREAD_OWNER,
    BackfillMode,
    BackfillState,
    ChannelRef,
    ImageFilter,
    PublicReply,
    RepostNotice,
    RepostRules,
    Sort,
    Source,
    Tag,
    TagDecision,
    TaggingMode,
    ThreadKind,
    backfill_owner,
)
from bot.store.answers import AnswerStore
from bot.store.backfills import BackfillStore, SearchFilter, TaskKind
from bot.store.guilds import ChannelStore, ReplyStore
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from bot.store.labels import LabelSet, LabelStore, OwnLabel
from bot.store.members import MemberStore
from bot.store.models import ModelStore
from bot.store.reposts import RepostStore
from bot.store.retagging import RetaggingStore
from bot.store.rules import RuleStore
from bot.store.schema import metadata
from bot.store.statistics import StatisticsStore
from bot.store.tags import TagStore
from tests.store.samples import CARD, NOON, OTHER, answer, finished, ref

# Scanned at startup and daily: tables with one row for each guild or model.
LARGE_TABLES = metadata.tables.keys() - {"guilds", "models", "backfills"}


async def use_everything(database) -> None:
    images, channels, labels = ImageStore(database), ChannelStore(database), LabelStore(database)
    replies, answers = ReplyStore(database), AnswerStore(database)
    first, second, third, *_ = await images.accept([ref(message) for message in range(10, 20)])
    await images.accept([ref(30, place=ChannelRef(1, 3, 2, ThreadKind.PUBLIC))])
    await images.due({(1, 7): 50, REREAD_OWNER: 50}, NOON, exclude=(first.id,))
    await images.next_attempts()
    await images.finish([finished(first.id), finished(second.id)], CARD)
    await images.begin({third.id: NOON})
    await images.release([third.id])
    await images.postpone(third.id, NOON, "late")
    await images.park(third.id, "broken")
    await images.requeue_for_model(OTHER.key)
    await images.finish([finished(first.id, dimension=24)], OTHER)
    await images.get([first.id])
    await images.by_message(10)
    await images.embedding(first.id, OTHER.key)
    await images.embedding_of_hash(1, "hash-1", OTHER.key)
    assert [page async for page in images.embeddings(1, OTHER.key)]
    await images.unverified(2**62, [3], 5)
    await images.any_unverified([2])
    await images.verify([first.id], OTHER.key)
    await images.requeue_forbidden([2])
    await use_models(ModelStore(database), first.id)
    await images.set_spoiler([first.id], True)
    await images.accept([ref(40)], backfilled=True)
    await images.due({backfill_owner(1): 50}, NOON)
    await images.count_in_range(2, 10, 20)
    await images.count_of_messages([10, 11], [Source.FORWARD])
    await images.newest_id()
    texts = ImageTextStore(database, clock=lambda: NOON)
    await texts.set_reading(1, True)
    await texts.is_reading(1)
    await texts.guilds_to_read(NOON)
    await texts.queue_earlier(1)
    assert (unread := await texts.next_unread(1, NOON))
    await texts.save(unread.image.id, "opening hours")
    await texts.postpone(second.id, NOON)
    assert await texts.find([2], "hours", 5, np.array([unread.image.id]))
    await texts.find([2], "hours", 5)
    await texts.of_images([first.id])
    await texts.count(1)
    await texts.set_reading(1, False)
    await images.first_seen(2)
    await images.in_range(2, 10, 20)
    await images.searchable_channels(1)
    await images.guild_ids()
    for wanted in (EVERY_IMAGE, ImageFilter(author_id=7), ImageFilter(label="cat"), ImageFilter(after=5, before=90)):
        await images.matching(1, [2], wanted)
        await images.listed(1, [2], wanted, Sort.NEWEST, 5)
        await images.listed(1, [2], wanted, Sort.OLDEST, 5)
    await images.in_order_of_time([first.id, second.id], Sort.NEWEST)
    await images.posts(["hash-1"], [2])
    await images.searchable([first.id])
    tags = TagStore(database)
    await tags.tags_in(1, [2, 3])
    await tags.tags_in(1, [2, 3], "ca")
    await tags.tagged(1, [2, 3], "cat")
    await tags.decide(first.id, [TagDecision("cat", kept=False)])
    await tags.removed_from([first.id])
    await images.count_pending()
    await use_rules(RuleStore(database))
    await use_reposts(RepostStore(database), first.id)
    await use_backfills(BackfillStore(database))
    await use_statistics(StatisticsStore(database))
    await channels.set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
    await channels.tagging_mode(ChannelRef(1, 3, 2, ThreadKind.PUBLIC))
    await channels.mark_seen(ChannelRef(1, 2), 10)
    await channels.last_seen(2)
    await channels.seen_channels(1)
    await channels.active_channels(1, 0)
    await labels.change(1, None, lambda _: LabelSet((), (OwnLabel("cat"),)))
    await labels.change(1, ChannelRef(1, 2), lambda _: LabelSet((), (OwnLabel("cat"),)))
    await labels.of_guild(1)
    retaggings = RetaggingStore(database)
    while (page := await retaggings.page(1, OTHER.key, 5)) is not None:
        await retaggings.progress(1)
        await retaggings.retag(page, {id_: [Tag("lamp", 0.5)] for id_, _, _ in page.images})
    await replies.remember(ChannelRef(1, 2), 50, [first.id, second.id])
    await replies.remember(ChannelRef(1, 2), 50, [first.id, third.id], besides=True)
    await replies.find(ChannelRef(1, 2), {51: PublicReply(10), 52: PublicReply(1, (first.id,))})
    await replies.orphan([first.id])
    await replies.about([first.id])
    await replies.orphan_reply(52)
    await replies.orphans(5)
    await replies.drop(50)
    await images.forget_up_to(1, [2], 5, for_good=True)
    await images.forget_up_to(1, [], 5, for_good=True)
    await images.exclude_images(1, 12, [(Source.ATTACHMENT, 100)])
    await answers.save(answer(first.id, second.id))
    await answers.get(answer().id, 1)
    await answers.purge()
    await images.forget_messages([10])
    await images.forget_images(11, [(Source.ATTACHMENT, 100)])
    await images.forget_author(1, 8)
    members = MemberStore(database)
    await members.kept(1, 7)
    await members.images_of(7)
    await images.opt_out(8)
    await images.opt_in(8, 60)
    await images.forget_channel(2)
    await images.forget_guild(1)
    await images.readmit_guild(1)


async def use_reposts(reposts, image_id: int) -> None:
    await reposts.set_rules(ChannelRef(1, 2), RepostRules(RepostNotice.REPLY))
    await reposts.rules_of(ChannelRef(1, 3, 2, ThreadKind.PUBLIC))
    await reposts.chosen(1)
    await reposts.set_exempt(1, 80, exempt=True)
    await reposts.exempt_roles(1)
    await reposts.set_exempt(1, 80, exempt=False)
    await reposts.allow([image_id])


async def use_models(models, image_id) -> None:
    await models.answer_with(CARD)
    await models.answer_with(OTHER)
    await models.answering()
    await models.progress(OTHER.key)
    await models.left_to(CARD.key, 0, 5)
    await models.add([finished(image_id)], CARD)
    assert await models.drop_others([OTHER.key])


async def use_rules(rules) -> None:
    await rules.set_paused(1, True)
    await rules.set_paused(1, False)
    await rules.set_indexed(ChannelRef(1, 2), False, 20)
    await rules.set_indexed(ChannelRef(1, 2), True, 20)
    await rules.set_index_new_channels(1, False, [2, 3])
    await rules.set_retention(1, None, 30)
    await rules.set_retention(1, 2, 30)
    await rules.of_guild(1)
    await rules.of_channels([ChannelRef(1, 2), ChannelRef(1, 3, 2, ThreadKind.PUBLIC)])
    await rules.paused_guilds()
    assert await rules.expired()
    await rules.set_retention(1, 2, None)
    await rules.set_retention(1, None, None)
    await rules.exclude_member(1, 70)
    await rules.excluded_members(1)
    await rules.readmit_member(1, 70)


async def use_statistics(statistics) -> None:
    assert await statistics.by_channel(1)
    await statistics.reasons(1)
    await statistics.by_day([2, 3])
    await statistics.up_to(1)
    await statistics.up_to(1, [2], 15)
    await statistics.older_than(1, 2, 30)
    await statistics.older_than(1, None, 30)
    await statistics.of_author(1, 7)
    await statistics.unverified(1)


async def use_backfills(backfills) -> None:
    place = ChannelRef(1, 2)
    await backfills.begin(1, None, BackfillMode.QUICK, 50, [(place, TaskKind.PUBLIC), (place, TaskKind.MESSAGES)])
    [listing] = await backfills.next_tasks(1)
    await backfills.listed(listing, [ChannelRef(1, 3, 2, ThreadKind.PUBLIC)], None)
    tasks = await backfills.next_tasks(1)
    await backfills.advanced(tasks, 20, messages=3, found=2, expected=9)
    await backfills.cover([2], 20, 50)
    await backfills.search_for(tasks, SearchFilter.SNAPSHOT)
    await backfills.backlog(1)
    await backfills.progress(1)
    await backfills.refuse(tasks[:1])
    await backfills.stop_searching(1)
    await backfills.set_notice(1, (2, 50))
    await backfills.unfinished()
    await backfills.set_state(1, BackfillState.DONE, of=[BackfillState.RUNNING])


@pytest.fixture
async def statements(database) -> dict[str, tuple]:
    seen: dict[str, tuple] = {}

    def note(_connection, _cursor, statement, parameters, _context, many):
        nested = many and isinstance(parameters[0], tuple)
        seen.setdefault(statement, parameters[0] if nested else parameters)

    for engine in (database._backend.writer, database._backend.readers):
        event.listen(engine.sync_engine, "before_cursor_execute", note)
    await use_everything(database)
    return {statement: values for statement, values in seen.items() if not statement.startswith("BEGIN")}


def plan(connection, statement, values) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


async def test_every_statement_finds_its_rows_by_an_index(statements, path):
    connection = sqlite3.connect(path)
    slow = {
        statement: lines
        for statement, values in statements.items()
        for lines in [plan(connection, statement, values)]
        if any(line.startswith("SCAN") and line.split()[1] in LARGE_TABLES for line in lines)
    }
    connection.close()
    assert len(statements) > 50
    # Pending images are counted, in an index that has no others; and all images, when another model is to take over.
    assert sorted(slow.values()) == [
        ["SCAN images USING COVERING INDEX ix_images_channel_id_state_message_id"],
        ["SCAN images USING COVERING INDEX ix_images_due"],
    ]


@pytest.mark.parametrize("comparison", ["<=", ">"])
async def test_due_images_are_read_in_order_without_sorting(statements, path, comparison):
    """Those of one author without a look at another's, those to be encoded again without a look at new ones."""
    connection = sqlite3.connect(path)
    due = [statement for statement in statements if f"next_attempt {comparison} ?" in statement]
    plans = [plan(connection, statement, statements[statement]) for statement in due]
    connection.close()
    assert not any("TEMP B-TREE" in line for lines in plans for line in lines)
    indexes = (
        "ix_images_due (reread=?",
        "ix_images_due_of_author (reread=? AND backfilled=? AND guild_id=? AND author_id=?",
        "ix_images_due_of_backfill (backfilled=? AND guild_id=? AND reread=?",
    )
    for columns in indexes:
        assert any(f"USING COVERING INDEX {columns} AND next_attempt" in lines[0] for lines in plans)


async def test_an_identical_file_is_found_by_its_hash_and_not_among_all_embeddings(statements, path):
    connection = sqlite3.connect(path)
    [statement, other] = [one for one in statements if "images.content_hash = ?" in one]
    lines, of_texts = (plan(connection, one, statements[one]) for one in (statement, other))
    connection.close()
    assert "SEARCH images USING INDEX ix_images_content_hash (content_hash=?)" in of_texts
    assert "SEARCH images USING INDEX ix_images_content_hash (content_hash=?)" in lines
    key = "SEARCH embeddings USING INDEX sqlite_autoindex_embeddings_1 (image_id=?)"
    assert key in [line.replace("COVERING ", "") for line in lines]


@pytest.mark.parametrize(
    ("condition", "first"),
    [
        ("images.author_id = ?", "SEARCH images USING INDEX ix_images_guild_id_author_id (guild_id=? AND author_id=?)"),
        ("tags.channel_id IN", "SEARCH images USING INTEGER PRIMARY KEY (rowid=?)"),
        ("", "SEARCH images USING COVERING INDEX ix_images_channel_id_state_message_id"),
    ],
)
async def test_a_filter_reads_the_images_that_it_leaves_by_the_narrowest_index(statements, path, condition, first):
    connection = sqlite3.connect(path)
    filtered = [one for one in statements if "group_concat(images.id)" in one and condition in one]
    if not condition:
        filtered = [one for one in filtered if "author_id" not in one and "tags" not in one]
    plans = [plan(connection, statement, statements[statement]) for statement in filtered]
    connection.close()
    assert plans
    assert all(lines[0].startswith(first) for lines in plans), plans


async def test_a_guilds_embeddings_are_read_in_order_without_sorting(statements, path):
    connection = sqlite3.connect(path)
    [statement] = [
        statement for statement in statements if "embeddings.image_id > ?" in statement and "unverified" in statement
    ]
    lines = plan(connection, statement, statements[statement])
    connection.close()
    index = "ix_embeddings_model_id_guild_id_image_id_frame"
    columns = "(model_id=? AND guild_id=? AND image_id>? AND image_id<?)"
    assert lines[0] == f"SEARCH embeddings USING INDEX {index} {columns}"
    assert not any("TEMP B-TREE" in line for line in lines)


async def test_words_are_looked_for_in_the_texts_of_the_channels_and_unread_images_in_their_order(statements, path):
    connection = sqlite3.connect(path)
    looking = [one for one in statements if "instr(" in one]
    plans = [plan(connection, one, statements[one]) for one in looking]
    [statement] = [one for one in statements if "ORDER BY unread_images.image_id DESC" in one]
    lines = plan(connection, statement, statements[statement])
    connection.close()
    assert len(plans) == 2
    assert any(line.startswith("SEARCH image_texts USING PRIMARY KEY (channel_id=?") for line in plans[0])
    assert lines == ["SEARCH unread_images USING INDEX ix_unread_images_guild_id_image_id (guild_id=?)"]


async def test_tags_are_counted_and_found_in_an_index_of_their_channel(statements, path):
    """An image is looked at only where it is not searchable, or has the tag."""
    connection = sqlite3.connect(path)
    counting, by_prefix, finding = (
        plan(connection, statement, values)
        for statement, values in statements.items()
        if "tags.channel_id IN" in statement and "message_id >=" not in statement
    )
    connection.close()
    index = "SEARCH tags USING COVERING INDEX ix_tags_channel_id_key_label"
    assert f"{index} (channel_id=?)" in counting
    assert f"{index} (channel_id=? AND key>? AND key<?)" in by_prefix
    assert f"{index} (channel_id=? AND key=?)" in finding
    for lines in (counting, by_prefix):
        assert (
            "SEARCH images USING COVERING INDEX ix_images_channel_id_state_message_id (channel_id=? AND state=?)"
            in lines
        )
        assert "SEARCH unverified USING COVERING INDEX ix_unverified_channel_id_message_id (channel_id=?)" in lines
    assert "SEARCH images USING INTEGER PRIMARY KEY (rowid=?)" in finding


async def test_a_statement_without_an_index_would_be_noticed(path, database):
    connection = sqlite3.connect(path)
    assert plan(connection, "SELECT * FROM images WHERE width = ?", (1,)) == ["SCAN images"]
    connection.close()
