"""LabelStore: the words a server tags with, where it has its own."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from bot.store.database import Database
from bot.store.places import make_guild
from bot.store.tables import guilds, labels


class LabelStore:
    """A server without labels of its own uses the defaults, which the store does not know: callers that change a set
    name them, so that the first change starts from what was in force.

    Every method may raise StoreBusy or StoreUnusable; then nothing of it was done.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def labels(self, guild_id: int) -> list[str] | None:
        """The server's own labels in the order added, possibly none at all; None: the defaults are in force."""
        return await self._database.read(lambda connection: _own(connection, guild_id))

    async def add(self, guild_id: int, label: str, defaults: Sequence[str] = ()) -> bool:
        """False when the label is there already, whatever its case."""

        def work(connection: Connection) -> bool:
            before = _in_force(connection, guild_id, defaults)
            if any(_same(label, known) for known in before):
                return False
            return _replace(connection, guild_id, [*before, label])

        return await self._database.write(work)

    async def remove(self, guild_id: int, label: str, defaults: Sequence[str] = ()) -> bool:
        """False when there is no such label, whatever its case."""

        def work(connection: Connection) -> bool:
            before = _in_force(connection, guild_id, defaults)
            after = [known for known in before if not _same(label, known)]
            return len(after) < len(before) and _replace(connection, guild_id, after)

        return await self._database.write(work)

    async def reset(self, guild_id: int) -> None:
        """Back to the defaults."""

        def work(connection: Connection) -> None:
            connection.execute(delete(labels).where(labels.c.guild_id == guild_id))
            connection.execute(update(guilds).where(guilds.c.id == guild_id).values(own_labels=0))

        await self._database.write(work)


def _same(label: str, other: str) -> bool:
    return label.casefold() == other.casefold()


def _own(connection: Connection, guild_id: int) -> list[str] | None:
    own = connection.execute(select(guilds.c.own_labels).where(guilds.c.id == guild_id)).scalar()
    if not own:
        return None
    query = select(labels.c.label).where(labels.c.guild_id == guild_id).order_by(labels.c.position)
    return list(connection.execute(query).scalars())


def _in_force(connection: Connection, guild_id: int, defaults: Sequence[str]) -> list[str]:
    own = _own(connection, guild_id)
    return list(defaults) if own is None else own


def _replace(connection: Connection, guild_id: int, after: Sequence[str]) -> bool:
    if not make_guild(connection, guild_id):
        return False
    connection.execute(update(guilds).where(guilds.c.id == guild_id).values(own_labels=1))
    connection.execute(delete(labels).where(labels.c.guild_id == guild_id))
    rows = [{"guild_id": guild_id, "position": at, "label": label} for at, label in enumerate(after)]
    if rows:
        connection.execute(insert(labels), rows)
    return True
