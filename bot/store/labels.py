"""LabelStore: the words a server tags with, where it has its own."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

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

        async def work(connection: AsyncConnection) -> bool:
            before = await _in_force(connection, guild_id, defaults)
            if any(_same(label, known) for known in before):
                return False
            return await _replace(connection, guild_id, [*before, label])

        return await self._database.write(work)

    async def remove(self, guild_id: int, label: str, defaults: Sequence[str] = ()) -> bool:
        """False when there is no such label, whatever its case."""

        async def work(connection: AsyncConnection) -> bool:
            before = await _in_force(connection, guild_id, defaults)
            after = [known for known in before if not _same(label, known)]
            return len(after) < len(before) and await _replace(connection, guild_id, after)

        return await self._database.write(work)

    async def reset(self, guild_id: int) -> None:
        """Back to the defaults."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(labels).where(labels.c.guild_id == guild_id))
            await connection.execute(update(guilds).where(guilds.c.id == guild_id).values(own_labels=0))

        await self._database.write(work)


def _same(label: str, other: str) -> bool:
    return label.casefold() == other.casefold()


async def _own(connection: AsyncConnection, guild_id: int) -> list[str] | None:
    own = (await connection.execute(select(guilds.c.own_labels).where(guilds.c.id == guild_id))).scalar()
    if not own:
        return None
    query = select(labels.c.label).where(labels.c.guild_id == guild_id).order_by(labels.c.position)
    return list((await connection.execute(query)).scalars())


async def _in_force(connection: AsyncConnection, guild_id: int, defaults: Sequence[str]) -> list[str]:
    own = await _own(connection, guild_id)
    return list(defaults) if own is None else own


async def _replace(connection: AsyncConnection, guild_id: int, after: Sequence[str]) -> bool:
    if not await make_guild(connection, guild_id):
        return False
    await connection.execute(update(guilds).where(guilds.c.id == guild_id).values(own_labels=1))
    await connection.execute(delete(labels).where(labels.c.guild_id == guild_id))
    rows = [{"guild_id": guild_id, "position": at, "label": label} for at, label in enumerate(after)]
    if rows:
        await connection.execute(insert(labels), rows)
    return True
