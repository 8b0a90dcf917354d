"""What a guild and its channels choose about notices of reposts."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import REPOST_DAYS, ChannelRef, RepostNotice, RepostRules
from bot.store.backend import any_of, insert
from bot.store.database import Store, reads, writes
from bot.store.deletion import KINDS, add_channel, add_guild
from bot.store.schema import channels, images, repost_exemptions

_CHOSEN = channels.c["id", "parent_id", "thread", "repost_notice", "repost_days"]


class RepostStore(Store):
    """Deleted channels and guilds keep nothing of it."""

    @reads
    async def rules_of(self, connection: AsyncConnection, channel: ChannelRef) -> RepostRules:
        """The channel's own, else its parent's, else none: it is told of no reposts."""
        ids = channel.channel_id, channel.parent_id
        query = select(*_CHOSEN).where(channels.c.id.in_(ids), channels.c.repost_notice.is_not(None))
        found = {row.id: _rules(row.repost_notice, row.repost_days) for row in await connection.execute(query)}
        return found.get(ids[0]) or found.get(ids[1] or 0) or RepostRules()

    @writes
    async def set_rules(self, connection: AsyncConnection, channel: ChannelRef, rules: RepostRules) -> None:
        if await add_channel(connection, channel):
            this = update(channels).where(channels.c.id == channel.channel_id)
            await connection.execute(this.values(repost_notice=rules.notice, repost_days=rules.days))

    @reads
    async def chosen(self, connection: AsyncConnection, guild_id: int) -> dict[ChannelRef, RepostRules]:
        """The channels and threads of this guild that have rules of their own."""
        query = select(*_CHOSEN).where(channels.c.guild_id == guild_id, channels.c.repost_notice.is_not(None))
        return {
            ChannelRef(guild_id, row.id, row.parent_id, KINDS[row.thread]): _rules(row.repost_notice, row.repost_days)
            for row in await connection.execute(query.order_by(channels.c.id))
        }

    @reads
    async def exempt_roles(self, connection: AsyncConnection, guild_id: int) -> frozenset[int]:
        query = select(repost_exemptions.c.role_id).where(repost_exemptions.c.guild_id == guild_id)
        return frozenset((await connection.execute(query)).scalars())

    @writes
    async def set_exempt(self, connection: AsyncConnection, guild_id: int, role_id: int, *, exempt: bool) -> None:
        if not exempt:
            this = repost_exemptions.c.guild_id == guild_id, repost_exemptions.c.role_id == role_id
            await connection.execute(delete(repost_exemptions).where(*this))
        elif await add_guild(connection, guild_id):
            row = insert(connection, repost_exemptions).values(guild_id=guild_id, role_id=role_id)
            await connection.execute(row.on_conflict_do_nothing())

    @writes
    async def allow(self, connection: AsyncConnection, image_ids: Collection[int]) -> None:
        """No notice is wanted of reposts of these images."""
        await connection.execute(update(images).where(images.c.id.in_(any_of(image_ids))).values(reposts_allowed=True))


def _rules(notice: str, days: int | None) -> RepostRules:
    return RepostRules(RepostNotice(notice), days or REPOST_DAYS)
