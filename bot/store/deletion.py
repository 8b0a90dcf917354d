"""Deletions, and the tombstones that keep work in progress from bringing deleted images back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, case, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import DISCORD_EPOCH_MS, ChannelRef, ImageRef, Source
from bot.store.backends import insert
from bot.store.database import Store, chunks, erases, writes
from bot.store.schema import (
    author_cutoffs,
    channels,
    expired_tombstones,
    guilds,
    images,
    milliseconds,
    replies,
    tombstones,
)

Key = tuple[str, int, int]
"""Of a tombstone: kind, id, scope."""


class Kind(StrEnum):
    MESSAGE = "message"
    ATTACHMENT = "attachment"
    CHANNEL = "channel"
    GUILD = "guild"


class Deletions(Store):
    """Each method deletes rows and writes tombstones in one transaction, and returns the ids of the deleted images.

    Their bytes are overwritten on the disk before the method returns, unless another process still reads them.
    """

    @erases
    async def forget_messages(self, connection: AsyncConnection, ids: Collection[int]) -> list[int]:
        """Deletes the images of these messages, and the bot's own replies among them."""
        gone: list[int] = []
        for some in chunks(ids):
            gone += await _delete_images(connection, images.c.message_id.in_(some))
            await connection.execute(delete(replies).where(replies.c.message_id.in_(some)))
        await _bury(connection, Kind.MESSAGE, ((id_, 0) for id_ in ids), self._now())
        return gone

    @erases
    async def forget_attachments(
        self, connection: AsyncConnection, message_id: int, attachment_ids: Collection[int]
    ) -> list[int]:
        """Deletes these attachments of one message; the same attachments in other messages stay.

        A link preview gets no tombstone: its id is made of its address, and Discord removes and adds previews itself.
        """
        gone: list[int] = []
        previews: set[int] = set()
        for some in chunks(attachment_ids):
            these = (images.c.message_id == message_id, images.c.attachment_id.in_(some))
            found = await connection.execute(
                delete(images).where(*these).returning(*images.c["id", "attachment_id", "source"])
            )
            rows = found.all()
            gone += [row.id for row in rows]
            previews |= {row.attachment_id for row in rows if row.source == Source.PREVIEW}
            previews -= {row.attachment_id for row in rows if row.source != Source.PREVIEW}
        stones = ((id_, message_id) for id_ in attachment_ids if id_ not in previews)
        await _bury(connection, Kind.ATTACHMENT, stones, self._now())
        return gone

    @erases
    async def forget_channel(self, connection: AsyncConnection, channel_id: int) -> list[int]:
        """Deletes everything of the channel and of every thread under it, archived ones included."""
        under = or_(channels.c.id == channel_id, channels.c.parent_id == channel_id)
        ids = {channel_id, *(await connection.execute(select(channels.c.id).where(under))).scalars()}
        gone: list[int] = []
        for some in chunks(ids):
            gone += await _delete_images(connection, images.c.channel_id.in_(some))
            await connection.execute(delete(channels).where(channels.c.id.in_(some)))
        await _bury(connection, Kind.CHANNEL, ((id_, 0) for id_ in ids), self._now())
        return gone

    @erases
    async def forget_guild(self, connection: AsyncConnection, guild_id: int) -> list[int]:
        """Deletes everything of the guild. `accept` ignores its images until `readmit_guild`."""
        gone = await _delete_images(connection, images.c.guild_id == guild_id)
        await connection.execute(delete(guilds).where(guilds.c.id == guild_id))
        await _bury(connection, Kind.GUILD, [(guild_id, 0)], self._now())
        return gone

    @erases
    async def forget_author(
        self, connection: AsyncConnection, guild_id: int, author_id: int, *, up_to_message: int | None = None
    ) -> list[int]:
        """Deletes all images of a member in a guild.

        up_to_message: `accept` ignores images in messages up to this id, known or not; by default in every message
        posted by now. Later messages are indexed.
        """
        gone = await _delete_images(connection, images.c.guild_id == guild_id, images.c.author_id == author_id)
        if await add_guild(connection, guild_id):
            cutoff = _last_message_by(self._now()) if up_to_message is None else up_to_message
            statement = insert(connection, author_cutoffs).values(
                guild_id=guild_id, author_id=author_id, up_to_message=cutoff
            )
            old, new = author_cutoffs.c.up_to_message, statement.excluded.up_to_message
            later = {"up_to_message": case((old > new, old), else_=new)}
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["guild_id", "author_id"], set_=later)
            )
        return gone

    @writes
    async def readmit_guild(self, connection: AsyncConnection, guild_id: int) -> None:
        """The bot was invited again: images posted from now on are accepted."""
        this = (tombstones.c.kind == Kind.GUILD, tombstones.c.id == guild_id, tombstones.c.scope == 0)
        await connection.execute(delete(tombstones).where(*this))


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The tombstones that concern some images.

    cutoffs: (guild, author) to the last message whose images are ignored.
    """

    buried: set[Key]
    cutoffs: dict[tuple[int, int], int]

    def cover(self, ref: ImageRef) -> bool:
        cutoff = self.cutoffs.get((ref.channel.guild_id, ref.author_id))
        return not self.buried.isdisjoint(_keys_of_image(ref)) or (cutoff is not None and ref.message_id <= cutoff)


async def tombstones_of(connection: AsyncConnection, refs: Sequence[ImageRef]) -> Tombstones:
    """Those of these images, their channels and their authors."""
    buried = await _buried(connection, {key for ref in refs for key in _keys_of_image(ref)})
    authors = {(ref.channel.guild_id, ref.author_id) for ref in refs}
    cutoffs: dict[tuple[int, int], int] = {}
    for some in chunks({author for _, author in authors}):
        these = author_cutoffs.c.guild_id.in_({guild for guild, _ in authors}), author_cutoffs.c.author_id.in_(some)
        rows = await connection.execute(select(author_cutoffs).where(*these))
        cutoffs.update({(row.guild_id, row.author_id): row.up_to_message for row in rows})
    return Tombstones(buried, cutoffs)


async def add_guild(connection: AsyncConnection, guild_id: int) -> bool:
    """Adds the guild's row if it is missing. False, and no row, when the guild was deleted."""
    if await _buried(connection, {(Kind.GUILD.value, guild_id, 0)}):
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


async def _bury(connection: AsyncConnection, kind: Kind, keys: Iterable[tuple[int, int]], now: datetime) -> None:
    """Writes a tombstone for each (id, scope), and deletes expired ones."""
    rows = [{"kind": kind, "id": id_, "scope": scope, "forgotten_at": now} for id_, scope in keys]
    if rows:
        statement = insert(connection, tombstones)
        renewed = {"forgotten_at": statement.excluded.forgotten_at}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["kind", "id", "scope"], set_=renewed), rows
        )
    await connection.execute(expired_tombstones(now))


async def _buried(connection: AsyncConnection, keys: Collection[Key]) -> set[Key]:
    """Those of these tombstones that exist."""
    found: set[Key] = set()
    for some in chunks({id_ for _, id_, _ in keys}):
        # Not by tuples, for which SQLite uses no index: other kinds with these ids are sorted out below.
        these = tombstones.c.kind.in_({kind for kind, _, _ in keys}), tombstones.c.id.in_(some)
        rows = await connection.execute(select(*tombstones.c["kind", "id", "scope"]).where(*these))
        found.update((row.kind, row.id, row.scope) for row in rows)
    return found.intersection(keys)


def _keys_of_channel(channel: ChannelRef) -> set[Key]:
    above = {(Kind.CHANNEL.value, channel.parent_id, 0)} if channel.parent_id is not None else set()
    return {(Kind.GUILD.value, channel.guild_id, 0), (Kind.CHANNEL.value, channel.channel_id, 0)} | above


def _keys_of_image(ref: ImageRef) -> set[Key]:
    message = (Kind.MESSAGE.value, ref.message_id, 0)
    return _keys_of_channel(ref.channel) | {message, (Kind.ATTACHMENT.value, ref.attachment_id, ref.message_id)}


def _last_message_by(moment: datetime) -> int:
    """The highest id that Discord can have assigned by then (developer docs, reference, "Snowflakes")."""
    return ((milliseconds(moment) - DISCORD_EPOCH_MS) << 22) | 0x3FFFFF
