"""ImageStore: images from accepted to ready or parked, and everything that is read of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import (
    BACKGROUND,
    REREAD_OWNER,
    ChannelRef,
    Image,
    ImageRef,
    ImageState,
    Owner,
    Source,
    Tag,
    backfill_owner,
)
from bot.store.backend import any_of, insert
from bot.store.database import reads, writes
from bot.store.deletion import KINDS, Deletions, add_channels, read_channels
from bot.store.embeddings import AS_STORED, EmbeddingQueries, Model
from bot.store.filters import FilterQueries, is_verified
from bot.store.retagging import retag_from
from bot.store.rules import admitted
from bot.store.schema import (
    Embedding,
    Embeddings,
    channels,
    embeddings,
    guilds,
    image_texts,
    images,
    models,
    unread_images,
    unverified,
)
from bot.store.tags import tags_of, write_tags

INTERRUPTED = "interrupted"
"""The reason of a pending image whose attempt has begun: it remains if the process ends during the attempt."""

ENCODING_FAILED = "encoding_failed"
FORBIDDEN = "forbidden"
"""The reason of a parked image that the model or its device failed on: another start may succeed."""

PAGE = 1_000
"""Images that one transaction requeues: 30 ms, in which other writers wait."""

_PARKED = images.c.state == text("'parked'")  # the words of the partial index, without which it is not used
_KEY = ("message_id", "attachment_id", "source")

_READY = {"state": ImageState.READY, "attempts": 0, "next_attempt": None, "reason": None}


@dataclass(frozen=True, slots=True)
class Finished:
    """An encoded image.

    embedding: float16 [dim], unit length; tags: those that labels give it; width, height: pixels after EXIF rotation.
    labels_version: of the guild's labels; None where it does not matter. more: the embeddings of an animation's further
    frames. perceptual_hash: see `Image`.
    """

    image_id: int
    content_hash: str
    width: int
    height: int
    embedding: Embeddings
    tags: tuple[Tag, ...] = ()
    labels_version: int | None = None
    more: tuple[Embeddings, ...] = ()
    perceptual_hash: str | None = None

    @property
    def frames(self) -> tuple[Embeddings, ...]:
        return self.embedding, *self.more


class ImageStore(EmbeddingQueries, FilterQueries, Deletions):
    """Images, with their embeddings and tags. Each method is one transaction, except where it says otherwise."""

    @writes
    async def accept(
        self, connection: AsyncConnection, refs: Sequence[ImageRef], *, backfilled: bool = False
    ) -> list[Image]:
        """Adds new images as pending, and returns them in the order given; skips known ones, deleted ones and those
        that their guild keeps out.
        """
        left = await admitted(connection, refs, self._now())
        accepted = {(ref.message_id, ref.attachment_id, ref.source): ref for ref in left}
        if not accepted:
            return []
        await add_channels(connection, {ref.channel.channel_id: ref.channel for ref in accepted.values()}.values())
        statement = insert(connection, images).on_conflict_do_nothing(index_elements=_KEY)
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
                    "spoiler": ref.spoiler,
                    "backfilled": backfilled,
                    "state": ImageState.PENDING,
                    "next_attempt": self._now(),
                }
                for ref in accepted.values()
            ],
        )
        ids = {(row.message_id, row.attachment_id, row.source): row.id for row in added}
        return [
            Image(ids[key], ref, ImageState.PENDING, backfilled=backfilled)
            for key, ref in accepted.items()
            if key in ids
        ]

    @writes
    async def set_spoiler(self, connection: AsyncConnection, ids: Collection[int], spoiler: bool) -> None:
        """Whether their messages cover these images now."""
        await connection.execute(update(images).where(images.c.id.in_(any_of(ids))).values(spoiler=spoiler))

    @reads
    async def due(
        self, connection: AsyncConnection, wanted: Mapping[Owner, int], now: datetime, *, exclude: tuple[int, ...] = ()
    ) -> tuple[list[Image], dict[Owner, datetime | None]]:
        """Of each owner at most as many pending images as wanted whose next attempt is due, the longest due first.

        exclude: ids. Also of each owner with fewer: when its next one is due, None where it has no other.
        """
        found: list[int] = []
        later: dict[Owner, datetime | None] = {}
        for owner, limit in wanted.items():
            query = _pending_of(owner, images.c["id", "next_attempt"], exclude)
            ids = (await connection.execute(query.where(images.c.next_attempt <= now).limit(limit))).scalars().all()
            found += ids
            if len(ids) < limit:
                query = _pending_of(owner, images.c["next_attempt", "id"], exclude)
                later[owner] = await connection.scalar(query.where(images.c.next_attempt > now).limit(1))
        rows = {
            image.id: image
            for image in await read_images(connection, select_images().where(images.c.id.in_(any_of(found))))
        }
        return [rows[id_] for id_ in found], later

    @reads
    async def next_attempts(
        self, connection: AsyncConnection, *, exclude: tuple[int, ...] = ()
    ) -> dict[Owner, datetime]:
        """Everybody who has pending images, and when the next one is due; the longest due first. exclude: ids."""
        others = images.c.id.not_in(any_of(exclude))
        waiting = images.c.reread == false(), images.c.next_attempt.is_not(None), others
        first = func.min(images.c.next_attempt).label("first")
        owner = images.c["guild_id", "author_id"]
        query = select(*owner, first).where(*waiting, images.c.backfilled == false()).group_by(*owner)
        found = {(row.guild_id, row.author_id): row.first for row in await connection.execute(query.order_by(first))}
        query = select(images.c.guild_id, first).where(*waiting, images.c.backfilled == true())
        for row in await connection.execute(query.group_by(images.c.guild_id)):
            found[backfill_owner(row.guild_id)] = row.first
        again = await connection.scalar(_pending_of(REREAD_OWNER, images.c["next_attempt", "id"], exclude).limit(1))
        return found if again is None else found | {REREAD_OWNER: again}

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
        these = images.c.id.in_(any_of(ids)), images.c.state == ImageState.PENDING, images.c.attempts > 0
        values = {"attempts": images.c.attempts - 1, "next_attempt": self._now(), "reason": None}
        await connection.execute(update(images).where(*these).values(values))

    async def finish(self, batch: Sequence[Finished], model: Model) -> set[int]:
        """Makes pending images ready, with embedding and tags, in one transaction.

        Returns their ids. Images that were deleted, parked or finished before are ignored.
        Raises ValueError where an embedding does not have the model's dimension, or is not finite.
        """
        for item in batch:
            for frame in item.frames:
                if frame.shape != (model.dimension,) or not np.isfinite(frame).all():
                    raise ValueError(
                        f"image {item.image_id}: embedding {frame.shape}, not ({model.dimension},) and finite"
                    )
        return await self._finish(batch, await self._model_id(model)) if batch else set()

    @writes
    async def _finish(self, connection: AsyncConnection, batch: Sequence[Finished], model_id: int) -> set[int]:
        marked = unverified.c.image_id.label("unverified")
        of_guild = guilds.c["labels_version", "reads_text"]
        query = select(*images.c["id", "guild_id", "channel_id", "reread"], marked, *of_guild)
        query = query.outerjoin_from(images, unverified).join(guilds, guilds.c.id == images.c.guild_id)
        query = query.where(
            images.c.id.in_(any_of(item.image_id for item in batch)), images.c.state == ImageState.PENDING
        )
        pending = {row.id: row for row in await connection.execute(query)}
        done = {item.image_id: item for item in batch if item.image_id in pending}
        if encoded_before := [row.id for row in pending.values() if row.reread]:
            await connection.execute(delete(embeddings).where(embeddings.c.image_id.in_(any_of(encoded_before))))
        if verified := [row.id for row in pending.values() if row.unverified]:  # its message has just been looked up
            await connection.execute(delete(unverified).where(unverified.c.image_id.in_(any_of(verified))))
        files = [
            {"image": id_, "content_hash": item.content_hash, "width": item.width, "height": item.height}
            | {"perceptual_hash": item.perceptual_hash}
            for id_, item in done.items()
        ]
        vectors = [
            values
            for id_, row in pending.items()
            for values in embedding_rows(done[id_], row.guild_id, row.channel_id, model_id)
        ]
        make_ready = update(images).where(images.c.id == bindparam("image")).values(_READY)
        for statement, rows in ((make_ready, files), (embeddings.insert(), vectors)):
            if rows:
                await connection.execute(statement, rows)
        scored = {id_: (pending[id_].channel_id, item.tags) for id_, item in done.items()}
        await write_tags(connection, scored, tagged_before=encoded_before)
        late: dict[int, int] = {}  # by guild, the first image that was tagged while the labels were changed
        for id_, item in sorted(done.items()):
            if item.labels_version not in (None, pending[id_].labels_version):
                late.setdefault(pending[id_].guild_id, id_ - 1)
        if late:
            await retag_from(connection, late)
        if unread := [id_ for id_, row in pending.items() if row.reads_text]:
            await queue_unread(connection, unread, self._now())
        return set(done)

    @writes
    async def postpone(self, connection: AsyncConnection, image_id: int, next_attempt: datetime, reason: str) -> bool:
        """The attempt failed: sets the time of the next. False when the image is no longer pending."""
        return await _update_pending(connection, image_id, next_attempt=next_attempt, reason=reason)

    @writes
    async def park(self, connection: AsyncConnection, image_id: int, reason: str) -> bool:
        """Gives the image up. False when it is no longer pending.

        An embedding by an earlier model stays: it is searchable again when that model is.
        """
        return await _update_pending(connection, image_id, state=ImageState.PARKED, next_attempt=None, reason=reason)

    async def requeue_for_model(self, model_key: str, *, page: int = PAGE) -> int:
        """Makes images pending that only another model encoded, as `reread`, and images that a model failed on.

        Images that this model encoded before an earlier change become ready again. Returns the number of images queued.
        Each page is a transaction of its own. A call that is interrupted leaves the rest to the next one: a page that
        is done is not selected again, or its images no longer meet the condition of the update.
        """
        ids = await self._models()
        model = ids.pop(model_key, None)
        if model is not None:
            restore = update(images).values(_READY).where(exists().where(*_encoded_by(model)))
            waiting = images.c.next_attempt.is_not(None), images.c.reread == true()
            await self._update_pages(select(*images.c["next_attempt", "id"]).where(*waiting), restore, page)
            parked = select(*images.c["reason", "id"]).where(_PARKED, images.c.reread == true())
            await self._update_pages(parked, restore, page)
        retry = update(images).values(self._retry())
        reread = retry.where(images.c.state == ImageState.READY).values(reread=True)
        if model is not None:
            reread = reread.where(~exists().where(*_encoded_by(model)))
        queued = 0
        for other in ids.values():
            keys = select(*embeddings.c["guild_id", "image_id"]).where(embeddings.c.model_id == other)
            queued += await self._update_pages(keys, reread, page)
        for again in (False, True):
            for reason in (ENCODING_FAILED, FORBIDDEN):
                failed = select(images.c.id).where(_PARKED, images.c.reread == again, images.c.reason == reason)
                queued += await self._update_pages(failed, retry, page)
        return queued

    @writes
    async def requeue_damaged(self, connection: AsyncConnection, ids: Collection[int]) -> list[int]:
        """Deletes those of these embeddings that are damaged, and makes their images pending, as `reread`.

        Returns the ids of these images.
        """
        rows = await connection.execute(select(*AS_STORED).where(embeddings.c.image_id.in_(any_of(ids))))
        damaged = sorted({row.image_id for row in rows if not Embedding.is_sound(row.embedding, row.checksum)})
        await connection.execute(delete(embeddings).where(embeddings.c.image_id.in_(any_of(damaged))))
        these = images.c.id.in_(any_of(damaged)), images.c.state == ImageState.READY
        await connection.execute(update(images).values(self._retry() | {"reread": True}).where(*these))
        return damaged

    @writes
    async def requeue_forbidden(self, connection: AsyncConnection, channel_ids: Collection[int]) -> int:
        """Makes the images due that the bot might not read, in these channels and their threads. Returns how many."""
        ids = any_of(channel_ids)
        places = select(channels.c.id).where(channels.c.id.in_(ids) | channels.c.parent_id.in_(ids))
        these = images.c.channel_id.in_(places), images.c.reason == FORBIDDEN
        waiting = images.c.state.in_((ImageState.PENDING, ImageState.PARKED))
        return (await connection.execute(update(images).values(self._retry()).where(*these, waiting))).rowcount

    def _retry(self) -> dict[str, object]:
        return {"state": ImageState.PENDING, "next_attempt": self._now(), "attempts": 0, "reason": None}

    @reads
    async def _models(self, connection: AsyncConnection) -> dict[str, int]:
        return {row.key: row.id for row in await connection.execute(select(*models.c["key", "id"]))}

    async def _update_pages(self, keys: Select[Any], change: Update, size: int) -> int:
        """Applies `change` to the images whose keys the query selects, and returns how many it changed.

        keys: the columns of an index, the image's id last: pages follow each other in the order of that index.
        """
        changed = 0
        after: Row[Any] | None = None
        while True:
            after, count = await self._update_page(keys, change, size, after)
            changed += count
            if after is None:
                return changed

    @writes
    async def _update_page(
        self, connection: AsyncConnection, keys: Select[Any], change: Update, size: int, after: Row[Any] | None
    ) -> tuple[Row[Any] | None, int]:
        """The last keys of the page, unless it is the last page; and the number of images changed."""
        query = keys.order_by(*keys.selected_columns).limit(size)
        if after is not None:
            query = query.where(tuple_(*keys.selected_columns) > tuple(after))
        page = (await connection.execute(query)).all()
        changed = await connection.execute(change.where(images.c.id.in_(any_of(row[-1] for row in page))))
        return page[-1] if len(page) == size else None, changed.rowcount

    @reads
    async def get(self, connection: AsyncConnection, ids: Collection[int]) -> dict[int, Image]:
        """The images with these ids that exist, in any state."""
        query = select_images().where(images.c.id.in_(any_of(ids)))
        return {image.id: image for image in await read_images(connection, query)}

    @reads
    async def searchable(self, connection: AsyncConnection, ids: Collection[int]) -> dict[int, Image]:
        """Those of these images that may be found: ready, and not waiting to be compared with Discord."""
        these = images.c.id.in_(any_of(ids)), images.c.state + "" == ImageState.READY, is_verified()
        return {image.id: image for image in await read_images(connection, select_images().where(*these))}

    @reads
    async def by_message(self, connection: AsyncConnection, message_id: int) -> list[Image]:
        """The images of one message, in the order in which they were accepted."""
        query = select_images().where(images.c.message_id == message_id).order_by(images.c.id)
        return await read_images(connection, query)

    @reads
    async def unverified(
        self, connection: AsyncConnection, before: int, skipped: Collection[int], limit: int
    ) -> list[Image]:
        """The newest image of a restored backup that is not verified, among messages before this one and outside the
        skipped channels; then the next older ones of its channel.
        """
        newest = (
            select(unverified.c.channel_id)
            .where(unverified.c.message_id < before, unverified.c.channel_id.not_in(any_of(skipped)))
            .order_by(unverified.c.message_id.desc())
            .limit(1)
        )
        query = select_images().join(unverified, unverified.c.image_id == images.c.id)
        query = query.where(unverified.c.channel_id == newest.scalar_subquery(), unverified.c.message_id < before)
        return await read_images(connection, query.order_by(unverified.c.message_id.desc()).limit(limit))

    @reads
    async def any_unverified(self, connection: AsyncConnection, channel_ids: Collection[int]) -> bool:
        """Whether images of these channels wait to be compared with Discord after a restore."""
        query = select(unverified.c.image_id).where(unverified.c.channel_id.in_(any_of(channel_ids))).limit(1)
        return (await connection.execute(query)).first() is not None

    @reads
    async def newest_id(self, connection: AsyncConnection) -> int:
        """The highest id of an image; 0 where there is none. Every image that is accepted later has a higher one."""
        return (await connection.execute(select(func.max(images.c.id)))).scalar() or 0

    @reads
    async def first_seen(self, connection: AsyncConnection, channel_id: int) -> int:
        """The message that was a channel's newest when it was first seen; 0 where it has no watermark."""
        return await connection.scalar(select(channels.c.first_seen).where(channels.c.id == channel_id)) or 0

    @reads
    async def in_range(self, connection: AsyncConnection, channel_id: int, after: int, until: int) -> list[Image]:
        """The images of a channel's messages whose ids are above `after` and at most `until`, in any state."""
        this = images.c.channel_id == channel_id, images.c.state.in_([*ImageState])  # the columns of an index
        return await read_images(
            connection, select_images().where(*this, images.c.message_id > after, images.c.message_id <= until)
        )

    @reads
    async def count_in_range(self, connection: AsyncConnection, channel_id: int, after: int, until: int) -> int:
        """As `in_range`, and only how many."""
        this = images.c.channel_id == channel_id, images.c.state.in_([*ImageState])  # the columns of an index
        query = select(func.count()).select_from(images).where(*this, images.c.message_id > after)
        return int((await connection.execute(query.where(images.c.message_id <= until))).scalar_one())

    @reads
    async def count_of_messages(
        self, connection: AsyncConnection, message_ids: Collection[int], sources: Collection[Source]
    ) -> int:
        """How many images of these sources the messages carry, in any state."""
        these = images.c.message_id.in_(any_of(message_ids)), images.c.source.in_(sorted(sources))
        return int((await connection.execute(select(func.count()).select_from(images).where(*these))).scalar_one())

    @reads
    async def searchable_channels(self, connection: AsyncConnection, guild_id: int) -> list[ChannelRef]:
        """The channels and threads of this guild that have a ready image."""
        ready = exists().where(images.c.channel_id == channels.c.id, images.c.state == ImageState.READY)
        return await read_channels(connection, guild_id, ready)

    @reads
    async def guild_ids(self, connection: AsyncConnection) -> list[int]:
        """Every guild with any stored data."""
        return list((await connection.execute(select(guilds.c.id).order_by(guilds.c.id))).scalars())

    @reads
    async def count_pending(self, connection: AsyncConnection) -> int:
        """Counts them in the index of due images, which has no others."""
        query = select(func.count()).select_from(images).where(images.c.next_attempt.is_not(None))
        return int((await connection.execute(query)).scalar_one())


def _pending_of(owner: Owner, columns: Iterable[ColumnElement[Any]], exclude: tuple[int, ...]) -> Select[Any]:
    """The longest due first. The words are those of the partial indexes, without which these are not used."""
    pending = images.c.next_attempt.is_not(None), images.c.id.not_in(any_of(exclude))
    query = select(*columns).where(*pending).order_by(*images.c["next_attempt", "id"])
    if owner == REREAD_OWNER:
        return query.where(images.c.reread == true())
    if owner[0] == BACKGROUND:
        return query.where(images.c.reread == false(), images.c.backfilled == true(), images.c.guild_id == owner[1])
    new = images.c.reread == false(), images.c.backfilled == false()
    return query.where(*new, images.c.guild_id == owner[0], images.c.author_id == owner[1])


async def queue_unread(connection: AsyncConnection, ids: Sequence[int], now: datetime) -> None:
    """Queues those of these images that are indexed and have not been read, where their guild wants that."""
    read = exists().where(image_texts.c.image_id == images.c.id)
    query = select(images.c.id, images.c.guild_id, literal(now, unread_images.c.next_attempt.type))
    query = query.join(guilds, guilds.c.id == images.c.guild_id)
    query = query.where(images.c.id.in_(any_of(ids)), images.c.state + "" == ImageState.READY, ~read)
    query = query.where(guilds.c.reads_text == true())
    columns = ["image_id", "guild_id", "next_attempt"]
    await connection.execute(insert(connection, unread_images).from_select(columns, query).on_conflict_do_nothing())


async def _update_pending(connection: AsyncConnection, image_id: int, **values: object) -> bool:
    this = images.c.id == image_id, images.c.state == ImageState.PENDING
    return (await connection.execute(update(images).where(*this).values(values))).rowcount > 0


def _encoded_by(model_id: int) -> tuple[ColumnElement[bool], ...]:
    return embeddings.c.image_id == images.c.id, embeddings.c.model_id == model_id


def embedding_rows(item: Finished, guild_id: int, channel_id: int, model_id: int) -> list[dict[str, Any]]:
    """One for each frame."""
    image = {"image_id": item.image_id, "model_id": model_id, "guild_id": guild_id, "channel_id": channel_id}
    return [
        {**image, "frame": number, "embedding": frame, "checksum": Embedding.checksum(frame)}
        for number, frame in enumerate(item.frames)
    ]


def select_images() -> Select[Any]:
    """Everything that `_image` reads."""
    where = channels.c["parent_id", "thread"]
    return select(images, *where).join_from(images, channels, channels.c.id == images.c.channel_id)


async def read_images(connection: AsyncConnection, query: Select[Any]) -> list[Image]:
    """The images of a query that begins with `select_images`, in its order, with their tags."""
    rows = (await connection.execute(query)).all()
    found = await tags_of(connection, [row.id for row in rows])
    return [_image(row, tuple(found.get(row.id, ()))) for row in rows]


def _image(row: Row[Any], its_tags: tuple[Tag, ...]) -> Image:
    channel = ChannelRef(row.guild_id, row.channel_id, row.parent_id, KINDS[row.thread])
    return Image(
        id=row.id,
        ref=ImageRef(channel, row.message_id, row.attachment_id, Source(row.source), row.author_id, bool(row.spoiler)),
        state=ImageState(row.state),
        content_hash=row.content_hash,
        width=row.width,
        height=row.height,
        tags=its_tags,
        attempts=row.attempts,
        reason=row.reason,
        reread=bool(row.reread),
        backfilled=bool(row.backfilled),
        perceptual_hash=row.perceptual_hash,
        reposts_allowed=bool(row.reposts_allowed),
    )
