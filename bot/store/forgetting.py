"""Forgetting, as steps inside a transaction: rows go and tombstones come together. Each gives the deleted ids."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from bot.models import DISCORD_EPOCH_MS, Source
from bot.store import tombstones
from bot.store.places import make_guild
from bot.store.rows import chunks, milliseconds
from bot.store.tables import author_cutoffs, channels, guilds, images, replies
from bot.store.tombstones import Kind


def forget_messages(connection: Connection, ids: Collection[int], now: datetime) -> list[int]:
    """Whoever wrote them: a message of the bot's own is only known by the images that it describes."""
    gone: list[int] = []
    for some in chunks(ids):
        gone += _delete(connection, images.c.message_id.in_(some))
        connection.execute(delete(replies).where(replies.c.message_id.in_(some)))
    tombstones.remember(connection, Kind.MESSAGE, ((id_, 0) for id_ in ids), now)
    return gone


def forget_attachments(connection: Connection, message_id: int, ids: Collection[int], now: datetime) -> list[int]:
    """No tombstone for a link preview: its id is made of its address, and Discord itself takes previews off and on."""
    gone: list[int] = []
    sources: dict[int, set[str]] = {}
    for some in chunks(ids):
        these = (images.c.message_id == message_id, images.c.attachment_id.in_(some))
        for row in connection.execute(select(*images.c["attachment_id", "source"]).where(*these)):
            sources.setdefault(row.attachment_id, set()).add(row.source)
        gone += _delete(connection, *these)
    stones = ((id_, message_id) for id_ in ids if sources.get(id_) != {Source.PREVIEW})
    tombstones.remember(connection, Kind.ATTACHMENT, stones, now)
    return gone


def forget_channel(connection: Connection, channel_id: int, now: datetime) -> list[int]:
    """The channel and every thread under it, archived ones included."""
    under = connection.execute(
        select(channels.c.id).where(or_(channels.c.id == channel_id, channels.c.parent_id == channel_id))
    )
    places = {channel_id, *under.scalars()}
    gone: list[int] = []
    for some in chunks(places):
        gone += _delete(connection, images.c.channel_id.in_(some))
        connection.execute(delete(channels).where(channels.c.id.in_(some)))
    tombstones.remember(connection, Kind.CHANNEL, ((id_, 0) for id_ in places), now)
    return gone


def forget_guild(connection: Connection, guild_id: int, now: datetime) -> list[int]:
    gone = _delete(connection, images.c.guild_id == guild_id)
    connection.execute(delete(guilds).where(guilds.c.id == guild_id))
    tombstones.remember(connection, Kind.GUILD, [(guild_id, 0)], now)
    return gone


def forget_author(connection: Connection, guild_id: int, author_id: int, up_to_message: int) -> list[int]:
    gone = _delete(connection, images.c.guild_id == guild_id, images.c.author_id == author_id)
    if make_guild(connection, guild_id):
        statement = insert(author_cutoffs).values(guild_id=guild_id, author_id=author_id, up_to_message=up_to_message)
        later = func.max(author_cutoffs.c.up_to_message, statement.excluded.up_to_message)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["guild_id", "author_id"], set_={"up_to_message": later})
        )
    return gone


def last_message_of(moment: datetime) -> int:
    """The highest id that Discord can have given out by then (developer docs, reference, "Snowflakes")."""
    return ((milliseconds(moment) - DISCORD_EPOCH_MS) << 22) | 0x3FFFFF


def _delete(connection: Connection, *conditions: ColumnElement[bool]) -> list[int]:
    return list(connection.execute(delete(images).where(*conditions).returning(images.c.id)).scalars())
