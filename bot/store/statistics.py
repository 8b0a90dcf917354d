"""StatisticsStore: how many images there are, by channel, state and time; each question is answered from an index."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Result, Select, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import DISCORD_EPOCH_MS, NEWEST, ChannelRef, ImageState, last_message_by
from bot.store.backend import any_of
from bot.store.database import Store, reads
from bot.store.deletion import KINDS
from bot.store.schema import channels, images, unverified

_STATES = images.c.state.in_([*ImageState])  # so that the index of channel, state and message is used
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class ChannelCount:
    """How many images of one channel or thread are searchable, wait, or were given up."""

    channel: ChannelRef
    ready: int = 0
    pending: int = 0
    parked: int = 0


class StatisticsStore(Store):
    @reads
    async def by_channel(self, connection: AsyncConnection, guild_id: int) -> list[ChannelCount]:
        """The channels and threads of this guild that have any image."""
        columns = *channels.c["id", "parent_id", "thread"], images.c.state
        query = select(*columns, func.count().label("images")).join_from(
            channels, images, images.c.channel_id == channels.c.id
        )
        query = query.where(channels.c.guild_id == guild_id).group_by(*columns)
        # A large guild has tens of thousands of threads: building their rows here would stop the event loop.
        return await asyncio.to_thread(_counts_of, guild_id, await connection.execute(query))

    @reads
    async def reasons(self, connection: AsyncConnection, guild_id: int) -> dict[str, int]:
        """Why images of this guild were given up, and how many."""
        reason = func.coalesce(images.c.reason, "")
        parked = images.c.state == text("'parked'")  # the words of the partial index, without which it is not used
        query = select(reason.label("why"), func.count().label("images")).where(images.c.guild_id == guild_id, parked)
        return {row.why: row.images for row in await connection.execute(query.group_by(images.c.reason))}

    @reads
    async def by_day(self, connection: AsyncConnection, channel_ids: Collection[int]) -> dict[int, int]:
        """How many searchable images were posted each day in these channels, by days since 1970."""
        day = (images.c.message_id.bitwise_rshift(22) + DISCORD_EPOCH_MS) // _DAY_MS
        these = images.c.channel_id.in_(any_of(channel_ids)), images.c.state == ImageState.READY
        query = select(day.label("day"), func.count().label("images")).where(*these).group_by(day)
        return {row.day: row.images for row in await connection.execute(query)}

    @reads
    async def up_to(
        self, connection: AsyncConnection, guild_id: int, channel_ids: Collection[int] = (), up_to_message: int = NEWEST
    ) -> int:
        """How many images these channels and their threads have, by default all of the guild, in any state, in messages
        up to this one.
        """
        places = select(channels.c.id).where(channels.c.guild_id == guild_id)
        if channel_ids:
            ids = any_of(channel_ids)
            places = places.where(or_(channels.c.id.in_(ids), channels.c.parent_id.in_(ids)))
        return await _count(connection, places, up_to_message)

    @reads
    async def older_than(self, connection: AsyncConnection, guild_id: int, channel_id: int | None, days: int) -> int:
        """How many images of a channel and its threads are older; without a channel, of all channels of the guild that
        have not chosen how long theirs are kept.
        """
        root = func.coalesce(channels.c.parent_id, channels.c.id)
        places = select(channels.c.id).where(channels.c.guild_id == guild_id)
        if channel_id is None:
            own = select(channels.c.id).where(channels.c.guild_id == guild_id, channels.c.retention_days.is_not(None))
            places = places.where(root.not_in(own))
        else:
            places = places.where(root == channel_id)
        return await _count(connection, places, last_message_by(self._now() - timedelta(days=days)))

    @reads
    async def of_author(self, connection: AsyncConnection, guild_id: int, author_id: int) -> int:
        theirs = images.c.guild_id == guild_id, images.c.author_id == author_id
        return int((await connection.execute(select(func.count()).select_from(images).where(*theirs))).scalar_one())

    @reads
    async def unverified(self, connection: AsyncConnection, guild_id: int) -> int:
        """How many images of a restored backup are yet to be found in Discord again."""
        places = select(channels.c.id).where(channels.c.guild_id == guild_id)
        query = select(func.count()).select_from(unverified).where(unverified.c.channel_id.in_(places))
        return int((await connection.execute(query)).scalar_one())


async def _count(connection: AsyncConnection, places: Select[int], up_to_message: int) -> int:
    these = images.c.channel_id.in_(places), _STATES, images.c.message_id <= up_to_message
    return int((await connection.execute(select(func.count()).select_from(images).where(*these))).scalar_one())


def _counts_of(guild_id: int, rows: Result[int, int | None, str, str, int]) -> list[ChannelCount]:
    found: dict[int, dict[str, int]] = {}
    refs: dict[int, ChannelRef] = {}
    for id_, parent_id, thread, state, count in rows:
        refs[id_] = ChannelRef(guild_id, id_, parent_id, KINDS[thread])
        found.setdefault(id_, {})[state] = count
    return [ChannelCount(refs[id_], **by_state) for id_, by_state in found.items()]
