"""Backups: a consistent copy of the database of a bot that may be running; and restoring one, with what was deleted
since staying deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, delete, exists, func, inspect, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.errors import StartupError, StoreError
from bot.models import NEWEST, ChannelRef, ImageState, TagDecision, ThreadKind, posted_at, utc_now
from bot.store.backend import any_of, insert, open_backend
from bot.store.database import Database
from bot.store.deletion import Kind, add_channels
from bot.store.schema import (
    TOMBSTONE_LIFETIME,
    author_cutoffs,
    channels,
    excluded_images,
    excluded_members,
    guilds,
    images,
    opt_outs,
    replies,
    tag_decisions,
    tombstones,
    unverified,
)
from bot.store.sqlite import sync
from bot.store.tags import add_decisions, decide_again

BUSY_TIMEOUT_S = 5.0

_KEY = images.c["message_id", "attachment_id", "source"]
_IDENTITY = (*_KEY.keys(), "guild_id", "channel_id", "author_id", "spoiler", "backfilled")


def back_up(url: str | Path, file: Path) -> str:
    """Copies the database to this new file, checks the copy, and returns a sentence about it. Raises StartupError."""
    backend = open_backend(url, BUSY_TIMEOUT_S)
    if not backend.path.is_file():
        raise StartupError(f"There is no database {backend.path}: set DATABASE_URL to the bot's.")
    if file.exists():
        raise StartupError(f"{file} exists: name a new file, since a backup overwrites nothing.")
    part = file.with_name(file.name + ".part")
    moment = utc_now()
    try:
        try:
            part.unlink(missing_ok=True)
            part.touch(0o600)
            backend.back_up(part)
            count = _count_images(part)
            sync(part)
            part.replace(file)
            sync(file.parent)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise StartupError(
            f"No backup was made ({error}): check the database {backend.path}, and the permissions and free space of "
            f"{file.parent.absolute()}."
        ) from error
    return (
        f"{file} ({file.stat().st_size / 2**20:,.1f} MiB) holds {count:,} images as of {moment:%Y-%m-%d %H:%M} UTC. "
        f"Delete it within {TOMBSTONE_LIFETIME.days} days: images that are deleted from now on remain in it."
    )


async def restore(url: str | Path, file: Path) -> str:
    """Replaces the database by this backup, and returns sentences about it. Raises StartupError, and then the database
    is as it was.

    Deletions that the present database knows of are carried over. For all others, every image stays hidden until the
    bot has found it in Discord. What members decided about tags is carried over, too.
    """
    backend = open_backend(url, BUSY_TIMEOUT_S)
    try:
        backend.lock()
        with backend.taken(file) as copy:
            present = await _read_present(url)
            restored = await _bring_up_to_date(copy, file, present)
            former = backend.replace(copy)
    except (OSError, StoreError) as error:
        raise StartupError(
            f"Nothing was restored ({error}): check the permissions and free space of {backend.path.parent.absolute()}."
        ) from error
    finally:
        await backend.close()
    said = [
        f"Restored {restored.images:,} images; the bot shows each of them once it has found it in Discord.",
        "The former database could not be read: ask members who deleted their data or opted out since to do so again."
        if present is None
        else "What was deleted since the backup, as the former database knows, stays deleted.",
    ]
    if former is not None:
        said.append(f"The former database is now {former}: delete it once all is well.")
    if restored.newest is not None and restored.newest < utc_now() - TOMBSTONE_LIFETIME:
        said.append(f"The backup is older than {TOMBSTONE_LIFETIME.days} days, see Restore in docs/operating.md.")
    return " ".join(said)


def _count_images(file: Path) -> int:
    """Raises sqlite3.DatabaseError where the file is damaged, or no database of Magpie's."""
    with closing(sqlite3.connect(file)) as connection:
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        table = "images" if "images" in tables else "pictures"  # before revision 0004
        [count] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - one of two names
    return int(count)


@dataclass(frozen=True, slots=True)
class _Present:
    """What must outlive a restore. replies: with their channel, and the key of the image that each describes; the id of
    its message is `described`. excluded_…: what moderators keep out; bounds: up to where they had everything forgotten.
    tag_decisions: with the image that each is about, and its channel.
    """

    tombstones: Sequence[Row[Any]]
    cutoffs: Sequence[Row[Any]]
    replies: Sequence[Row[Any]]
    opt_outs: Sequence[Row[Any]]
    excluded_members: Sequence[Row[Any]]
    excluded_images: Sequence[Row[Any]]
    guild_bounds: Sequence[Row[Any]]
    channel_bounds: Sequence[Row[Any]]
    tag_decisions: Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class _Restored:
    """newest: when the newest message was posted that the backup has seen."""

    images: int
    newest: datetime | None


async def _read_present(url: str | Path) -> _Present | None:
    """None where there is no database, or it cannot be read."""
    backend = open_backend(url, BUSY_TIMEOUT_S)
    try:
        async with backend.readers.begin() as connection:
            message, *rest = _KEY
            where = *channels.c["guild_id", "parent_id", "thread"], message.label("described"), *rest
            said = select(*replies.c["message_id", "position", "channel_id"], *where)
            said = said.join_from(replies, channels, channels.c.id == replies.c.channel_id)
            said = said.outerjoin(images, images.c.id == replies.c.image_id)
            queries = select(tombstones), select(author_cutoffs), said
            buried, cutoffs, spoken = [(await connection.execute(query)).all() for query in queries]
            return _Present(buried, cutoffs, spoken, *await _read_wishes(connection))
    except Exception as error:
        if backend.startup_error(error) is None:
            raise
        return None
    finally:
        await backend.close()


async def _read_wishes(connection: AsyncConnection) -> list[Sequence[Row[Any]]]:
    """What people decided, in the order of `_Present`. A database from before revision 0006 has nothing of it."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(opt_outs.name)):
        return [(), (), (), (), (), ()]
    of_guilds = select(*guilds.c["id", "forgotten_up_to"]).where(guilds.c.forgotten_up_to.is_not(None))
    of_channels = select(*channels.c["id", "guild_id", "parent_id", "thread", "forgotten_up_to"])
    of_channels = of_channels.where(channels.c.forgotten_up_to.is_not(None))
    decided = select(
        *tag_decisions.c["label", "kept", "language"], *images.c[*_IDENTITY], *channels.c["parent_id", "thread"]
    )
    decided = decided.join_from(tag_decisions, images).join(channels, channels.c.id == images.c.channel_id)
    exclusions = select(opt_outs), select(excluded_members), select(excluded_images)
    queries = *exclusions, of_guilds, of_channels, decided
    return [(await connection.execute(query)).all() for query in queries]


async def _bring_up_to_date(copy: Path, source: Path, present: _Present | None) -> _Restored:
    """Migrates the copy, deletes what was deleted since, and marks the other images as unverified."""
    try:
        database = await Database.open(copy, busy_timeout=BUSY_TIMEOUT_S)
    except StartupError as error:
        raise StartupError(
            f"{source} is no backup of Magpie's, or of a newer version: restore another one, or install that version."
        ) from error
    async with database:
        if present is not None:
            await database.write(partial(_delete_again, present=present), erase=True)
        return await database.write(mark_unverified)


async def mark_unverified(connection: AsyncConnection) -> _Restored:
    columns = images.c["id", "channel_id", "message_id"]
    await connection.execute(delete(unverified))
    await connection.execute(
        unverified.insert().from_select(["image_id", "channel_id", "message_id"], select(*columns))
    )
    count = (await connection.execute(select(func.count()).select_from(unverified))).scalar_one()
    newest = (await connection.execute(select(func.max(channels.c.last_seen)))).scalar()
    return _Restored(count, None if newest is None else posted_at(newest))


async def _delete_again(connection: AsyncConnection, present: _Present) -> None:
    """Deletes what the present database knows to be deleted, and keeps that knowledge."""
    await connection.execute(delete(guilds).where(guilds.c.id.in_(any_of(await _guilds_gone(connection, present)))))
    await _insert(connection, tombstones, present.tombstones, newer="forgotten_at")
    of_guilds = (present.cutoffs, present.excluded_members, present.excluded_images, present.channel_bounds)
    for guild_id in {row.guild_id for rows in of_guilds for row in rows}:
        await connection.execute(insert(connection, guilds).values(id=guild_id).on_conflict_do_nothing())
    await _insert(connection, author_cutoffs, present.cutoffs, newer="up_to_message")
    await connection.execute(delete(opt_outs))
    if present.opt_outs:
        await connection.execute(opt_outs.insert(), [dict(row._mapping) for row in present.opt_outs])
    for table, rows in ((excluded_members, present.excluded_members), (excluded_images, present.excluded_images)):
        if rows:
            await connection.execute(insert(connection, table).on_conflict_do_nothing(), _values(rows))
    await _insert(connection, guilds, present.guild_bounds, newer="forgotten_up_to")
    await _insert(connection, channels, present.channel_bounds, newer="forgotten_up_to")
    await _carry_decisions(connection, present.tag_decisions)
    await connection.execute(
        delete(channels).where(or_(*(_buried(Kind.CHANNEL, id_) for id_ in (channels.c.id, channels.c.parent_id))))
    )
    forgotten = exists().where(
        author_cutoffs.c.guild_id == images.c.guild_id,
        author_cutoffs.c.author_id == images.c.author_id,
        author_cutoffs.c.up_to_message >= images.c.message_id,
    )
    left_out = exists().where(
        opt_outs.c.author_id == images.c.author_id, func.coalesce(opt_outs.c.until, NEWEST) >= images.c.message_id
    )
    excluded = exists().where(
        excluded_images.c.message_id == images.c.message_id,
        or_(excluded_images.c.attachment_id == 0, excluded_images.c.attachment_id == images.c.attachment_id),
    )
    bounded = or_(
        exists().where(guilds.c.id == images.c.guild_id, guilds.c.forgotten_up_to >= images.c.message_id),
        _forgotten_with_its_channel(),
    )
    buried = _buried(Kind.MESSAGE, images.c.message_id)
    removed = _buried(Kind.ATTACHMENT, images.c.attachment_id, images.c.message_id)
    await connection.execute(delete(images).where(or_(forgotten, left_out, excluded, bounded, buried, removed)))
    await connection.execute(delete(replies).where(_buried(Kind.MESSAGE, replies.c.message_id)))
    await _carry_replies(connection, present.replies)


async def _guilds_gone(connection: AsyncConnection, present: _Present) -> list[int]:
    """Guilds that were forgotten after the backup, also those that invited the bot again since."""
    known: dict[int, datetime] = {}
    for row in await connection.execute(select(tombstones).where(tombstones.c.kind == Kind.GUILD)):
        known[row.id] = max(row.forgotten_at, known.get(row.id, row.forgotten_at))
    gone = [row for row in present.tombstones if row.kind == Kind.GUILD]
    return [row.id for row in gone if row.id not in known or row.forgotten_at > known[row.id]]


async def _insert(connection: AsyncConnection, table: Table, rows: Sequence[Row[Any]], *, newer: str) -> None:
    """Adds these rows; of two with one key, the one stays whose value in this column is greater."""
    statement = insert(connection, table)
    value = statement.excluded[newer]
    older = or_(table.c[newer].is_(None), value > table.c[newer])
    statement = statement.on_conflict_do_update(index_elements=[*table.primary_key], set_={newer: value}, where=older)
    if rows:
        await connection.execute(statement, _values(rows))


def _values(rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in rows]


def _forgotten_with_its_channel() -> ColumnElement[bool]:
    """Of an image: in a channel, or in a thread of one, of which everything up to its message was forgotten."""
    parents = channels.alias("parents")
    bounds = or_(*(table.c.forgotten_up_to >= images.c.message_id for table in (channels, parents)))
    query = select(channels.c.id).outerjoin(parents, parents.c.id == channels.c.parent_id)
    return query.where(channels.c.id == images.c.channel_id, bounds).exists()


def _buried(kind: Kind, id_: ColumnElement[int], scope: ColumnElement[int] | int = 0) -> ColumnElement[bool]:
    return exists().where(tombstones.c.kind == kind, tombstones.c.id == id_, tombstones.c.scope == scope)


async def _carry_decisions(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
    """What members decided about tags holds. Images that the backup had not indexed yet are indexed as once before."""
    if not rows:
        return
    await add_channels(connection, _places(rows).values())
    due = {"state": ImageState.PENDING, "next_attempt": utc_now()}
    await connection.execute(
        insert(connection, images).on_conflict_do_nothing(index_elements=[*_KEY.keys()]),
        [{name: row._mapping[name] for name in _IDENTITY} | due for row in rows],
    )
    these = images.c.message_id.in_(any_of({row.message_id for row in rows}))
    known = {
        tuple(key): (id_, place)
        for id_, place, *key in await connection.execute(select(*images.c["id", "channel_id"], *_KEY).where(these))
    }
    decisions: dict[int, list[TagDecision]] = {}
    places: dict[int, int] = {}
    for row in rows:
        id_, place = known[row.message_id, row.attachment_id, row.source]
        places[id_] = place
        decisions.setdefault(id_, []).append(TagDecision(row.label, bool(row.kept), row.language))
    indexed_again = update(images).where(images.c.id.in_(any_of(places)), images.c.state != ImageState.READY)
    await connection.execute(indexed_again.values(reread=True))
    await add_decisions(connection, decisions)
    await decide_again(connection, places)


def _places(rows: Sequence[Row[Any]]) -> dict[int, ChannelRef]:
    return {
        row.channel_id: ChannelRef(row.guild_id, row.channel_id, row.parent_id, ThreadKind(row.thread)) for row in rows
    }


async def _carry_replies(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
    """The bot deletes replies whose image is not in the backup: once that is indexed again, it is announced again."""
    if not rows:
        return
    await add_channels(connection, _places(rows).values())
    described = images.c.message_id.in_(any_of({row.described for row in rows if row.described is not None}))
    known = await connection.execute(select(images.c.id, *_KEY).where(described))
    ids = {tuple(key): id_ for id_, *key in known}
    await connection.execute(
        insert(connection, replies).on_conflict_do_nothing(),
        [
            {"message_id": row.message_id, "position": row.position, "channel_id": row.channel_id}
            | {"image_id": ids.get((row.described, row.attachment_id, row.source))}
            for row in rows
        ],
    )
