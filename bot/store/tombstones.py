"""Tombstones: what was forgotten, so that work under way at the time cannot bring it back.

Each function runs inside its caller's transaction: "check and insert" is one step, and so is "delete and remember".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Delete, delete, select
from sqlalchemy.dialects.sqlite import insert

from bot.models import ChannelRef, ImageRef
from bot.store.rows import chunks, milliseconds
from bot.store.tables import author_cutoffs, tombstones

# What is deleted in Discord is in no page of history fetched later, so a tombstone has to outlive only what was
# fetched before the deletion: minutes. A month is far beyond that, and keeps the table from growing for ever.
KEPT = timedelta(days=30)


class Kind(StrEnum):
    MESSAGE = "message"
    ATTACHMENT = "attachment"
    CHANNEL = "channel"
    GUILD = "guild"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The tombstones of some images. stones: (kind, id, scope); cutoffs: (guild, author) -> last message."""

    stones: frozenset[tuple[str, int, int]]
    cutoffs: dict[tuple[int, int], int]

    def covers_place(self, place: ChannelRef) -> bool:
        return any(key in self.stones for key in _place_keys(place))

    def covers(self, ref: ImageRef) -> bool:
        cutoff = self.cutoffs.get((ref.channel.guild_id, ref.author_id))
        return (
            self.covers_place(ref.channel)
            or (Kind.MESSAGE, ref.message_id, 0) in self.stones
            or (Kind.ATTACHMENT, ref.attachment_id, ref.message_id) in self.stones
            or (cutoff is not None and ref.message_id <= cutoff)
        )


def concerning(connection: Connection, refs: Sequence[ImageRef]) -> Forgotten:
    """What was forgotten of these images, their places and their authors."""
    wanted: dict[Kind, set[int]] = {
        Kind.GUILD: {ref.channel.guild_id for ref in refs},
        Kind.CHANNEL: {key[1] for ref in refs for key in _place_keys(ref.channel) if key[0] == Kind.CHANNEL},
        Kind.MESSAGE: {ref.message_id for ref in refs},
        Kind.ATTACHMENT: {ref.attachment_id for ref in refs},
    }
    return Forgotten(_stones(connection, wanted), _cutoffs(connection, refs))


def guild_is_forgotten(connection: Connection, guild_id: int) -> bool:
    return bool(_stones(connection, {Kind.GUILD: {guild_id}}))


def place_is_forgotten(connection: Connection, place: ChannelRef) -> bool:
    wanted = {Kind.GUILD: {place.guild_id}, Kind.CHANNEL: {key[1] for key in _place_keys(place)}}
    return Forgotten(_stones(connection, wanted), {}).covers_place(place)


def remember(connection: Connection, kind: Kind, keys: Iterable[tuple[int, int]], now: datetime) -> None:
    """Writes a tombstone for each (id, scope), and lets those go that have served their time."""
    at = milliseconds(now)
    rows = [{"kind": kind, "id": id_, "scope": scope, "forgotten_at": at} for id_, scope in keys]
    if rows:
        statement = insert(tombstones)
        renewed = {"forgotten_at": statement.excluded.forgotten_at}
        connection.execute(statement.on_conflict_do_update(index_elements=["kind", "id", "scope"], set_=renewed), rows)
    connection.execute(expired(now))


def expired(now: datetime) -> Delete:
    """The statement that deletes the tombstones which have served their time."""
    return delete(tombstones).where(tombstones.c.forgotten_at < milliseconds(now - KEPT))


def lift_guild(connection: Connection, guild_id: int) -> None:
    connection.execute(
        delete(tombstones).where(tombstones.c.kind == Kind.GUILD, tombstones.c.id == guild_id, tombstones.c.scope == 0)
    )


def _place_keys(place: ChannelRef) -> list[tuple[str, int, int]]:
    keys = [(Kind.GUILD.value, place.guild_id, 0), (Kind.CHANNEL.value, place.channel_id, 0)]
    return keys if place.parent_id is None else [*keys, (Kind.CHANNEL.value, place.parent_id, 0)]


def _stones(connection: Connection, wanted: dict[Kind, set[int]]) -> frozenset[tuple[str, int, int]]:
    found: set[tuple[str, int, int]] = set()
    for kind, ids in wanted.items():
        for some in chunks(ids):
            query = select(*tombstones.c["kind", "id", "scope"])
            rows = connection.execute(query.where(tombstones.c.kind == kind, tombstones.c.id.in_(some)))
            found.update((row.kind, row.id, row.scope) for row in rows)
    return frozenset(found)


def _cutoffs(connection: Connection, refs: Sequence[ImageRef]) -> dict[tuple[int, int], int]:
    authors: dict[int, set[int]] = {}
    for ref in refs:
        authors.setdefault(ref.channel.guild_id, set()).add(ref.author_id)
    found: dict[tuple[int, int], int] = {}
    for guild_id, ids in authors.items():
        for some in chunks(ids):
            query = select(author_cutoffs).where(
                author_cutoffs.c.guild_id == guild_id, author_cutoffs.c.author_id.in_(some)
            )
            found.update({(guild_id, row.author_id): row.up_to_message for row in connection.execute(query)})
    return found
