"""Embeddings: each belongs to one model, and no query mixes models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, LargeBinary, Result, Row, delete, exists, func, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import NEWEST, utc_now
from bot.store.backend import any_of, insert
from bot.store.database import Database, Store, reads, writes
from bot.store.schema import Embedding, Embeddings, embeddings, images, models, unverified

# A megabyte: larger buffers keep other threads waiting for the interpreter, and stay with the allocator afterwards.
PAGE = 1_024

# Without the first half, which is evaluated once, SQLite would take a ninth longer where every image is verified.
_VERIFIED = or_(
    embeddings.c.image_id > select(func.coalesce(func.max(unverified.c.image_id), 0)).scalar_subquery(),
    ~exists().where(unverified.c.image_id == embeddings.c.image_id),
)


class Model(Protocol):
    """What the store must know of a model; clipcore's ModelCard is one. Equal keys mean comparable embeddings."""

    @property
    def key(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def preprocessing(self) -> str: ...
    @property
    def dimension(self) -> int: ...


FIRST = embeddings.c.frame == 0
"""The frame that stands for an animation; of any other image, the only one."""

AS_STORED = (
    embeddings.c.image_id,
    type_coerce(embeddings.c.embedding, LargeBinary).label("embedding"),
    embeddings.c.checksum,
)
"""What `Embedding.is_sound` must see."""


class EmbeddingPage(NamedTuple):
    """ids, channel_ids, frames: [n], ids rising, with all frames of each; embeddings: float16 [n, dim], unit length."""

    ids: npt.NDArray[np.int64]
    channel_ids: npt.NDArray[np.int64]
    frames: npt.NDArray[np.uint8]
    embeddings: Embeddings


@dataclass(frozen=True, slots=True)
class KnownEmbedding:
    """Of an identical file. embedding: float16 [dim]; width, height: pixels; more: an animation's further frames;
    perceptual_hash: None where it is not known.
    """

    embedding: Embeddings
    width: int
    height: int
    more: tuple[Embeddings, ...] = ()
    perceptual_hash: str | None = None


class EmbeddingQueries(Store):
    """Reads embeddings of verified images, and knows the models that made them.

    An embedding that is not as it was written counts as missing, and so do the image's other frames where they are read
    together. on_damaged: called with the ids of such images.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(database, clock)
        self._model_ids: dict[tuple[str, int], int] = {}
        self.on_damaged: Callable[[Sequence[int]], None] | None = None

    @reads
    async def embedding(self, connection: AsyncConnection, image_id: int, model_key: str) -> Embeddings | None:
        """Of the first frame: float16 [dim], unit length; None if this model has not encoded the image."""
        this = by_model(model_key), embeddings.c.image_id == image_id, FIRST, _VERIFIED
        rows = self._sound((await connection.execute(select(*AS_STORED).where(*this))).all())
        return rows[0] if rows else None

    @reads
    async def embedding_of_hash(
        self, connection: AsyncConnection, guild_id: int, content_hash: str, model_key: str
    ) -> KnownEmbedding | None:
        """What this model made of an identical file of this guild. Others' are left out: a quick answer would tell that
        the file was posted there.
        """
        # + 0: else SQLite goes through all embeddings of the model, or all images of the guild.
        these = images.c.content_hash == content_hash, images.c.guild_id + 0 == guild_id
        its = select(*images.c["id", "width", "height", "perceptual_hash"]).join_from(
            images, embeddings, images.c.id == embeddings.c.image_id
        )
        its = its.where(*these, by_model(model_key, embeddings.c.model_id + 0), FIRST, _VERIFIED).limit(1)
        image = (await connection.execute(its)).first()
        if image is None:
            return None
        frames = select(*AS_STORED).where(embeddings.c.image_id == image.id, by_model(model_key))
        found = self._sound((await connection.execute(frames.order_by(embeddings.c.frame))).all())
        if not found:
            return None
        return KnownEmbedding(found[0], image.width, image.height, tuple(found[1:]), image.perceptual_hash)

    def _sound(self, rows: Sequence[Row[Any]]) -> list[Embeddings]:
        """Of the frames of one image; none where any of them is damaged."""
        if all(Embedding.is_sound(row.embedding, row.checksum) for row in rows):
            return [Embedding.stack([row.embedding])[0] for row in rows]
        self._report_damaged([rows[0].image_id])
        return []

    def _report_damaged(self, image_ids: Sequence[int]) -> None:
        if image_ids and self.on_damaged is not None:
            self.on_damaged(image_ids)

    async def embeddings(self, guild_id: int, model_key: str, *, page: int = PAGE) -> AsyncIterator[EmbeddingPage]:
        """A guild's embeddings by this model, by rising image id, about `page` rows at a time.

        Each page is a transaction of its own: images that are finished or deleted meanwhile may be missing or not.
        """
        after = 0
        while (found := await self._page(guild_id, model_key, after, page)) is not None:
            sound, damaged, after = found
            self._report_damaged(damaged)
            if sound is not None:
                yield sound

    @reads
    async def _page(
        self, connection: AsyncConnection, guild_id: int, model_key: str, after: int, size: int
    ) -> tuple[EmbeddingPage | None, list[int], int] | None:
        """The sound rows, the ids of the damaged ones, and the last id of all. An image's frames are in one page."""
        these = by_model(model_key), embeddings.c.guild_id == guild_id, embeddings.c.image_id > after, _VERIFIED
        order = [*embeddings.c["image_id", "frame"]]
        last = select(embeddings.c.image_id).where(*these).order_by(*order).offset(size - 1).limit(1)
        within = embeddings.c.image_id <= func.coalesce(last.scalar_subquery(), NEWEST)
        query = select(*embeddings.c["channel_id", "frame"], *AS_STORED).where(*these, within).order_by(*order)
        # Off the event loop, which would stop meanwhile.
        return await asyncio.to_thread(_decode, await connection.execute(query))

    @writes
    async def verify(self, connection: AsyncConnection, ids: Collection[int], model_key: str) -> EmbeddingPage | None:
        """These images of a restored backup exist in Discord: from now on they are found.

        Returns their embeddings by this model; None where there are none.
        """
        await connection.execute(delete(unverified).where(unverified.c.image_id.in_(any_of(ids))))
        query = select(*embeddings.c["channel_id", "frame"], *AS_STORED).order_by(*embeddings.c["image_id", "frame"])
        these = by_model(model_key, embeddings.c.model_id + 0), embeddings.c.image_id.in_(any_of(ids))
        page, damaged, _ = _decode(await connection.execute(query.where(*these))) or (None, [], 0)
        self._report_damaged(damaged)
        return page

    async def _model_id(self, model: Model) -> int:
        """The id of this model's row, which is committed and never changes."""
        key = model.key, model.dimension
        if key not in self._model_ids:
            self._model_ids[key] = await self._add_model(model)
        return self._model_ids[key]

    @writes
    async def _add_model(self, connection: AsyncConnection, model: Model) -> int:
        return await id_of_model(connection, model)


async def id_of_model(connection: AsyncConnection, model: Model) -> int:
    """Adds the model where it is new."""
    columns = {name: getattr(model, name) for name in ("key", "revision", "preprocessing", "dimension")}
    await connection.execute(insert(connection, models).values(model=model.id, **columns).on_conflict_do_nothing())
    row = (await connection.execute(select(models).where(models.c.key == model.key))).one()
    if row.dimension != model.dimension:
        raise ValueError(f"{model.key} had {row.dimension} dimensions before and has {model.dimension} now")
    return int(row.id)


def _decode(
    result: Result[int, int, int, bytes, int | None],
) -> tuple[EmbeddingPage | None, list[int], int] | None:
    rows, damaged = [], set()
    for channel_id, frame, image_id, stored, checksum in result:
        rows.append((image_id, channel_id, frame, stored))
        if not Embedding.is_sound(stored, checksum):
            damaged.add(image_id)
    if not rows:
        return None
    sound = [row for row in rows if row[0] not in damaged] if damaged else rows
    if not sound:
        return None, sorted(damaged), rows[-1][0]
    ids, channel_ids, frames, sound_bytes = zip(*sound, strict=True)
    numbers = np.array(ids, np.int64), np.array(channel_ids, np.int64), np.array(frames, np.uint8)
    return EmbeddingPage(*numbers, Embedding.stack(sound_bytes)), sorted(damaged), rows[-1][0]


def by_model(key: str, model_id: ColumnElement[int] = embeddings.c.model_id) -> ColumnElement[bool]:
    return model_id == select(models.c.id).where(models.c.key == key).scalar_subquery()
