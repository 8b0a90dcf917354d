"""ReplyStore: which messages of the bot itself describe which images, so that they go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from bot.models import ChannelRef
from bot.store.database import Database
from bot.store.places import make_place
from bot.store.tables import images, replies


@dataclass(frozen=True, slots=True)
class Reply:
    """A message of the bot's own, in a channel that everybody there can read."""

    channel_id: int
    message_id: int


class ReplyStore:
    """Every method may raise StoreBusy or StoreUnusable; then nothing of it was done. Forgotten places keep nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, place: ChannelRef, message_id: int, image_ids: Sequence[int]) -> None:
        """This message, just sent, describes these images. One forgotten since makes it an orphan at once."""

        def work(connection: Connection) -> None:
            if not image_ids or not make_place(connection, place):
                return
            query = select(images.c.id).where(images.c.id.in_(image_ids))
            there = set(connection.execute(query).scalars())
            rows = [{"position": at, "image_id": id_ if id_ in there else None} for at, id_ in enumerate(image_ids)]
            message = {"message_id": message_id, "channel_id": place.channel_id}
            connection.execute(insert(replies).on_conflict_do_nothing(), [{**message, **row} for row in rows])

        await self._database.write(work)

    async def orphans(self, limit: int, after: int = 0) -> list[Reply]:
        """Messages that describe an image no longer remembered, by rising id. after: the last id of the page before.

        The database itself takes the image out of the row, by its foreign key: no way of forgetting can miss one.
        """
        query = (
            select(*replies.c["channel_id", "message_id"])
            .distinct()
            .where(replies.c.image_id.is_(None), replies.c.message_id > after)
            .order_by(replies.c.message_id)
            .limit(limit)
        )

        def work(connection: Connection) -> list[Reply]:
            return [Reply(row.channel_id, row.message_id) for row in connection.execute(query)]

        return await self._database.read(work)

    async def drop(self, message_id: int) -> None:
        """The message is gone, or out of reach for good."""
        statement = delete(replies).where(replies.c.message_id == message_id)

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work, erases=True)
