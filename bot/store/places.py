"""Rows for servers and channels: made when something hangs under them, and never for what was forgotten."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert

from bot.models import ChannelRef
from bot.store import tombstones
from bot.store.tables import channels, guilds


def make_guild(connection: Connection, guild_id: int) -> bool:
    """Makes the server's row where missing. False, and no row, when the server was forgotten."""
    if tombstones.guild_is_forgotten(connection, guild_id):
        return False
    connection.execute(insert(guilds).values(id=guild_id).on_conflict_do_nothing())
    return True


def make_place(connection: Connection, place: ChannelRef) -> bool:
    """Makes the channel's row, parent and kind included. False, and no row, when the place was forgotten."""
    if tombstones.place_is_forgotten(connection, place):
        return False
    make_places(connection, [place])
    return True


def make_places(connection: Connection, places: Collection[ChannelRef]) -> None:
    """Rows for places that the caller knows are not forgotten; a channel's parent and kind are brought up to date."""
    ids = {place.guild_id for place in places}
    connection.execute(insert(guilds).on_conflict_do_nothing(), [{"id": id_} for id_ in ids])
    statement = insert(channels)
    known = {"parent_id": statement.excluded.parent_id, "thread": statement.excluded.thread}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_=known),
        [
            {"id": place.channel_id, "guild_id": place.guild_id, "parent_id": place.parent_id, "thread": place.thread}
            for place in places
        ],
    )
