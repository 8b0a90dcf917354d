"""What is kept of a member, as that member may see it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import Image
from bot.store.database import Store, reads
from bot.store.images import read_images, select_images
from bot.store.schema import guilds, images, opt_outs


@dataclass(frozen=True, slots=True)
class Kept:
    """here: how many of a member's images are kept in one guild; everywhere: in all. opted_out: none are, at their
    own request.
    """

    here: int
    everywhere: int
    opted_out: bool


class MemberStore(Store):
    @reads
    async def kept(self, connection: AsyncConnection, guild_id: int, author_id: int) -> Kept:
        query = select(images.c.guild_id, func.count()).where(*_posted_by(author_id)).group_by(images.c.guild_id)
        counts = {id_: count for id_, count in await connection.execute(query)}
        this = opt_outs.c.author_id == author_id, opt_outs.c.until.is_(None)
        opted_out = (await connection.execute(select(opt_outs.c.author_id).where(*this))).first() is not None
        return Kept(counts.get(guild_id, 0), sum(counts.values()), opted_out)

    @reads
    async def images_of(
        self, connection: AsyncConnection, author_id: int, *, after: int = 0, limit: int = 1_000
    ) -> list[Image]:
        """A member's images in all guilds, in any state, by rising id. after: the last id of the previous page."""
        query = select_images().where(*_posted_by(author_id), images.c.id > after).order_by(images.c.id).limit(limit)
        return await read_images(connection, query)


def _posted_by(author_id: int) -> tuple[ColumnElement[bool], ...]:
    """Found by the index, whose first column is the guild."""
    return images.c.guild_id.in_(select(guilds.c.id)), images.c.author_id == author_id
