"""Another process holds the database: each method waits and succeeds, or raises StoreBusy and changes nothing."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bot.errors import StoreBusy
from bot.models import (
    BackfillMode,
    BackfillState,
    ChannelRef,
    ImageFilter,
    PublicReply,
    RepostRules,
    Sort,
    Source,
    TagDecision,
    TaggingMode,
)
from bot.store.answers import AnswerStore
from bot.store.backfills import BackfillStore, SearchFilter, Task, TaskKind
from bot.store.database import Database
from bot.store.guilds import ChannelStore, ReplyStore
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from bot.store.labels import LabelSet, LabelStore
from bot.store.models import ModelStore
from bot.store.reposts import RepostStore
from bot.store.retagging import RetaggingStore, RetagPage
from bot.store.rules import RuleStore
from bot.store.statistics import StatisticsStore
from bot.store.tags import TagStore
from tests.store.samples import CARD, NOON, answer, finished, ref

STORES = (
    ImageStore,
    ChannelStore,
    LabelStore,
    RetaggingStore,
    ReplyStore,
    AnswerStore,
    TagStore,
    BackfillStore,
    RepostStore,
    RuleStore,
    StatisticsStore,
    ImageTextStore,
    ModelStore,
)
CHANNEL = ChannelRef(1, 2)
TASK = Task(1, CHANNEL, TaskKind.MESSAGES)


async def first_page(images: ImageStore) -> object:
    async for page in images.embeddings(1, CARD.key):
        return page
    return None


async def matching(images: ImageStore) -> list[int]:
    """As a list, which compares as a whole."""
    return [int(id_) for id_ in await images.matching(1, [2], ImageFilter(author_id=7))]


READS = {
    ImageStore: {
        "due": lambda images: images.due({(1, 7): 5}, NOON),
        "next_attempts": lambda images: images.next_attempts(),
        "get": lambda images: images.get([1]),
        "by_message": lambda images: images.by_message(10),
        "embedding": lambda images: images.embedding(1, CARD.key),
        "embedding_of_hash": lambda images: images.embedding_of_hash(1, "hash-1", CARD.key),
        "embeddings": first_page,
        "searchable_channels": lambda images: images.searchable_channels(1),
        "newest_id": lambda images: images.newest_id(),
        "first_seen": lambda images: images.first_seen(2),
        "in_range": lambda images: images.in_range(2, 0, 20),
        "count_in_range": lambda images: images.count_in_range(2, 0, 20),
        "count_of_messages": lambda images: images.count_of_messages([10], [Source.ATTACHMENT]),
        "guild_ids": lambda images: images.guild_ids(),
        "count_pending": lambda images: images.count_pending(),
        "unverified": lambda images: images.unverified(1 << 62, (), 5),
        "any_unverified": lambda images: images.any_unverified([2]),
        "searchable": lambda images: images.searchable([1]),
        "matching": matching,
        "listed": lambda images: images.listed(1, [2], ImageFilter(author_id=7), Sort.NEWEST, 5),
        "in_order_of_time": lambda images: images.in_order_of_time([1], Sort.NEWEST),
        "posts": lambda images: images.posts(["hash-1"], [2]),
    },
    ChannelStore: {
        "tagging_mode": lambda channels: channels.tagging_mode(CHANNEL),
        "last_seen": lambda channels: channels.last_seen(2),
        "seen_channels": lambda channels: channels.seen_channels(1),
        "tagging_modes": lambda channels: channels.tagging_modes(1),
        "active_channels": lambda channels: channels.active_channels(1, 0),
    },
    LabelStore: {"of_guild": lambda labels: labels.of_guild(1)},
    RetaggingStore: {
        "guild_ids": lambda retaggings: retaggings.guild_ids(),
        "progress": lambda retaggings: retaggings.progress(1),
        "page": lambda retaggings: retaggings.page(1, CARD.key, 5),
    },
    ReplyStore: {
        "orphans": lambda replies: replies.orphans(5),
        "about": lambda replies: replies.about([1]),
    },
    AnswerStore: {"get": lambda answers: answers.get(1, 1)},
    TagStore: {
        "tags_in": lambda tags: tags.tags_in(1, [2]),
        "tagged": lambda tags: tags.tagged(1, [2], "cat"),
        "removed_from": lambda tags: tags.removed_from([1]),
    },
    BackfillStore: {
        "get": lambda backfills: backfills.get(1),
        "unfinished": lambda backfills: backfills.unfinished(),
        "next_tasks": lambda backfills: backfills.next_tasks(1),
        "backlog": lambda backfills: backfills.backlog(1),
        "progress": lambda backfills: backfills.progress(1),
    },
    StatisticsStore: {
        "by_channel": lambda statistics: statistics.by_channel(1),
        "reasons": lambda statistics: statistics.reasons(1),
        "by_day": lambda statistics: statistics.by_day([2]),
        "up_to": lambda statistics: statistics.up_to(1, [2], 20),
        "older_than": lambda statistics: statistics.older_than(1, 2, 30),
        "of_author": lambda statistics: statistics.of_author(1, 7),
        "unverified": lambda statistics: statistics.unverified(1),
    },
    ImageTextStore: {
        "is_reading": lambda texts: texts.is_reading(1),
        "guilds_to_read": lambda texts: texts.guilds_to_read(NOON),
        "next_unread": lambda texts: texts.next_unread(1, NOON),
        "find": lambda texts: texts.find([2], "cat", 5),
        "count": lambda texts: texts.count(1),
        "of_images": lambda texts: texts.of_images([1]),
    },
    RepostStore: {
        "rules_of": lambda reposts: reposts.rules_of(CHANNEL),
        "chosen": lambda reposts: reposts.chosen(1),
        "exempt_roles": lambda reposts: reposts.exempt_roles(1),
    },
    ModelStore: {
        "answering": lambda models: models.answering(),
        "progress": lambda models: models.progress(CARD.key),
        "left_to": lambda models: models.left_to(CARD.key, 0, 5),
    },
    RuleStore: {
        "of_guild": lambda rules: rules.of_guild(1),
        "of_channels": lambda rules: rules.of_channels([CHANNEL]),
        "paused_guilds": lambda rules: rules.paused_guilds(),
        "expired": lambda rules: rules.expired(),
        "excluded_members": lambda rules: rules.excluded_members(1),
    },
}
WRITES = {
    ImageStore: {
        "accept": lambda images: images.accept([ref(20)]),
        "set_spoiler": lambda images: images.set_spoiler([1], True),
        "finish": lambda images: images.finish([finished(1)], CARD),
        "begin": lambda images: images.begin({1: NOON}),
        "release": lambda images: images.release([1]),
        "postpone": lambda images: images.postpone(1, NOON, "late"),
        "park": lambda images: images.park(1, "broken"),
        "requeue_for_model": lambda images: images.requeue_for_model("new"),
        "requeue_damaged": lambda images: images.requeue_damaged([1]),
        "verify": lambda images: images.verify([1], CARD.key),
        "requeue_forbidden": lambda images: images.requeue_forbidden([2]),
        "forget_messages": lambda images: images.forget_messages([10]),
        "forget_images": lambda images: images.forget_images(10, [(Source.ATTACHMENT, 100)]),
        "forget_channel": lambda images: images.forget_channel(2),
        "forget_guild": lambda images: images.forget_guild(1),
        "forget_author": lambda images: images.forget_author(1, 7),
        "readmit_guild": lambda images: images.readmit_guild(1),
        "opt_out": lambda images: images.opt_out(7),
        "opt_in": lambda images: images.opt_in(7, 10),
        "forget_up_to": lambda images: images.forget_up_to(1, [2], 10, for_good=True),
        "exclude_images": lambda images: images.exclude_images(1, 10, []),
    },
    ChannelStore: {
        "set_tagging_mode": lambda channels: channels.set_tagging_mode(CHANNEL, TaggingMode.OFF),
        "mark_seen": lambda channels: channels.mark_seen(CHANNEL, 10),
    },
    LabelStore: {"change": lambda labels: labels.change(1, None, lambda _: LabelSet(()))},
    RetaggingStore: {"retag": lambda retaggings: retaggings.retag(RetagPage(1, 1, 0, 0, None, ()), {})},
    ReplyStore: {
        "remember": lambda replies: replies.remember(CHANNEL, 50, [1]),
        "find": lambda replies: replies.find(CHANNEL, {51: PublicReply(10)}),
        "orphan": lambda replies: replies.orphan([1]),
        "orphan_reply": lambda replies: replies.orphan_reply(50),
        "drop": lambda replies: replies.drop(50),
    },
    AnswerStore: {"save": lambda answers: answers.save(answer(1)), "purge": lambda answers: answers.purge()},
    TagStore: {"decide": lambda tags: tags.decide(1, [TagDecision("cat", kept=False)])},
    BackfillStore: {
        "begin": lambda backfills: backfills.begin(1, 2, BackfillMode.QUICK, 20, [(CHANNEL, TaskKind.MESSAGES)]),
        "listed": lambda backfills: backfills.listed(TASK, [CHANNEL], None),
        "advanced": lambda backfills: backfills.advanced([TASK], 5),
        "search_for": lambda backfills: backfills.search_for([TASK], SearchFilter.SNAPSHOT),
        "stop_searching": lambda backfills: backfills.stop_searching(1),
        "refuse": lambda backfills: backfills.refuse([TASK]),
        "set_state": lambda backfills: backfills.set_state(1, BackfillState.DONE, of=[BackfillState.RUNNING]),
        "set_notice": lambda backfills: backfills.set_notice(1, (2, 50)),
        "cover": lambda backfills: backfills.cover([2], 0, 20),
    },
    ImageTextStore: {
        "set_reading": lambda texts: texts.set_reading(1, True),
        "queue_earlier": lambda texts: texts.queue_earlier(1),
        "save": lambda texts: texts.save(1, "cat"),
        "postpone": lambda texts: texts.postpone(1, NOON),
    },
    RepostStore: {
        "set_rules": lambda reposts: reposts.set_rules(CHANNEL, RepostRules()),
        "set_exempt": lambda reposts: reposts.set_exempt(1, 80, exempt=True),
        "allow": lambda reposts: reposts.allow([1]),
    },
    ModelStore: {
        "answer_with": lambda models: models.answer_with(CARD),
        "add": lambda models: models.add([finished(1)], CARD),
        "drop_others": lambda models: models.drop_others([CARD.key]),
    },
    RuleStore: {
        "set_paused": lambda rules: rules.set_paused(1, True),
        "set_indexed": lambda rules: rules.set_indexed(CHANNEL, True, 20),
        "set_index_new_channels": lambda rules: rules.set_index_new_channels(1, False, [2]),
        "set_retention": lambda rules: rules.set_retention(1, 2, 30),
        "exclude_member": lambda rules: rules.exclude_member(1, 7),
        "readmit_member": lambda rules: rules.readmit_member(1, 7),
    },
}


@contextmanager
def held(path, *statements: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
        yield connection
    finally:
        connection.close()


@pytest.fixture
async def impatient(path) -> Database:
    """A database that waits for no lock, so that all methods together take no time."""
    async with await Database.open(path, busy_timeout=0) as database:
        await ImageStore(database).accept([ref(10)])
        yield database


def calls(*tables):
    for table in tables:
        for store, methods in table.items():
            for name, call in methods.items():
                yield f"{store.__name__}.{name}", lambda database, store=store, call=call: call(store(database))


def test_every_public_method_is_called_here():
    public = {
        f"{store.__name__}.{name}"
        for store in STORES
        for name, _ in inspect.getmembers(store, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public == {name for name, _ in calls(READS, WRITES)}


async def test_every_write_raises_store_busy_beside_another_writer_and_works_afterwards(path, impatient):
    with held(path, "BEGIN IMMEDIATE"):
        for name, call in calls(WRITES):
            with pytest.raises(StoreBusy, match="locked by another process: end it, or try"):
                pytest.fail(f"{name} returned {await call(impatient)}")
    for _, call in calls(WRITES):
        await call(impatient)


async def test_every_read_works_beside_another_writer(path, impatient):
    before = {name: await call(impatient) for name, call in calls(READS)}
    with held(path, "BEGIN IMMEDIATE", "DELETE FROM images"):
        assert {name: await call(impatient) for name, call in calls(READS)} == before


async def test_everything_raises_store_busy_while_another_process_has_the_file_exclusively(path, impatient):
    await impatient.close()  # SQLite grants exclusive access to the only connection
    for name, call in calls(READS, WRITES):
        async with await Database.open(path, busy_timeout=0) as database:
            other = held(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "DELETE FROM tags")
            with other, pytest.raises(StoreBusy, match="locked by another process"):
                pytest.fail(f"{name} returned {await call(database)}")
            await call(database)


async def test_a_write_waits_for_a_lock_that_is_released_in_time(path):
    async with await Database.open(path, busy_timeout=30) as database:
        with held(path, "BEGIN IMMEDIATE") as other:
            accepting = asyncio.create_task(ImageStore(database).accept([ref(10)]))
            done, _ = await asyncio.wait({accepting}, timeout=0.1)
            assert not done
            other.execute("ROLLBACK")
            assert len(await accepting) == 1


async def test_a_write_that_was_refused_has_changed_nothing(path, impatient):
    images = ImageStore(impatient)
    with held(path, "BEGIN IMMEDIATE"), pytest.raises(StoreBusy):
        await images.forget_messages([10])
    assert len(await images.by_message(10)) == 1
