"""The life of a picture, as steps inside a transaction: pending, then ready or parked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, literal_column, null, select, update
from sqlalchemy.dialects.sqlite import insert

from bot.records import Picture, PictureRef, PictureState, Source, Tag
from bot.store import tombstones
from bot.store.many import ForMany
from bot.store.places import make_places
from bot.store.rows import Half, chunks, load_pictures, milliseconds, picture_columns, to_blob
from bot.store.tables import pictures, tags, vectors
from bot.store.vectors import Model, model_row

INTERRUPTED = "interrupted"
"""The reason of a picture that was begun and never ended: its process did."""
ENCODING_FAILED = "encoding_failed"
"""The reason of a picture that the model or its device failed on: another start may do better."""

_KEY = ("message_id", "attachment_id", "source")

# What runs for every batch of a backfill is built once. Building a statement takes as long as running it.
_PENDING = pictures.c.state == literal_column("'pending'")
_STILL_PENDING = select(*pictures.c["id", "guild_id", "channel_id", "reread"]).where(
    pictures.c.id.in_(bindparam("ids", expanding=True)), _PENDING
)
_THIS = pictures.c.id == bindparam("picture")
_BEGUN = ForMany(
    update(pictures)
    .where(_THIS, _PENDING)
    .values(attempts=pictures.c.attempts + literal_column("1"), reason=literal_column(f"'{INTERRUPTED}'")),
    "next_attempt",
    "picture",
)
_READY = ForMany(
    update(pictures)
    .where(_THIS)
    .values(state=literal_column("'ready'"), attempts=literal_column("0"), next_attempt=null(), reason=null()),
    "content_hash",
    "width",
    "height",
    "picture",
)
_NEW_VECTORS = insert(vectors)
_RENEWED = {name: _NEW_VECTORS.excluded[name] for name in ("model_id", "vector")}
_VECTORS = ForMany(_NEW_VECTORS.on_conflict_do_update(index_elements=["picture_id"], set_=_RENEWED), *vectors.c.keys())
_TAGS = ForMany(insert(tags), *tags.c.keys())


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture that was read.

    vector: float16 [dim], unit length; tags: best first; width, height: pixels after the EXIF turn.
    """

    picture_id: int
    content_hash: str
    width: int
    height: int
    vector: Half
    tags: tuple[Tag, ...] = ()


def accept(connection: Connection, refs: Sequence[PictureRef], now: datetime) -> list[Picture]:
    """Adds those that are neither known nor forgotten."""
    forgotten = tombstones.concerning(connection, refs)
    welcome = {(ref.message_id, ref.attachment_id, ref.source): ref for ref in refs if not forgotten.covers(ref)}
    if not welcome:
        return []
    make_places(connection, {ref.place.channel_id: ref.place for ref in welcome.values()}.values())
    statement = insert(pictures).on_conflict_do_nothing(index_elements=_KEY)
    rows = [_new_row(ref, milliseconds(now)) for ref in welcome.values()]
    added = connection.execute(statement.returning(*pictures.c["id", *_KEY]), rows)
    ids = {(row.message_id, row.attachment_id, Source(row.source)): row.id for row in added}
    return [Picture(ids[key], ref, PictureState.PENDING) for key, ref in welcome.items() if key in ids]


def due(connection: Connection, limit: int, now: datetime, exclude: Collection[int]) -> list[Picture]:
    """What is new comes before what is read again for a new model; within each, the longest due first."""
    found: list[Picture] = []
    for reread in (0, 1):
        if len(found) < limit:
            query = (
                picture_columns()
                .where(pictures.c.reread == reread, pictures.c.next_attempt <= milliseconds(now))
                .where(pictures.c.id.not_in(exclude))
                .order_by(pictures.c.next_attempt, pictures.c.id)
                .limit(limit - len(found))
            )
            found += load_pictures(connection, query)
    return found


def begin(connection: Connection, next_attempts: Mapping[int, datetime]) -> None:
    _BEGUN.run(connection, [(milliseconds(again), id_) for id_, again in next_attempts.items()])


def release(connection: Connection, ids: Collection[int], now: datetime) -> None:
    for some in chunks(ids):
        connection.execute(
            update(pictures)
            .where(pictures.c.id.in_(some), pictures.c.state == PictureState.PENDING, pictures.c.attempts > 0)
            .values(attempts=pictures.c.attempts - 1, next_attempt=milliseconds(now), reason=None)
        )


def finish(connection: Connection, batch: Sequence[Finished], model: Model) -> set[int]:
    """Makes pending pictures ready. What is gone, parked or already ready is left alone and not in the answer."""
    waiting = _pending(connection, [item.picture_id for item in batch])
    done = {item.picture_id: item for item in batch if item.picture_id in waiting}
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


def postpone(connection: Connection, picture_id: int, next_attempt: datetime, reason: str) -> bool:
    changed = connection.execute(
        update(pictures)
        .where(pictures.c.id == picture_id, pictures.c.state == PictureState.PENDING)
        .values(next_attempt=milliseconds(next_attempt), reason=reason)
    )
    return changed.rowcount > 0


def park(connection: Connection, picture_id: int, reason: str) -> bool:
    """Given up. What an earlier model found stays for when that model runs again; no other model's search sees it."""
    changed = connection.execute(
        update(pictures)
        .where(pictures.c.id == picture_id, pictures.c.state == PictureState.PENDING)
        .values(state=PictureState.PARKED, next_attempt=None, reason=reason)
    )
    return changed.rowcount > 0


def _new_row(ref: PictureRef, now: int) -> dict[str, Any]:
    return {
        "guild_id": ref.place.guild_id,
        "channel_id": ref.place.channel_id,
        "message_id": ref.message_id,
        "attachment_id": ref.attachment_id,
        "source": ref.source,
        "author_id": ref.author_id,
        "state": PictureState.PENDING,
        "next_attempt": now,
    }


def _pending(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for some in chunks(ids):
        found.update({row.id: row for row in connection.execute(_STILL_PENDING, {"ids": some})})
    return found


def _replace_tags(connection: Connection, done: Mapping[int, Finished], reread: Sequence[int]) -> None:
    for some in chunks(reread):
        connection.execute(delete(tags).where(tags.c.picture_id.in_(some)))
    rows = [(id_, rank, tag.label, tag.probability) for id_, item in done.items() for rank, tag in enumerate(item.tags)]
    _TAGS.run(connection, rows)
