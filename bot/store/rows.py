"""Rows to records and back: the only place that knows how a record is spelt in columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, Select, select

from bot.models import ChannelRef, Image, ImageRef, ImageState, Source, Tag, ThreadKind
from bot.store.tables import channels, images, tags

T = TypeVar("T")
Half = npt.NDArray[np.float16]

# SQLite takes 32,766 parameters in one statement.
MOST_IDS = 8_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970; an hour without a zone is refused by datetime itself."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def chunks(items: Iterable[T], size: int = MOST_IDS) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def to_blob(vector: npt.ArrayLike) -> bytes:
    """fp16, little-endian, whatever this machine's order is."""
    return np.asarray(vector, dtype="<f2").tobytes()


def from_blobs(blobs: Sequence[bytes], dimension: int) -> Half:
    """float16 [n, dimension], a writable copy."""
    # Into a bytearray: numpy may write to it, so that it is the only copy.
    flat = np.frombuffer(bytearray().join(blobs), dtype="<f2")
    return flat.reshape(len(blobs), dimension).astype(np.float16, copy=False)


def image_columns() -> Select[Any]:
    """Everything that `image_of` reads."""
    place = channels.c["parent_id", "thread"]
    return select(images, *place).join_from(images, channels, channels.c.id == images.c.channel_id)


def ref_of(row: Row[Any]) -> ImageRef:
    place = ChannelRef(row.guild_id, row.channel_id, row.parent_id, ThreadKind(row.thread))
    return ImageRef(place, row.message_id, row.attachment_id, Source(row.source), row.author_id)


def image_of(row: Row[Any], tags: tuple[Tag, ...] = ()) -> Image:
    return Image(
        id=row.id,
        ref=ref_of(row),
        state=ImageState(row.state),
        content_hash=row.content_hash,
        width=row.width,
        height=row.height,
        tags=tags,
        attempts=row.attempts,
        reason=row.reason,
        reread=bool(row.reread),
    )


def load_images(connection: Connection, query: Select[Any]) -> list[Image]:
    """The images of a query made with `image_columns`, in its order, with their tags."""
    rows = connection.execute(query).all()
    found = _tags_of(connection, [row.id for row in rows])
    return [image_of(row, tuple(found.get(row.id, ()))) for row in rows]


def _tags_of(connection: Connection, ids: Collection[int]) -> Mapping[int, list[Tag]]:
    found: dict[int, list[Tag]] = {}
    for some in chunks(ids):
        query = select(tags).where(tags.c.image_id.in_(some)).order_by(tags.c.image_id, tags.c.rank)
        for row in connection.execute(query):
            found.setdefault(row.image_id, []).append(Tag(row.label, row.probability))
    return found
