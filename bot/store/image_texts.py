"""ImageTextStore: the words that were recognized in images, and which images are yet to be read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, literal, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.image_texts import is_searchable, stands_in
from bot.models import Image, ImageState
from bot.store.backend import any_of, insert
from bot.store.database import Store, erases, reads, writes
from bot.store.deletion import add_guild
from bot.store.filters import Ids, is_verified
from bot.store.images import queue_unread, read_images, select_images
from bot.store.schema import channels, guilds, image_texts, images, unread_images

WINDOW = 5_000
"""Ids of images that one transaction looks at, to queue those of one guild."""
CANDIDATES = 1_000
"""Images whose texts have the letters that were asked for, of which those are found where they stand as words."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An image to read. attempts: those that failed. text: that of the same file in its guild, where one was read."""

    image: Image
    attempts: int
    text: str | None


class ImageTextStore(Store):
    @erases
    async def set_reading(self, connection: AsyncConnection, guild_id: int, on: bool) -> None:
        """Whether the words in a guild's images are recognized. off: deletes those that were."""
        if not await add_guild(connection, guild_id):
            return
        newest = select(func.coalesce(func.max(images.c.id), 0)).scalar_subquery() if on else literal(-1)
        values = {"reads_text": on, "unread_before": newest + 1}
        this = guilds.c.id == guild_id, guilds.c.reads_text != on
        changed = await connection.execute(update(guilds).where(*this).values(values))
        if changed.rowcount and not on:
            its = select(channels.c.id).where(channels.c.guild_id == guild_id)
            await connection.execute(delete(image_texts).where(image_texts.c.channel_id.in_(its)))
            await connection.execute(delete(unread_images).where(unread_images.c.guild_id == guild_id))

    @reads
    async def is_reading(self, connection: AsyncConnection, guild_id: int) -> bool:
        return bool(await connection.scalar(select(guilds.c.reads_text).where(guilds.c.id == guild_id)))

    @reads
    async def guilds_to_read(self, connection: AsyncConnection, now: datetime) -> list[int]:
        """Those with images to read now, or yet to be queued."""
        due = exists().where(unread_images.c.guild_id == guilds.c.id, unread_images.c.next_attempt <= now)
        query = select(guilds.c.id).where(guilds.c.reads_text == true(), or_(guilds.c.unread_before > 0, due))
        return list((await connection.execute(query)).scalars())

    @writes
    async def queue_earlier(self, connection: AsyncConnection, guild_id: int) -> None:
        """Queues some of the images that were there before the guild wanted the words in them, the newest first."""
        before = await connection.scalar(select(guilds.c.unread_before).where(guilds.c.id == guild_id)) or 0
        begin = max(0, before - WINDOW)
        # + 0: else SQLite may go through all images of the guild.
        its = images.c.id >= begin, images.c.id < before, images.c.guild_id + 0 == guild_id
        ids = (await connection.execute(select(images.c.id).where(*its))).scalars().all()
        await queue_unread(connection, ids, self._now())
        await connection.execute(update(guilds).where(guilds.c.id == guild_id).values(unread_before=begin))

    @reads
    async def next_unread(self, connection: AsyncConnection, guild_id: int, now: datetime) -> Unread | None:
        """The newest image of a guild that is to be read now."""
        due = unread_images.c.guild_id == guild_id, unread_images.c.next_attempt <= now
        query = select(unread_images).where(*due).order_by(unread_images.c.image_id.desc()).limit(1)
        row = (await connection.execute(query)).first()
        if row is None:
            return None
        [image] = await read_images(connection, select_images().where(images.c.id == row.image_id))
        same = images.c.content_hash == image.content_hash, images.c.guild_id == guild_id
        text = select(image_texts.c.text).join(images, images.c.id == image_texts.c.image_id).where(*same).limit(1)
        return Unread(image, row.attempts, await connection.scalar(text))

    @writes
    async def save(self, connection: AsyncConnection, image_id: int, text: str) -> None:
        """The folded words in an image, unless it was deleted, or its guild does not want it any more."""
        row = select(images.c.channel_id, images.c.id, literal(text)).join(guilds, guilds.c.id == images.c.guild_id)
        row = row.where(images.c.id == image_id, guilds.c.reads_text == true())
        columns = ["channel_id", "image_id", "text"]
        await connection.execute(insert(connection, image_texts).from_select(columns, row).on_conflict_do_nothing())
        await connection.execute(delete(unread_images).where(unread_images.c.image_id == image_id))

    @writes
    async def postpone(self, connection: AsyncConnection, image_id: int, next_attempt: datetime) -> None:
        """The attempt failed."""
        values = {"attempts": unread_images.c.attempts + 1, "next_attempt": next_attempt}
        await connection.execute(update(unread_images).where(unread_images.c.image_id == image_id).values(values))

    @reads
    async def find(
        self,
        connection: AsyncConnection,
        channel_ids: Collection[int],
        words: str,
        limit: int,
        only: Ids | None = None,
    ) -> list[int]:
        """The images of these channels that may be found and in which these folded words stand: first those in which
        the fewest others do, then the newest. only: ids to choose from.
        """
        if not is_searchable(words):
            return []
        conditions: list[ColumnElement[bool]] = [
            image_texts.c.channel_id.in_(any_of(channel_ids)),
            func.instr(image_texts.c.text, words) > 0,
            exists().where(images.c.id == image_texts.c.image_id, images.c.state + "" == ImageState.READY),
            is_verified(image_texts.c.image_id),
        ]
        if only is not None:
            conditions.append(image_texts.c.image_id.in_(any_of(only.tolist())))
        query = select(image_texts.c.image_id, image_texts.c.text).where(*conditions)
        query = query.order_by(func.length(image_texts.c.text), image_texts.c.image_id.desc()).limit(CANDIDATES)
        rows = await connection.execute(query)
        return [row.image_id for row in rows if stands_in(row.text, words)][:limit]

    @reads
    async def count(self, connection: AsyncConnection, guild_id: int) -> int:
        """How many images of a guild have been read, those without any words included."""
        its = select(channels.c.id).where(channels.c.guild_id == guild_id)
        query = select(func.count()).select_from(image_texts).where(image_texts.c.channel_id.in_(its))
        return int((await connection.execute(query)).scalar_one())

    @reads
    async def of_images(self, connection: AsyncConnection, ids: Collection[int]) -> dict[int, str]:
        """The words that are kept of these images, where there are any."""
        these = image_texts.c.image_id.in_(any_of(ids)), image_texts.c.text != ""
        query = select(image_texts.c.image_id, image_texts.c.text).where(*these)
        return {row.image_id: row.text for row in await connection.execute(query)}
