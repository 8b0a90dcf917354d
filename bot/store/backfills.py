"""BackfillStore: what each guild's backfill has done and has yet to do, so that a restart goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, case, delete, false, func, or_, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import UNFINISHED, BackfillMode, BackfillState, ChannelRef, Source, ThreadKind
from bot.store.backend import any_of, insert
from bot.store.database import Store, reads, writes
from bot.store.deletion import add_guild
from bot.store.images import INTERRUPTED
from bot.store.schema import backfill_tasks, backfills, channels, images

CHANNELS_PER_SEARCH = 100
"""Discord takes five hundred, but their ids would make a request of 16 KiB."""


class TaskKind(StrEnum):
    """The names are in the order in which tasks are done: the store sorts by them."""

    JOINED = "archived_joined"
    PRIVATE = "archived_private"
    PUBLIC = "archived_public"
    MESSAGES = "messages"


class SearchFilter(StrEnum):
    """What Discord's search is asked for, one after the other. It knows no messages with emoji."""

    IMAGE = "image"
    SNAPSHOT = "snapshot"
    STICKER = "sticker"
    VIDEO = "video"

    @property
    def sources(self) -> frozenset[Source]:
        """Of the images that are counted as found by it."""
        return _SOURCES[self]

    @property
    def next(self) -> SearchFilter | None:
        """What is asked for after it; None after the last."""
        later = [*SearchFilter][[*SearchFilter].index(self) + 1 :]
        return later[0] if later else None


_SOURCES = {
    SearchFilter.IMAGE: frozenset({Source.ATTACHMENT, Source.PREVIEW, Source.EMOJI}),
    SearchFilter.SNAPSHOT: frozenset({Source.FORWARD}),
    SearchFilter.STICKER: frozenset({Source.STICKER}),
    SearchFilter.VIDEO: frozenset({Source.VIDEO}),
}
# Of the reading, begin and end: most messages are found by the first.
_SHARES = {
    SearchFilter.IMAGE: (0.0, 0.85),
    SearchFilter.SNAPSHOT: (0.85, 0.9),
    SearchFilter.STICKER: (0.9, 0.95),
    SearchFilter.VIDEO: (0.95, 1.0),
}


@dataclass(frozen=True, slots=True)
class Task:
    """cursor: the next page ends before this message, or this time or id of an archived thread; None: at the newest."""

    id: int
    channel: ChannelRef
    kind: TaskKind
    filter: SearchFilter = SearchFilter.IMAGE
    cursor: int | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """channel_id: what it was asked for; None for the whole server. until: the newest message when it began. searching:
    whether Discord's search is still asked. notice: channel and id of the message that shows its progress.
    """

    guild_id: int
    channel_id: int | None
    mode: BackfillMode
    state: BackfillState
    searching: bool
    until: int
    began: datetime
    ended: datetime | None
    notice: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Progress:
    """channels, read, refused: the channels and threads to read, those read to their end, and those that the bot may
    not read. messages: those looked at. expected: those with pictures, as Discord's search counts them; 0 where it was
    not asked. found: images that are kept, of which some wait, wait for another attempt, or failed. fraction: of the
    reading, 0 to 1.
    """

    backfill: Backfill
    channels: int
    read: int
    refused: int
    messages: int
    expected: int
    found: int
    waiting: int
    later: int
    failed: int
    fraction: float

    @property
    def done(self) -> int:
        return max(0, self.found - self.waiting - self.later - self.failed)


class BackfillStore(Store):
    @writes
    async def begin(
        self,
        connection: AsyncConnection,
        guild_id: int,
        channel_id: int | None,
        mode: BackfillMode,
        until: int,
        tasks: Sequence[tuple[ChannelRef, TaskKind]],
    ) -> bool:
        """False, and nothing begins, while the guild has an unfinished one, and where the guild was deleted."""
        this = backfills.c.guild_id == guild_id
        state = await connection.scalar(select(backfills.c.state).where(this))
        if state in UNFINISHED or not await add_guild(connection, guild_id):
            return False
        await connection.execute(delete(backfills).where(this))
        newest = select(func.coalesce(func.max(images.c.id), 0)).scalar_subquery()
        values = {"guild_id": guild_id, "channel_id": channel_id, "mode": mode, "until": until, "began": self._now()}
        searching = mode is BackfillMode.QUICK
        await connection.execute(
            insert(connection, backfills).values(
                **values, state=BackfillState.RUNNING, searching=searching, after_image=newest
            )
        )
        await _add_tasks(connection, guild_id, tasks)
        return True

    @reads
    async def get(self, connection: AsyncConnection, guild_id: int) -> Backfill | None:
        return await _read(connection, guild_id)

    @reads
    async def unfinished(self, connection: AsyncConnection) -> list[int]:
        """The guilds that have one, running or paused. Few guilds do at any time, and each has one row."""
        states = backfills.c.state.in_(UNFINISHED)
        return list((await connection.execute(select(backfills.c.guild_id).where(states))).scalars())

    @reads
    async def next_tasks(self, connection: AsyncConnection, guild_id: int) -> list[Task]:
        """What is to be done next; nothing where all is done. More than one where Discord's search is asked about all
        of them at once.
        """
        backfill = await _read(connection, guild_id)
        return [] if backfill is None else await _next_tasks(connection, backfill)

    @writes
    async def listed(
        self, connection: AsyncConnection, task: Task, threads: Sequence[ChannelRef], cursor: int | None
    ) -> None:
        """A page of archived threads was listed; their messages are to be read. cursor: None where it was the last."""
        await _add_tasks(connection, task.channel.guild_id, [(thread, TaskKind.MESSAGES) for thread in threads])
        values = {"state": "done"} if cursor is None else {"cursor": cursor}
        await connection.execute(update(backfill_tasks).where(backfill_tasks.c.id == task.id).values(values))

    @writes
    async def advanced(
        self,
        connection: AsyncConnection,
        tasks: Sequence[Task],
        cursor: int | None,
        *,
        messages: int = 0,
        found: int = 0,
        expected: int = 0,
    ) -> None:
        """A page of messages was read, down to this cursor; None: to the end."""
        these = backfill_tasks.c.id.in_(any_of(task.id for task in tasks))
        values = {"state": "done"} if cursor is None else {"cursor": cursor}
        await connection.execute(update(backfill_tasks).where(these).values(values))
        more = {"messages": messages, "found": found, "expected": expected}
        counters = {name: backfills.c[name] + count for name, count in more.items()}
        this = backfills.c.guild_id == tasks[0].channel.guild_id
        await connection.execute(update(backfills).where(this).values(counters))

    @writes
    async def search_for(self, connection: AsyncConnection, tasks: Sequence[Task], filter_: SearchFilter) -> None:
        """From the newest message on."""
        these = backfill_tasks.c.id.in_(any_of(task.id for task in tasks))
        await connection.execute(update(backfill_tasks).where(these).values(filter=filter_, cursor=None))

    @writes
    async def stop_searching(self, connection: AsyncConnection, guild_id: int) -> None:
        """From now on every message is read. Channels whose pictures the search has given are done."""
        await connection.execute(update(backfills).where(backfills.c.guild_id == guild_id).values(searching=False))
        these = backfill_tasks.c.guild_id == guild_id, backfill_tasks.c.state == "open"
        given = backfill_tasks.c.filter != SearchFilter.IMAGE
        await connection.execute(update(backfill_tasks).where(*these, given).values(state="done"))

    @writes
    async def refuse(self, connection: AsyncConnection, tasks: Sequence[Task]) -> None:
        """The bot may not read these channels."""
        these = backfill_tasks.c.id.in_(any_of(task.id for task in tasks))
        await connection.execute(update(backfill_tasks).where(these).values(state="refused"))

    @writes
    async def set_state(
        self, connection: AsyncConnection, guild_id: int, state: BackfillState, *, of: Collection[BackfillState]
    ) -> bool:
        """False where its state is none of these."""
        this = backfills.c.guild_id == guild_id, backfills.c.state.in_([*of])
        ended = self._now() if state in (BackfillState.DONE, BackfillState.CANCELLED) else None
        changed = await connection.execute(update(backfills).where(*this).values(state=state, ended=ended))
        return changed.rowcount > 0

    @writes
    async def set_notice(self, connection: AsyncConnection, guild_id: int, notice: tuple[int, int] | None) -> None:
        channel_id, message_id = notice or (None, None)
        values = {"notice_channel": channel_id, "notice_message": message_id}
        await connection.execute(update(backfills).where(backfills.c.guild_id == guild_id).values(values))

    @writes
    async def cover(self, connection: AsyncConnection, channel_ids: Collection[int], after: int, until: int) -> None:
        """These channels were read between these messages: from now on, what an edit or a comparison finds there is
        accepted. Their watermarks stay; those that had none were read up to `until`.
        """
        these = channels.c.id.in_(any_of(channel_ids))
        lower = (channels.c.first_seen > after) & (channels.c.first_seen <= until)
        await connection.execute(update(channels).where(these, lower).values(first_seen=after))
        unseen = channels.c.last_seen.is_(None)
        await connection.execute(update(channels).where(these, unseen).values(first_seen=after, last_seen=until))

    @reads
    async def backlog(self, connection: AsyncConnection, guild_id: int) -> int:
        """How many backfilled images wait for their first attempt to end."""
        query = select(func.count()).select_from(images).where(*_waiting(guild_id), _first_attempt())
        return int((await connection.execute(query)).scalar_one())

    @reads
    async def progress(self, connection: AsyncConnection, guild_id: int) -> Progress | None:
        row = (await connection.execute(select(backfills).where(backfills.c.guild_id == guild_id))).first()
        if row is None:
            return None
        backfill = _backfill(row)
        first = func.count(case((_first_attempt(), 1)))
        query = select(first.label("first"), func.count().label("all")).select_from(images).where(*_waiting(guild_id))
        pending = (await connection.execute(query)).one()
        tasks = await _count_tasks(connection, guild_id)
        under_way = await _next_tasks(connection, backfill)
        return Progress(
            backfill,
            channels=sum(tasks[TaskKind.MESSAGES, state] for state in ("done", "refused", "open")),
            read=tasks[TaskKind.MESSAGES, "done"],
            refused=tasks[TaskKind.MESSAGES, "refused"],
            messages=row.messages,
            expected=row.expected,
            found=row.found,
            waiting=pending.first,
            later=pending.all - pending.first,
            failed=await _count_failed(connection, guild_id, row.after_image),
            fraction=_fraction(backfill, tasks, under_way),
        )


async def _add_tasks(connection: AsyncConnection, guild_id: int, tasks: Sequence[tuple[ChannelRef, TaskKind]]) -> None:
    """Those that it has already stay as they are."""
    rows = [
        {"guild_id": guild_id, "channel_id": ref.channel_id, "parent_id": ref.parent_id, "thread": ref.thread}
        | {"task": kind, "state": "open", "filter": SearchFilter.IMAGE}
        for ref, kind in tasks
    ]
    if rows:
        await connection.execute(insert(connection, backfill_tasks).on_conflict_do_nothing(), rows)


async def _read(connection: AsyncConnection, guild_id: int) -> Backfill | None:
    row = (await connection.execute(select(backfills).where(backfills.c.guild_id == guild_id))).first()
    return None if row is None else _backfill(row)


def _backfill(row: Row[Any]) -> Backfill:
    return Backfill(
        row.guild_id,
        row.channel_id,
        BackfillMode(row.mode),
        BackfillState(row.state),
        bool(row.searching),
        row.until,
        row.began,
        row.ended,
        None if row.notice_message is None else (row.notice_channel, row.notice_message),
    )


async def _next_tasks(connection: AsyncConnection, backfill: Backfill) -> list[Task]:
    this = backfill_tasks.c.guild_id == backfill.guild_id, backfill_tasks.c.state == "open"
    query = select(backfill_tasks).where(*this).order_by(*backfill_tasks.c["task", "id"])
    found = [
        Task(
            row.id,
            ChannelRef(backfill.guild_id, row.channel_id, row.parent_id, ThreadKind(row.thread)),
            TaskKind(row.task),
            SearchFilter(row.filter),
            row.cursor,
        )
        for row in await connection.execute(query.limit(CHANNELS_PER_SEARCH if backfill.searching else 1))
    ]
    if not found or found[0].kind is not TaskKind.MESSAGES:
        return found[:1]
    # Those that are searched together have come equally far.
    return [one for one in found if (one.filter, one.cursor) == (found[0].filter, found[0].cursor)]


async def _count_tasks(connection: AsyncConnection, guild_id: int) -> Counter[tuple[str, str]]:
    """By kind and state."""
    columns = backfill_tasks.c["task", "state"]
    query = select(*columns, func.count().label("tasks")).where(backfill_tasks.c.guild_id == guild_id)
    rows = await connection.execute(query.group_by(*columns))
    return Counter({(row.task, row.state): row.tasks for row in rows})


async def _count_failed(connection: AsyncConnection, guild_id: int, after_image: int) -> int:
    query = select(func.count()).select_from(images)
    parked = images.c.guild_id == guild_id, images.c.state == text("'parked'")  # the words of the partial index
    query = query.where(*parked, images.c.backfilled == true(), images.c.id > after_image)
    return int((await connection.execute(query)).scalar_one())


def _waiting(guild_id: int) -> tuple[ColumnElement[bool], ...]:
    """Backfilled images that are pending, in the words of their partial index."""
    waiting = images.c.next_attempt.is_not(None), images.c.backfilled == true()
    return *waiting, images.c.guild_id == guild_id, images.c.reread == false()


def _first_attempt() -> ColumnElement[bool]:
    """Whether a pending image waits for its first attempt, or is in one."""
    return or_(images.c.reason.is_(None), images.c.reason == INTERRUPTED)


def _fraction(backfill: Backfill, tasks: Counter[tuple[str, str]], under_way: Sequence[Task]) -> float:
    """Of the reading. Within a channel by time, from the newest message to when the channel or the server was made."""
    if not under_way:
        return 1.0
    task = under_way[0]
    if task.kind is not TaskKind.MESSAGES:
        return 0.0
    began = backfill.guild_id if backfill.searching else task.channel.channel_id
    read = 0.0 if task.cursor is None else (backfill.until - task.cursor) / max(1, backfill.until - began)
    read = min(1.0, max(0.0, read))
    if backfill.searching:
        begin, end = _SHARES[task.filter]
        read = begin + (end - begin) * read
    ended = tasks[TaskKind.MESSAGES, "done"] + tasks[TaskKind.MESSAGES, "refused"]
    return (ended + len(under_way) * read) / (ended + tasks[TaskKind.MESSAGES, "open"])
