"""ChannelStore: what a channel shows of new images' tags, and the newest message seen in it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, and_, func, select, update

from bot.models import ChannelRef, TaggingMode
from bot.store.database import Database
from bot.store.places import make_place
from bot.store.rows import chunks
from bot.store.tables import channels


class ChannelStore:
    """Every method may raise StoreBusy or StoreUnusable; then nothing of it was done. Forgotten places keep nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def announcement(self, place: ChannelRef) -> TaggingMode:
        """The channel's own setting, else that of the channel it hangs under, else silent."""
        return (await self.announcements([place]))[place]

    async def announcements(self, places: Collection[ChannelRef]) -> dict[ChannelRef, TaggingMode]:
        """As `announcement`, for a batch of places in one read."""
        asked = {id_ for place in places for id_ in (place.channel_id, place.parent_id) if id_ is not None}
        columns = select(*channels.c["id", "announcement"]).where(channels.c.announcement.is_not(None))

        def work(connection: Connection) -> dict[ChannelRef, TaggingMode]:
            chosen = {
                row.id: TaggingMode(row.announcement)
                for some in chunks(asked)
                for row in connection.execute(columns.where(channels.c.id.in_(some)))
            }
            inherited = {place: chosen.get(place.parent_id or 0, TaggingMode.SILENT) for place in places}
            return {place: chosen.get(place.channel_id, inherited[place]) for place in places}

        return await self._database.read(work)

    async def set_announcement(self, place: ChannelRef, announcement: TaggingMode) -> None:
        this = channels.c.id == place.channel_id

        def work(connection: Connection) -> None:
            if make_place(connection, place):
                connection.execute(update(channels).where(this).values(announcement=announcement))

        await self._database.write(work)

    async def last_seen(self, channel_id: int) -> int | None:
        """The newest message id marked in this channel; None where none was."""
        query = select(channels.c.last_seen).where(channels.c.id == channel_id)

        def work(connection: Connection) -> int | None:
            return connection.execute(query).scalar()

        return await self._database.read(work)

    async def mark_seen(self, place: ChannelRef, message_id: int) -> None:
        """Never moves back. A place that was forgotten, by its parent or server too, is not brought back."""
        older = and_(channels.c.id == place.channel_id, func.coalesce(channels.c.last_seen, 0) < message_id)

        def work(connection: Connection) -> None:
            if make_place(connection, place):
                connection.execute(update(channels).where(older).values(last_seen=message_id))

        await self._database.write(work)

    async def seen_channels(self, guild_id: int) -> dict[int, int]:
        """Channel and thread ids of this server, with the newest message id marked in each."""
        query = select(*channels.c["id", "last_seen"]).where(
            channels.c.guild_id == guild_id, channels.c.last_seen.is_not(None)
        )

        def work(connection: Connection) -> dict[int, int]:
            return {row.id: row.last_seen for row in connection.execute(query)}

        return await self._database.read(work)
