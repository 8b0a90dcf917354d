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

from bot.models import utc_now
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


AS_STORED = (
    embeddings.c.image_id,
    type_coerce(embeddings.c.embedding, LargeBinary).label("embedding"),
    embeddings.c.checksum,
)
"""What `Embedding.is_sound` must see."""


class EmbeddingPage(NamedTuple):
    """ids, channel_ids: int64 [n], ids rising; embeddings: float16 [n, dim], unit length."""

    ids: npt.NDArray[np.int64]
    channel_ids: npt.NDArray[np.int64]
    embeddings: Embeddings


@dataclass(frozen=True, slots=True)
class KnownEmbedding:
    """Of an identical file. embedding: float16 [dim]; width, height: pixels."""

    embedding: Embeddings
    width: int
    height: int


class EmbeddingQueries(Store):
    """Reads embeddings of verified images, and knows the models that made them.

    An embedding that is not as it was written counts as missing. on_damaged: called with the ids of such images.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(database, clock)
        self._model_ids: dict[tuple[str, int], int] = {}
        self.on_damaged: Callable[[Sequence[int]], None] | None = None

    @reads
    async def embedding(self, connection: AsyncConnection, image_id: int, model_key: str) -> Embeddings | None:
        """float16 [dim], unit length; None if this model has not encoded the image."""
        query = select(*AS_STORED).where(_by_model(model_key), embeddings.c.image_id == image_id, _VERIFIED)
        row = (await connection.execute(query)).first()
        return None if row is None else self._sound(row)

    @reads
    async def embedding_of_hash(
        self, connection: AsyncConnection, guild_id: int, content_hash: str, model_key: str
    ) -> KnownEmbedding | None:
        """What this model made of an identical file of this guild. Others' are left out: a quick answer would tell that
        the file was posted there.
        """
        query = select(*AS_STORED, *images.c["width", "height"])
        query = query.join_from(embeddings, images, images.c.id == embeddings.c.image_id)
        # + 0: else SQLite goes through all embeddings of the model, or all images of the guild.
        these = _by_model(model_key, embeddings.c.model_id + 0), images.c.guild_id + 0 == guild_id, _VERIFIED
        row = (await connection.execute(query.where(images.c.content_hash == content_hash, *these).limit(1))).first()
        found = None if row is None else self._sound(row)
        return None if row is None or found is None else KnownEmbedding(found, row.width, row.height)

    def _sound(self, row: Row[Any]) -> Embeddings | None:
        if Embedding.is_sound(row.embedding, row.checksum):
            embedding: Embeddings = Embedding.stack([row.embedding])[0]
            return embedding
        self._report_damaged([row.image_id])
        return None

    def _report_damaged(self, image_ids: Sequence[int]) -> None:
        if image_ids and self.on_damaged is not None:
            self.on_damaged(image_ids)

    async def embeddings(self, guild_id: int, model_key: str, *, page: int = PAGE) -> AsyncIterator[EmbeddingPage]:
        """A guild's embeddings by this model, by rising image id, at most `page` rows at a time.

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
        """The sound rows, the ids of the damaged ones, and the last id of them all."""
        query = (
            select(embeddings.c.channel_id, *AS_STORED)  # a whole page is decoded at once
            .where(_by_model(model_key), embeddings.c.guild_id == guild_id, embeddings.c.image_id > after)
            .where(_VERIFIED)
            .order_by(embeddings.c.image_id)
            .limit(size)
        )
        # Off the event loop, which would stop meanwhile.
        return await asyncio.to_thread(_decode, await connection.execute(query))

    @writes
    async def verify(self, connection: AsyncConnection, ids: Collection[int], model_key: str) -> EmbeddingPage | None:
        """These images of a restored backup exist in Discord: from now on they are found.

        Returns their embeddings by this model; None where there are none.
        """
        await connection.execute(delete(unverified).where(unverified.c.image_id.in_(any_of(ids))))
        query = select(embeddings.c.channel_id, *AS_STORED).order_by(embeddings.c.image_id)
        these = _by_model(model_key, embeddings.c.model_id + 0), embeddings.c.image_id.in_(any_of(ids))
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
        columns = {name: getattr(model, name) for name in ("key", "revision", "preprocessing", "dimension")}
        await connection.execute(insert(connection, models).values(model=model.id, **columns).on_conflict_do_nothing())
        row = (await connection.execute(select(models).where(models.c.key == model.key))).one()
        if row.dimension != model.dimension:
            raise ValueError(f"{model.key} had {row.dimension} dimensions before and has {model.dimension} now")
        return int(row.id)


def _decode(result: Result[int, int, bytes, int | None]) -> tuple[EmbeddingPage | None, list[int], int] | None:
    sound, damaged, image_id = [], [], 0
    for channel_id, image_id, stored, checksum in result:
        if Embedding.is_sound(stored, checksum):
            sound.append((image_id, channel_id, stored))
        else:
            damaged.append(image_id)
    if not image_id:
        return None
    if not sound:
        return None, damaged, image_id
    ids, channel_ids, sound_bytes = zip(*sound, strict=True)
    page = EmbeddingPage(np.array(ids, np.int64), np.array(channel_ids, np.int64), Embedding.stack(sound_bytes))
    return page, damaged, image_id


def _by_model(key: str, model_id: ColumnElement[int] = embeddings.c.model_id) -> ColumnElement[bool]:
    return model_id == select(models.c.id).where(models.c.key == key).scalar_subquery()
