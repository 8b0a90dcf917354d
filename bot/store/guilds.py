"""Channels' tagging modes and watermarks, and the bot's public replies."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import ChannelRef, PublicReply, TaggingMode
from bot.store.backend import any_of, insert
from bot.store.database import Store, erases, reads, writes
from bot.store.deletion import KINDS, Kind, add_channel, read_channels
from bot.store.retagging import request_retagging
from bot.store.schema import channels, images, replies, tombstones


class ChannelStore(Store):
    """Channels' tagging modes, and the newest message that was indexed in each. Deleted channels keep neither."""

    @reads
    async def tagging_mode(self, connection: AsyncConnection, channel: ChannelRef) -> TaggingMode:
        """The channel's own mode, else its parent's, else silent."""
        return await _tagging_mode(connection, channel)

    @writes
    async def set_tagging_mode(self, connection: AsyncConnection, channel: ChannelRef, mode: TaggingMode) -> None:
        """Where images were not tagged until now, those posted meanwhile are tagged, too."""
        before = await _tagging_mode(connection, channel)
        if await add_channel(connection, channel):
            this = channels.c.id == channel.channel_id
            await connection.execute(update(channels).where(this).values(tagging_mode=mode))
            if before is TaggingMode.OFF and mode is not TaggingMode.OFF:
                await request_retagging(connection, channel.guild_id)

    @reads
    async def tagging_modes(self, connection: AsyncConnection, guild_id: int) -> dict[ChannelRef, TaggingMode]:
        """The channels and threads of this guild that have a mode of their own."""
        query = select(*channels.c["id", "parent_id", "thread", "tagging_mode"]).order_by(channels.c.id)
        query = query.where(channels.c.guild_id == guild_id, channels.c.tagging_mode.is_not(None))
        return {
            ChannelRef(guild_id, row.id, row.parent_id, KINDS[row.thread]): TaggingMode(row.tagging_mode)
            for row in await connection.execute(query)
        }

    @reads
    async def last_seen(self, connection: AsyncConnection, channel_id: int) -> int | None:
        """The channel's watermark: the newest message id that was marked as seen; None if none was."""
        query = select(channels.c.last_seen).where(channels.c.id == channel_id)
        found: int | None = (await connection.execute(query)).scalar()
        return found

    @writes
    async def mark_seen(self, connection: AsyncConnection, channel: ChannelRef, message_id: int) -> None:
        """Raises the channel's watermark; never lowers it. The first one is kept, too."""
        if await add_channel(connection, channel):
            older = func.coalesce(channels.c.last_seen, 0) < message_id
            this = update(channels).where(channels.c.id == channel.channel_id, older)
            first = func.coalesce(channels.c.first_seen, message_id)
            await connection.execute(this.values(last_seen=message_id, first_seen=first))

    @reads
    async def seen_channels(self, connection: AsyncConnection, guild_id: int) -> dict[int, int]:
        """The watermarks of this guild's channels and threads, by id."""
        query = select(*channels.c["id", "last_seen"])
        query = query.where(channels.c.guild_id == guild_id, channels.c.last_seen.is_not(None))
        rows = await connection.execute(query)
        return await asyncio.to_thread(lambda: {row.id: row.last_seen for row in rows})

    @reads
    async def active_channels(self, connection: AsyncConnection, guild_id: int, since: int) -> list[ChannelRef]:
        """The channels and threads of this guild with anything that a deletion would concern, an image in any state or
        a public reply, and those whose watermark is above this message id.
        """
        image = exists().where(images.c.channel_id == channels.c.id)
        reply = exists().where(replies.c.channel_id == channels.c.id)
        return await read_channels(connection, guild_id, (channels.c.last_seen > since) | image | reply)


@dataclass(frozen=True, slots=True)
class Reply:
    """A public message by the bot that describes images."""

    channel_id: int
    message_id: int


NO_IMAGE = 0  # no image's id: a reply about it is an orphan


class ReplyStore(Store):
    """The bot's public replies, so that they can be deleted with the images that they describe."""

    @writes
    async def remember(
        self,
        connection: AsyncConnection,
        channel: ChannelRef,
        message_id: int,
        image_ids: Sequence[int],
        *,
        besides: bool = False,
    ) -> None:
        """This reply describes these images; besides: and what it was remembered for before. If one was deleted
        meanwhile, the reply is an orphan at once, and one that is an orphan stays one.
        """
        if not image_ids or not await add_channel(connection, channel):
            return
        first = 0
        if besides:
            query = select(*replies.c["position", "image_id"]).where(replies.c.message_id == message_id)
            noted = {row.position: row.image_id for row in await connection.execute(query)}
            image_ids = [id_ for id_ in image_ids if id_ not in noted.values()]
            first = max(noted, default=-1) + 1
        await _add_reply(connection, channel, message_id, image_ids, first)

    @writes
    async def find(self, connection: AsyncConnection, channel: ChannelRef, found: Mapping[int, PublicReply]) -> None:
        """Remembers those of these replies, by message id, that `remember` was not called for.

        One that describes the images of a message is an orphan at once if any of them may have been deleted.
        """
        query = select(replies.c.message_id).where(replies.c.message_id.in_(any_of(found)))
        unknown = found.keys() - set((await connection.execute(query)).scalars())
        if not unknown or not await add_channel(connection, channel):
            return
        for message_id in unknown:
            reply = found[message_id]
            shown: Sequence[int] = reply.shown or await _images_of_message(connection, reply.to)
            await _add_reply(connection, channel, message_id, shown or [NO_IMAGE])

    @reads
    async def orphans(self, connection: AsyncConnection, limit: int, after: int = 0) -> list[Reply]:
        """Replies to delete, by rising message id. after: the last id of the previous page.

        The foreign key sets a deleted image's id to null, so no kind of deletion can miss a reply.
        """
        query = (
            select(*replies.c["channel_id", "message_id"])
            .distinct()
            .where(replies.c.image_id.is_(None), replies.c.message_id > after)
            .order_by(replies.c.message_id)
            .limit(limit)
        )
        return [Reply(row.channel_id, row.message_id) for row in await connection.execute(query)]

    @writes
    async def orphan(self, connection: AsyncConnection, image_ids: Collection[int]) -> None:
        """The replies that describe any of these images are to be deleted, though the images stay."""
        these = replies.c.image_id.in_(any_of(image_ids))
        await connection.execute(update(replies).where(these).values(image_id=None))

    @reads
    async def about(self, connection: AsyncConnection, image_ids: Collection[int]) -> dict[int, list[int]]:
        """The replies that describe any of these images, by message id: which of these each describes."""
        query = select(*replies.c["message_id", "image_id"]).where(replies.c.image_id.in_(any_of(image_ids)))
        found: dict[int, list[int]] = {}
        for row in await connection.execute(query.order_by(replies.c.message_id, replies.c.position)):
            found.setdefault(row.message_id, []).append(row.image_id)
        return found

    @writes
    async def orphan_reply(self, connection: AsyncConnection, message_id: int) -> None:
        """This reply is to be deleted, though its images stay."""
        await connection.execute(update(replies).where(replies.c.message_id == message_id).values(image_id=None))

    @erases
    async def drop(self, connection: AsyncConnection, message_id: int) -> None:
        """Deletes the reply's rows: the message is deleted in Discord, or out of reach."""
        await connection.execute(delete(replies).where(replies.c.message_id == message_id))


async def _tagging_mode(connection: AsyncConnection, channel: ChannelRef) -> TaggingMode:
    ids = channel.channel_id, channel.parent_id
    query = select(*channels.c["id", "tagging_mode"]).where(channels.c.id.in_(ids))
    modes = {row.id: row.tagging_mode for row in await connection.execute(query)}
    return TaggingMode(modes.get(ids[0]) or modes.get(ids[1]) or TaggingMode.SILENT)


async def _add_reply(
    connection: AsyncConnection, channel: ChannelRef, message_id: int, image_ids: Sequence[int], first: int = 0
) -> None:
    if not image_ids:
        return
    known = set((await connection.execute(select(images.c.id).where(images.c.id.in_(any_of(image_ids))))).scalars())
    reply = {"message_id": message_id, "channel_id": channel.channel_id}
    statement = insert(connection, replies)
    # What `remember` says of a reply is more exact than what `find` may have found before.
    newer = {"image_id": statement.excluded.image_id}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["message_id", "position"], set_=newer),
        [
            {**reply, "position": at, "image_id": id_ if id_ in known else None}
            for at, id_ in enumerate(image_ids, first)
        ],
    )


async def _images_of_message(connection: AsyncConnection, message_id: int) -> list[int]:
    """None of them if one was deleted."""
    attachment = (tombstones.c.kind == Kind.ATTACHMENT) & (tombstones.c.scope == message_id)
    message = (tombstones.c.kind == Kind.MESSAGE) & (tombstones.c.id == message_id)
    if (await connection.execute(select(tombstones.c.id).where(or_(attachment, message)).limit(1))).first():
        return []
    query = select(images.c.id).where(images.c.message_id == message_id).order_by(images.c.id)
    return list((await connection.execute(query)).scalars())
