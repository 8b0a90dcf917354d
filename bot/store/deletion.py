"""Deletions, and the tombstones that keep work in progress from bringing deleted images back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Result, delete, func, literal, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import NEWEST, ChannelRef, ImageKey, ImageRef, ImageState, Source, ThreadKind, last_message_by
from bot.store.backend import any_of, insert
from bot.store.database import Store, erases, writes
from bot.store.schema import (
    author_cutoffs,
    channels,
    excluded_images,
    excluded_members,
    expired_tombstones,
    guilds,
    images,
    opt_outs,
    replies,
    tombstones,
)

Key = tuple[str, int, int]
"""Of a tombstone: kind, id, scope."""


_EVERYWHERE = 0
"""In the place of a guild, of members who opted out."""

READMITTED = 1
"""The scope of a guild's tombstone once the bot was invited again."""


class Kind(StrEnum):
    MESSAGE = "message"
    ATTACHMENT = "attachment"
    CHANNEL = "channel"
    GUILD = "guild"


class Deletions(Store):
    """Each method deletes rows and writes tombstones in one transaction, and returns the ids of the deleted images.

    Their bytes are overwritten on the disk before the method returns, unless another process still reads them.
    Cascading keys take an image's embedding and tags along, and set its id to null in the replies that describe it.
    """

    @erases
    async def forget_messages(self, connection: AsyncConnection, ids: Collection[int]) -> list[int]:
        """Deletes the images of these messages, and the bot's own replies among them."""
        gone = await _delete_images(connection, images.c.message_id.in_(any_of(ids)))
        await connection.execute(delete(excluded_images).where(excluded_images.c.message_id.in_(any_of(ids))))
        await connection.execute(delete(replies).where(replies.c.message_id.in_(any_of(ids))))
        await _bury(connection, Kind.MESSAGE, ids, self._now())
        return gone

    @erases
    async def forget_images(
        self, connection: AsyncConnection, message_id: int, keys: Collection[ImageKey]
    ) -> list[int]:
        """Deletes these images of one message; the same attachments in other messages stay.

        What an edit can bring back gets no tombstone: the id of a link preview is made of its address, and that of an
        emoji is the same wherever it is posted.
        """
        gone: list[int] = []
        for source in Source:
            ids = {id_ for its_source, id_ in keys if its_source == source}
            these = images.c.message_id == message_id, images.c.attachment_id.in_(any_of(ids))
            gone += await _delete_images(connection, *these, images.c.source == source)
            if not source.returns:
                await _bury(connection, Kind.ATTACHMENT, ids, self._now(), scope=message_id)
        return gone

    @erases
    async def forget_channel(self, connection: AsyncConnection, channel_id: int) -> list[int]:
        """Deletes the channel and every thread under it, archived ones included. Cascading: replies there."""
        under = or_(channels.c.id == channel_id, channels.c.parent_id == channel_id)
        ids = {channel_id, *(await connection.execute(select(channels.c.id).where(under))).scalars()}
        gone = await _delete_images(connection, images.c.channel_id.in_(any_of(ids)))
        await connection.execute(delete(channels).where(channels.c.id.in_(any_of(ids))))
        await _bury(connection, Kind.CHANNEL, ids, self._now())
        return gone

    @erases
    async def forget_guild(self, connection: AsyncConnection, guild_id: int) -> list[int]:
        """Deletes the guild. `accept` ignores its images until `readmit_guild`.

        Cascading: its labels, author cutoffs and channels, with the replies there.
        """
        gone = await _delete_images(connection, images.c.guild_id == guild_id)
        await connection.execute(delete(guilds).where(guilds.c.id == guild_id))
        await _bury(connection, Kind.GUILD, [guild_id], self._now())
        return gone

    @erases
    async def forget_author(
        self, connection: AsyncConnection, guild_id: int, author_id: int, *, up_to_message: int | None = None
    ) -> list[int]:
        """Deletes the images of a member in a guild, in messages up to this id; by default in those posted by now.

        `accept` ignores such images, known or not. Later messages are indexed, and stay.
        """
        cutoff = last_message_by(self._now()) if up_to_message is None else up_to_message
        theirs = images.c.guild_id == guild_id, images.c.author_id == author_id, images.c.message_id <= cutoff
        gone = await _delete_images(connection, *theirs)
        if await add_guild(connection, guild_id):
            statement = insert(connection, author_cutoffs).values(
                guild_id=guild_id, author_id=author_id, up_to_message=cutoff
            )
            new = statement.excluded.up_to_message
            statement = statement.on_conflict_do_update(
                index_elements=["guild_id", "author_id"],
                set_={"up_to_message": new},
                where=new > author_cutoffs.c.up_to_message,
            )
            await connection.execute(statement)
        return gone

    @erases
    async def opt_out(self, connection: AsyncConnection, author_id: int) -> list[int]:
        """Deletes everything about a member, in all guilds, and keeps the id: `accept` ignores their images."""
        everywhere = select(guilds.c.id)  # the guild is the first column of both indexes
        theirs = images.c.guild_id.in_(everywhere), images.c.author_id == author_id
        gone = await _delete_images(connection, *theirs)
        cutoffs = author_cutoffs.c.guild_id.in_(everywhere), author_cutoffs.c.author_id == author_id
        await connection.execute(delete(author_cutoffs).where(*cutoffs))
        statement = insert(connection, opt_outs).values(author_id=author_id)
        await connection.execute(statement.on_conflict_do_update(index_elements=["author_id"], set_={"until": None}))
        return gone

    @writes
    async def opt_in(self, connection: AsyncConnection, author_id: int, until: int) -> None:
        """Takes an opt-out back: images in messages after this one are accepted."""
        this = opt_outs.c.author_id == author_id, opt_outs.c.until.is_(None)
        await connection.execute(update(opt_outs).where(*this).values(until=until))

    @erases
    async def forget_up_to(
        self,
        connection: AsyncConnection,
        guild_id: int,
        channel_ids: Collection[int],
        up_to_message: int,
        *,
        for_good: bool,
    ) -> list[int]:
        """Deletes the images of these channels and their threads, by default of the whole guild, in messages up to this
        id. No comparison brings them back; where it is for good, no backfill either.
        """
        if not await add_guild(connection, guild_id):
            return []
        under = channels.c.guild_id == guild_id
        if channel_ids:
            rows = [{"id": id_, "guild_id": guild_id} for id_ in channel_ids]
            await connection.execute(insert(connection, channels).on_conflict_do_nothing(), rows)
            ids = any_of(channel_ids)
            under &= channels.c.id.in_(ids) | channels.c.parent_id.in_(ids)
        if for_good:
            table = channels if channel_ids else guilds
            these = table.c.id.in_(any_of(channel_ids or [guild_id]))
            newer = func.coalesce(table.c.forgotten_up_to, -1) < up_to_message
            await connection.execute(update(table).where(these, newer).values(forgotten_up_to=up_to_message))
        earlier = update(channels).where(under, channels.c.first_seen < up_to_message)
        await connection.execute(earlier.values(first_seen=up_to_message))
        places = images.c.channel_id.in_(select(channels.c.id).where(under)), images.c.state.in_([*ImageState])
        return await _delete_images(connection, *places, images.c.message_id <= up_to_message)

    @erases
    async def exclude_images(
        self, connection: AsyncConnection, guild_id: int, message_id: int, keys: Collection[ImageKey]
    ) -> list[int]:
        """Deletes these images of one message, by default all, and accepts them never again."""
        ids = {id_ for _, id_ in keys}
        these = images.c.message_id == message_id
        if ids:
            these &= images.c.attachment_id.in_(any_of(ids))
        gone = await _delete_images(connection, these)
        if await add_guild(connection, guild_id):
            rows = [{"guild_id": guild_id, "message_id": message_id, "attachment_id": id_} for id_ in ids or {0}]
            await connection.execute(insert(connection, excluded_images).on_conflict_do_nothing(), rows)
        return gone

    @writes
    async def readmit_guild(self, connection: AsyncConnection, guild_id: int) -> None:
        """The bot was invited again: images posted from now on are accepted.

        The tombstone remains for a backup from before, with a scope that no image is looked up by.
        """
        this = (tombstones.c.kind == Kind.GUILD, tombstones.c.id == guild_id, tombstones.c.scope == 0)
        moment = (
            await connection.execute(delete(tombstones).where(*this).returning(tombstones.c.forgotten_at))
        ).scalar()
        if moment is not None:
            await _bury(connection, Kind.GUILD, [guild_id], moment, READMITTED)


async def not_deleted(connection: AsyncConnection, refs: Sequence[ImageRef]) -> list[ImageRef]:
    """Those of these images that no tombstone, exclusion, author cutoff or opt-out covers."""
    buried = await _buried(connection, {key for ref in refs for key in keys_of_image(ref)})
    buried |= await _excluded(connection, {ref.message_id for ref in refs})
    cutoffs = await _cutoffs(connection, {(ref.channel.guild_id, ref.author_id) for ref in refs})
    return [
        ref
        for ref in refs
        if buried.isdisjoint(keys_of_image(ref))
        and ref.message_id > cutoffs.get((ref.channel.guild_id, ref.author_id), -1)
        and ref.message_id > cutoffs.get((_EVERYWHERE, ref.author_id), -1)
    ]


async def _excluded(connection: AsyncConnection, message_ids: Collection[int]) -> set[Key]:
    """As tombstones, what was forgotten for good of these messages."""
    these = excluded_images.c.message_id.in_(any_of(message_ids))
    query = select(*excluded_images.c["message_id", "attachment_id"]).where(these)
    return {
        (Kind.ATTACHMENT, row.attachment_id, row.message_id) if row.attachment_id else (Kind.MESSAGE, row.message_id, 0)
        for row in await connection.execute(query)
    }


async def _cutoffs(connection: AsyncConnection, authors: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The newest message that is left out, by guild and author, for whatever reason; in one statement."""
    guild_ids, author_ids = any_of({guild_id for guild_id, _ in authors}), any_of({author for _, author in authors})
    forgotten = select(*author_cutoffs.c["guild_id", "author_id", "up_to_message"])
    excluded = select(*excluded_members.c["guild_id", "author_id"], literal(NEWEST))
    left_out = select(literal(_EVERYWHERE), opt_outs.c.author_id, func.coalesce(opt_outs.c.until, NEWEST))
    query = union_all(
        forgotten.where(author_cutoffs.c.guild_id.in_(guild_ids), author_cutoffs.c.author_id.in_(author_ids)),
        excluded.where(excluded_members.c.guild_id.in_(guild_ids), excluded_members.c.author_id.in_(author_ids)),
        left_out.where(opt_outs.c.author_id.in_(author_ids)),
    )
    found: dict[tuple[int, int], int] = {}
    for guild_id, author_id, up_to_message in await connection.execute(query):
        found[guild_id, author_id] = max(up_to_message, found.get((guild_id, author_id), -1))
    return found


KINDS = {kind.value: kind for kind in ThreadKind}  # an enum's constructor takes ten times as long


async def read_channels(connection: AsyncConnection, guild_id: int, condition: ColumnElement[bool]) -> list[ChannelRef]:
    query = select(*channels.c["id", "parent_id", "thread"]).where(channels.c.guild_id == guild_id, condition)
    # A large guild has tens of thousands of threads: building their rows here would stop the event loop.
    return await asyncio.to_thread(_channels_of, guild_id, await connection.execute(query))


def _channels_of(guild_id: int, rows: Result[int, int | None, str]) -> list[ChannelRef]:
    return [ChannelRef(guild_id, id_, parent_id, KINDS[thread]) for id_, parent_id, thread in rows]


async def add_guild(connection: AsyncConnection, guild_id: int) -> bool:
    """Adds the guild's row if it is missing. False, and no row, when the guild was deleted."""
    if await _buried(connection, {(Kind.GUILD, guild_id, 0)}):
        return False
    await connection.execute(insert(connection, guilds).values(id=guild_id).on_conflict_do_nothing())
    return True


async def add_channel(connection: AsyncConnection, channel: ChannelRef) -> bool:
    """As `add_channels` for one channel. False, and no row, when the channel, its parent or its guild was deleted."""
    if await _buried(connection, _keys_of_channel(channel)):
        return False
    await add_channels(connection, [channel])
    return True


async def add_channels(connection: AsyncConnection, added: Collection[ChannelRef]) -> None:
    """Adds rows for channels without tombstones, and for their guilds; updates the parent and kind of known ones."""
    await connection.execute(
        insert(connection, guilds).on_conflict_do_nothing(), [{"id": id_} for id_ in {one.guild_id for one in added}]
    )
    statement = insert(connection, channels)
    known = {"parent_id": statement.excluded.parent_id, "thread": statement.excluded.thread}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_=known),
        [
            {"id": one.channel_id, "guild_id": one.guild_id, "parent_id": one.parent_id, "thread": one.thread}
            for one in added
        ],
    )


async def _delete_images(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> list[int]:
    return list((await connection.execute(delete(images).where(*conditions).returning(images.c.id))).scalars())


async def _bury(connection: AsyncConnection, kind: Kind, ids: Collection[int], now: datetime, scope: int = 0) -> None:
    """Writes a tombstone for each id, and deletes expired ones."""
    if ids:
        statement = insert(connection, tombstones)
        renewed = {"forgotten_at": statement.excluded.forgotten_at}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["kind", "id", "scope"], set_=renewed),
            [{"kind": kind, "id": id_, "scope": scope, "forgotten_at": now} for id_ in ids],
        )
    await connection.execute(expired_tombstones(now))


async def _buried(connection: AsyncConnection, keys: set[Key]) -> set[Key]:
    """Those of these tombstones that exist."""
    # Not by tuples, for which SQLite uses no index: other kinds with these ids are sorted out below.
    these = tombstones.c.kind.in_([*Kind]), tombstones.c.id.in_(any_of({id_ for _, id_, _ in keys}))
    rows = await connection.execute(select(*tombstones.c["kind", "id", "scope"]).where(*these))
    return keys.intersection((row.kind, row.id, row.scope) for row in rows)


def _keys_of_channel(channel: ChannelRef) -> set[Key]:
    above = {(Kind.CHANNEL, channel.parent_id, 0)} if channel.parent_id is not None else set()
    return {(Kind.GUILD, channel.guild_id, 0), (Kind.CHANNEL, channel.channel_id, 0)} | above


def keys_of_image(ref: ImageRef) -> set[Key]:
    message = (Kind.MESSAGE, ref.message_id, 0)
    return _keys_of_channel(ref.channel) | {message, (Kind.ATTACHMENT, ref.attachment_id, ref.message_id)}
