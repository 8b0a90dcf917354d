"""The life of an image, as steps inside a transaction: pending, then ready or parked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, literal_column, null, select, update
from sqlalchemy.dialects.sqlite import insert

from bot.models import Image, ImageRef, ImageState, Source, Tag
from bot.store import tombstones
from bot.store.many import ForMany
from bot.store.places import make_places
from bot.store.rows import Half, chunks, image_columns, load_images, milliseconds, to_blob
from bot.store.tables import images, tags, vectors
from bot.store.vectors import Model, model_row

INTERRUPTED = "interrupted"
"""The reason of an image that was begun and never ended: its process did."""
ENCODING_FAILED = "encoding_failed"
"""The reason of an image that the model or its device failed on: another start may do better."""

_KEY = ("message_id", "attachment_id", "source")

# What runs for every batch of a backfill is built once. Building a statement takes as long as running it.
_PENDING = images.c.state == literal_column("'pending'")
_STILL_PENDING = select(*images.c["id", "guild_id", "channel_id", "reread"]).where(
    images.c.id.in_(bindparam("ids", expanding=True)), _PENDING
)
_THIS = images.c.id == bindparam("image")
_BEGUN = ForMany(
    update(images)
    .where(_THIS, _PENDING)
    .values(attempts=images.c.attempts + literal_column("1"), reason=literal_column(f"'{INTERRUPTED}'")),
    "next_attempt",
    "image",
)
_READY = ForMany(
    update(images)
    .where(_THIS)
    .values(state=literal_column("'ready'"), attempts=literal_column("0"), next_attempt=null(), reason=null()),
    "content_hash",
    "width",
    "height",
    "image",
)
_NEW_VECTORS = insert(vectors)
_RENEWED = {name: _NEW_VECTORS.excluded[name] for name in ("model_id", "vector")}
_VECTORS = ForMany(_NEW_VECTORS.on_conflict_do_update(index_elements=["image_id"], set_=_RENEWED), *vectors.c.keys())
_TAGS = ForMany(insert(tags), *tags.c.keys())


@dataclass(frozen=True, slots=True)
class Finished:
    """An image that was read.

    vector: float16 [dim], unit length; tags: best first; width, height: pixels after the EXIF turn.
    """

    image_id: int
    content_hash: str
    width: int
    height: int
    vector: Half
    tags: tuple[Tag, ...] = ()


def accept(connection: Connection, refs: Sequence[ImageRef], now: datetime) -> list[Image]:
    """Adds those that are neither known nor forgotten."""
    forgotten = tombstones.concerning(connection, refs)
    welcome = {(ref.message_id, ref.attachment_id, ref.source): ref for ref in refs if not forgotten.covers(ref)}
    if not welcome:
        return []
    make_places(connection, {ref.channel.channel_id: ref.channel for ref in welcome.values()}.values())
    statement = insert(images).on_conflict_do_nothing(index_elements=_KEY)
    rows = [_new_row(ref, milliseconds(now)) for ref in welcome.values()]
    added = connection.execute(statement.returning(*images.c["id", *_KEY]), rows)
    ids = {(row.message_id, row.attachment_id, Source(row.source)): row.id for row in added}
    return [Image(ids[key], ref, ImageState.PENDING) for key, ref in welcome.items() if key in ids]


def due(connection: Connection, limit: int, now: datetime, exclude: Collection[int]) -> list[Image]:
    """What is new comes before what is read again for a new model; within each, the longest due first."""
    found: list[Image] = []
    for reread in (0, 1):
        if len(found) < limit:
            query = (
                image_columns()
                .where(images.c.reread == reread, images.c.next_attempt <= milliseconds(now))
                .where(images.c.id.not_in(exclude))
                .order_by(images.c.next_attempt, images.c.id)
                .limit(limit - len(found))
            )
            found += load_images(connection, query)
    return found


def begin(connection: Connection, next_attempts: Mapping[int, datetime]) -> None:
    _BEGUN.run(connection, [(milliseconds(again), id_) for id_, again in next_attempts.items()])


def release(connection: Connection, ids: Collection[int], now: datetime) -> None:
    for some in chunks(ids):
        connection.execute(
            update(images)
            .where(images.c.id.in_(some), images.c.state == ImageState.PENDING, images.c.attempts > 0)
            .values(attempts=images.c.attempts - 1, next_attempt=milliseconds(now), reason=None)
        )


def finish(connection: Connection, batch: Sequence[Finished], model: Model) -> set[int]:
    """Makes pending images ready. What is gone, parked or already ready is left alone and not in the answer."""
    waiting = _pending(connection, [item.image_id for item in batch])
    done = {item.image_id: item for item in batch if item.image_id in waiting}
    if not done:
        return set()
    model_id = model_row(connection, model)
    _READY.run(connection, [(item.content_hash, item.width, item.height, id_) for id_, item in done.items()])
    _VECTORS.run(
        connection,
        [
            (id_, model_id, waiting[id_].guild_id, waiting[id_].channel_id, to_blob(item.vector))
            for id_, item in done.items()
        ],
    )
    _replace_tags(connection, done, [id_ for id_ in done if waiting[id_].reread])
    return set(done)


def postpone(connection: Connection, image_id: int, next_attempt: datetime, reason: str) -> bool:
    changed = connection.execute(
        update(images)
        .where(images.c.id == image_id, images.c.state == ImageState.PENDING)
        .values(next_attempt=milliseconds(next_attempt), reason=reason)
    )
    return changed.rowcount > 0


def park(connection: Connection, image_id: int, reason: str) -> bool:
    """Given up. What an earlier model found stays for when that model runs again; no other model's search sees it."""
    changed = connection.execute(
        update(images)
        .where(images.c.id == image_id, images.c.state == ImageState.PENDING)
        .values(state=ImageState.PARKED, next_attempt=None, reason=reason)
    )
    return changed.rowcount > 0


def _new_row(ref: ImageRef, now: int) -> dict[str, Any]:
    return {
        "guild_id": ref.channel.guild_id,
        "channel_id": ref.channel.channel_id,
        "message_id": ref.message_id,
        "attachment_id": ref.attachment_id,
        "source": ref.source,
        "author_id": ref.author_id,
        "state": ImageState.PENDING,
        "next_attempt": now,
    }


def _pending(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for some in chunks(ids):
        found.update({row.id: row for row in connection.execute(_STILL_PENDING, {"ids": some})})
    return found


def _replace_tags(connection: Connection, done: Mapping[int, Finished], reread: Sequence[int]) -> None:
    for some in chunks(reread):
        connection.execute(delete(tags).where(tags.c.image_id.in_(some)))
    rows = [(id_, rank, tag.label, tag.probability) for id_, item in done.items() for rank, tag in enumerate(item.tags)]
    _TAGS.run(connection, rows)
