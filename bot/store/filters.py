"""FilterQueries: which images a question is about, by what the store knows of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.label_names import label_key
from bot.models import ImageFilter, ImageState, Sort
from bot.store.backend import any_of, joined
from bot.store.database import Store, reads
from bot.store.schema import images, tags, unverified

Ids = npt.NDArray[np.int64]


class FilterQueries(Store):
    """Images that are searchable: ready, and not waiting to be compared with Discord after a restore."""

    async def matching(self, guild_id: int, channel_ids: Collection[int], wanted: ImageFilter) -> Ids:
        """The ids of the images of these channels that the filter leaves. They may be a million."""
        text = await self._matching(guild_id, channel_ids, wanted)
        return await asyncio.to_thread(np.fromstring, text, np.int64, sep=",")

    @reads
    async def _matching(
        self, connection: AsyncConnection, guild_id: int, channel_ids: Collection[int], wanted: ImageFilter
    ) -> str:
        query = select(joined(images.c.id)).where(*_conditions(guild_id, channel_ids, wanted))
        return await connection.scalar(query) or ""

    @reads
    async def listed(
        self,
        connection: AsyncConnection,
        guild_id: int,
        channel_ids: Collection[int],
        wanted: ImageFilter,
        sort: Sort,
        limit: int,
    ) -> list[int]:
        """The ids of the images of these channels that the filter leaves, the newest first, or the oldest."""
        query = select(images.c.id).where(*_conditions(guild_id, channel_ids, wanted))
        return list((await connection.execute(_by_time(query, sort).limit(limit))).scalars())

    @reads
    async def in_order_of_time(self, connection: AsyncConnection, ids: Sequence[int], sort: Sort) -> list[int]:
        """Those of these images that exist, the newest first, or the oldest."""
        query = _by_time(select(images.c.id).where(images.c.id.in_(any_of(ids))), sort)
        return list((await connection.execute(query)).scalars())

    @reads
    async def posts(
        self, connection: AsyncConnection, content_hashes: Collection[str], channel_ids: Collection[int]
    ) -> dict[str, int]:
        """How often each of these files was posted in these channels."""
        these = images.c.content_hash.in_([*content_hashes]), images.c.channel_id.in_(any_of(channel_ids))
        columns = images.c.content_hash, func.count()
        query = select(*columns).where(*these, _is_ready(), is_verified()).group_by(images.c.content_hash)
        return {content: count for content, count in await connection.execute(query)}


def _conditions(guild_id: int, channel_ids: Collection[int], wanted: ImageFilter) -> list[ColumnElement[bool]]:
    """They find the rows by the index that leaves the fewest: of the images with a tag, of an author's, or of those of
    the channels by message.
    """
    channels = any_of(channel_ids)
    conditions = [
        images.c.message_id >= wanted.after,
        images.c.message_id < wanted.before,
        is_verified(),
    ]
    if wanted.label is not None:
        tagged = select(tags.c.image_id).where(tags.c.channel_id.in_(channels), tags.c.key == label_key(wanted.label))
        conditions += [images.c.id.in_(tagged), _is_ready()]
    else:
        conditions += [images.c.channel_id.in_(channels), images.c.state == ImageState.READY]
    if wanted.author_id is not None:
        conditions += [images.c.guild_id == guild_id, images.c.author_id == wanted.author_id]
    return conditions


def _is_ready() -> ColumnElement[bool]:
    # + '': else SQLite may go through all ready images.
    return images.c.state + "" == ImageState.READY


def is_verified(image_id: ColumnElement[int] = images.c.id) -> ColumnElement[bool]:
    return ~exists().where(unverified.c.image_id == image_id)


def _by_time(query: Select[int], sort: Sort) -> Select[int]:
    """Of one message's images, the first of it first."""
    oldest = sort is Sort.OLDEST
    return query.order_by(images.c.message_id if oldest else images.c.message_id.desc(), images.c.id)
