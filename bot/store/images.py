"""ImageStore: images from accepted to ready or parked, and everything that is read of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Result, Row, Select, Update, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import ChannelRef, Image, ImageRef, ImageState, Source, Tag, ThreadKind
from bot.store import backends
from bot.store.database import chunks, reads, writes
from bot.store.deletion import Deletions, add_channels, tombstones_of
from bot.store.embeddings import EmbeddingQueries, Model
from bot.store.requeue import Requeue
from bot.store.schema import Embeddings, channels, embeddings, guilds, images, tags

INTERRUPTED = "interrupted"
"""The reason of a pending image whose attempt has begun: it remains if the process ends during the attempt."""

_KEY = ("message_id", "attachment_id", "source")
_KINDS = {kind.value: kind for kind in ThreadKind}

# Executed for each batch of a backfill, so they are built once: building one takes as long as executing it.
_PENDING = select(*images.c["id", "guild_id", "channel_id", "reread"]).where(
    images.c.id.in_(bindparam("ids", expanding=True)), images.c.state == ImageState.PENDING
)
_MAKE_READY = (
    update(images)
    .where(images.c.id == bindparam("image"))
    .values(state=ImageState.READY, attempts=0, next_attempt=None, reason=None)
)
_ADD_EMBEDDING = insert(embeddings)
_ADD_TAG = insert(tags)


@dataclass(frozen=True, slots=True)
class Finished:
    """An encoded image.

    embedding: float16 [dim], unit length; tags: best first; width, height: pixels after EXIF rotation.
    """

    image_id: int
    content_hash: str
    width: int
    height: int
    embedding: Embeddings
    tags: tuple[Tag, ...] = ()


class ImageStore(EmbeddingQueries, Deletions, Requeue):
    """Images, with their embeddings and tags. Each method is one transaction, except where it says otherwise."""

    @writes
    async def accept(self, connection: AsyncConnection, refs: Sequence[ImageRef]) -> list[Image]:
        """Adds new images as pending, and returns them in the order given; skips known and deleted ones."""
        found = await tombstones_of(connection, refs)
        accepted = {(ref.message_id, ref.attachment_id, ref.source): ref for ref in refs if not found.cover(ref)}
        if not accepted:
            return []
        await add_channels(connection, {ref.channel.channel_id: ref.channel for ref in accepted.values()}.values())
        statement = backends.insert(connection, images).on_conflict_do_nothing(index_elements=_KEY)
        added = await connection.execute(
            statement.returning(*images.c["id", *_KEY]),
            [
                {
                    "guild_id": ref.channel.guild_id,
                    "channel_id": ref.channel.channel_id,
                    "message_id": ref.message_id,
                    "attachment_id": ref.attachment_id,
                    "source": ref.source,
                    "author_id": ref.author_id,
                    "state": ImageState.PENDING,
                    "next_attempt": self._now(),
                }
                for ref in accepted.values()
            ],
        )
        ids = {(row.message_id, row.attachment_id, row.source): row.id for row in added}
        return [Image(ids[key], ref, ImageState.PENDING) for key, ref in accepted.items() if key in ids]

    async def due(self, limit: int, now: datetime, *, exclude: Collection[int] = ()) -> list[Image]:
        """At most `limit` pending images whose next attempt is due: new ones first, then those to be encoded again by
        another model; in each group the longest due first. exclude: ids, copied before the transaction begins.
        """
        return await self._due(limit, now, tuple(exclude))

    @reads
    async def _due(
        self, connection: AsyncConnection, limit: int, now: datetime, exclude: tuple[int, ...]
    ) -> list[Image]:
        rows: list[Row[Any]] = []
        for reread in (False, True):
            if len(rows) < limit:
                query = (
                    _select_images()
                    .where(images.c.reread == reread, images.c.next_attempt <= now, images.c.id.not_in(exclude))
                    .order_by(images.c.next_attempt, images.c.id)
                    .limit(limit - len(rows))
                )
                rows += (await connection.execute(query)).all()
        return await _with_tags(connection, rows)

    async def next_attempt(self, *, exclude: Collection[int] = ()) -> datetime | None:
        """When the next pending image is due; None where there is none. exclude: as in `due`."""
        return await self._next_attempt(tuple(exclude))

    @reads
    async def _next_attempt(self, connection: AsyncConnection, exclude: tuple[int, ...]) -> datetime | None:
        found: list[datetime] = []
        for reread in (False, True):
            due = images.c.next_attempt.is_not(None)  # else the partial index is not used
            query = (
                select(images.c.next_attempt)
                .where(images.c.reread == reread, due, images.c.id.not_in(exclude))
                .order_by(images.c.next_attempt)
                .limit(1)
            )
            found += (await connection.execute(query)).scalars()
        return min(found, default=None)

    @writes
    async def begin(self, connection: AsyncConnection, next_attempts: Mapping[int, datetime]) -> None:
        """Counts an attempt for each of these pending images, and sets the time of the next.

        An image that crashes the process is charged for it, and the images that were in progress are not due again
        before their time. Deleted images are ignored.
        """
        statement = (
            update(images)
            .where(images.c.id == bindparam("image"), images.c.state == ImageState.PENDING)
            .values(attempts=images.c.attempts + 1, reason=INTERRUPTED)
        )
        rows = [{"image": id_, "next_attempt": moment} for id_, moment in next_attempts.items()]
        if rows:
            await connection.execute(statement, rows)

    @writes
    async def release(self, connection: AsyncConnection, ids: Collection[int]) -> None:
        """Takes back the attempt that `begin` counted, and makes these due now: they did not cause the interruption."""
        for some in chunks(ids):
            await connection.execute(
                update(images)
                .where(images.c.id.in_(some), images.c.state == ImageState.PENDING, images.c.attempts > 0)
                .values(attempts=images.c.attempts - 1, next_attempt=self._now(), reason=None)
            )

    async def finish(self, batch: Sequence[Finished], model: Model) -> set[int]:
        """Makes pending images ready, with embedding and tags, in one transaction.

        Returns their ids. Images that were deleted, parked or finished before are ignored.
        Raises ValueError where an embedding does not have the model's dimension.
        """
        for item in batch:
            if item.embedding.shape != (model.dimension,):
                raise ValueError(
                    f"image {item.image_id}: an embedding of {item.embedding.shape}, not ({model.dimension},)"
                )
        return await self._finish(batch, await self._model_id(model)) if batch else set()

    @writes
    async def _finish(self, connection: AsyncConnection, batch: Sequence[Finished], model_id: int) -> set[int]:
        pending: dict[int, Row[Any]] = {}
        for some in chunks(item.image_id for item in batch):
            pending.update({row.id: row for row in await connection.execute(_PENDING, {"ids": some})})
        done = {item.image_id: item for item in batch if item.image_id in pending}
        for encoded_before in chunks(id_ for id_, row in pending.items() if row.reread):
            for table in (embeddings, tags):
                await connection.execute(delete(table).where(table.c.image_id.in_(encoded_before)))
        if done:
            await connection.execute(_MAKE_READY, [_file_row(item) for item in done.values()])
            rows = [_embedding_row(item, model_id, pending[item.image_id]) for item in done.values()]
            await connection.execute(_ADD_EMBEDDING, rows)
        if rows := [row for item in done.values() for row in _tag_rows(item)]:
            await connection.execute(_ADD_TAG, rows)
        return set(done)

    @writes
    async def postpone(self, connection: AsyncConnection, image_id: int, next_attempt: datetime, reason: str) -> bool:
        """The attempt failed: sets the time of the next. False when the image is no longer pending."""
        statement = _update_pending(image_id).values(next_attempt=next_attempt, reason=reason)
        return (await connection.execute(statement)).rowcount > 0

    @writes
    async def park(self, connection: AsyncConnection, image_id: int, reason: str) -> bool:
        """Gives the image up. False when it is no longer pending.

        An embedding by an earlier model stays: it is searchable again when that model is.
        """
        statement = _update_pending(image_id).values(state=ImageState.PARKED, next_attempt=None, reason=reason)
        return (await connection.execute(statement)).rowcount > 0

    @reads
    async def get(self, connection: AsyncConnection, ids: Collection[int]) -> dict[int, Image]:
        """The images with these ids that exist, in any state."""
        rows: list[Row[Any]] = []
        for some in chunks(ids):
            rows += (await connection.execute(_select_images().where(images.c.id.in_(some)))).all()
        return {image.id: image for image in await _with_tags(connection, rows)}

    @reads
    async def by_message(self, connection: AsyncConnection, message_id: int) -> list[Image]:
        """The images of one message, in the order in which they were accepted."""
        query = _select_images().where(images.c.message_id == message_id).order_by(images.c.id)
        return await _with_tags(connection, (await connection.execute(query)).all())

    @reads
    async def searchable_channels(self, connection: AsyncConnection, guild_id: int) -> list[ChannelRef]:
        """The channels and threads of this guild that have a ready image."""
        ready = exists().where(images.c.channel_id == channels.c.id, images.c.state == ImageState.READY)
        query = select(*channels.c["id", "parent_id", "thread"]).where(channels.c.guild_id == guild_id, ready)
        # A large guild has tens of thousands of threads: building their rows here would stop the event loop.
        return await asyncio.to_thread(_channels_of, guild_id, await connection.execute(query))

    @reads
    async def guild_ids(self, connection: AsyncConnection) -> list[int]:
        """Every guild with any stored data."""
        return list((await connection.execute(select(guilds.c.id).order_by(guilds.c.id))).scalars())

    @reads
    async def count_pending(self, connection: AsyncConnection) -> int:
        """Counts them in the index of due images, which has no others."""
        query = select(func.count()).select_from(images).where(images.c.next_attempt.is_not(None))
        return int((await connection.execute(query)).scalar_one())


def _file_row(item: Finished) -> dict[str, object]:
    return {"image": item.image_id, "content_hash": item.content_hash, "width": item.width, "height": item.height}


def _embedding_row(item: Finished, model_id: int, image: Row[Any]) -> dict[str, object]:
    where = {"guild_id": image.guild_id, "channel_id": image.channel_id}
    return {"image_id": item.image_id, "model_id": model_id, "embedding": item.embedding, **where}


def _tag_rows(item: Finished) -> list[dict[str, object]]:
    return [
        {"image_id": item.image_id, "rank": rank, "label": tag.label, "probability": tag.probability}
        for rank, tag in enumerate(item.tags)
    ]


def _update_pending(image_id: int) -> Update:
    return update(images).where(images.c.id == image_id, images.c.state == ImageState.PENDING)


def _select_images() -> Select[Any]:
    """Everything that `_image` reads."""
    where = channels.c["parent_id", "thread"]
    return select(images, *where).join_from(images, channels, channels.c.id == images.c.channel_id)


async def _with_tags(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Image]:
    """The images of these rows of `_select_images`, in their order."""
    found: dict[int, list[Tag]] = {}
    for some in chunks(row.id for row in rows):
        query = select(tags).where(tags.c.image_id.in_(some)).order_by(tags.c.image_id, tags.c.rank)
        for row in await connection.execute(query):
            found.setdefault(row.image_id, []).append(Tag(row.label, row.probability))
    return [_image(row, tuple(found.get(row.id, ()))) for row in rows]


def _image(row: Row[Any], its_tags: tuple[Tag, ...]) -> Image:
    channel = ChannelRef(row.guild_id, row.channel_id, row.parent_id, _KINDS[row.thread])
    return Image(
        id=row.id,
        ref=ImageRef(channel, row.message_id, row.attachment_id, Source(row.source), row.author_id),
        state=ImageState(row.state),
        content_hash=row.content_hash,
        width=row.width,
        height=row.height,
        tags=its_tags,
        attempts=row.attempts,
        reason=row.reason,
        reread=bool(row.reread),
    )


def _channels_of(guild_id: int, rows: Result[int, int | None, str]) -> list[ChannelRef]:
    # A dictionary: an enum's constructor takes ten times as long.
    return [ChannelRef(guild_id, id_, parent_id, _KINDS[thread]) for id_, parent_id, thread in rows]
