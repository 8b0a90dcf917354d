"""Embeddings: each belongs to one model, and no query mixes models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, LargeBinary, Result, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import utc_now
from bot.store.backend import insert
from bot.store.database import Database, Store, reads, writes
from bot.store.schema import Embedding, Embeddings, embeddings, images, models

# A megabyte: larger buffers keep other threads waiting for the interpreter, and stay with the allocator afterwards.
PAGE = 1_024


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
    """Reads embeddings, and knows the models that made them."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(database, clock)
        self._model_ids: dict[tuple[str, int], int] = {}

    @reads
    async def embedding(self, connection: AsyncConnection, image_id: int, model_key: str) -> Embeddings | None:
        """float16 [dim], unit length; None if this model has not encoded the image."""
        query = select(embeddings.c.embedding).where(_by_model(model_key), embeddings.c.image_id == image_id)
        found: Embeddings | None = (await connection.execute(query)).scalar()
        return found

    @reads
    async def embedding_of_hash(
        self, connection: AsyncConnection, guild_id: int, content_hash: str, model_key: str
    ) -> KnownEmbedding | None:
        """What this model made of an identical file of this guild. Others' are left out: a quick answer would tell that
        the file was posted there.
        """
        query = select(embeddings.c.embedding, *images.c["width", "height"])
        query = query.join_from(embeddings, images, images.c.id == embeddings.c.image_id)
        # + 0: else SQLite goes through all embeddings of the model, or all images of the guild.
        these = _by_model(model_key, embeddings.c.model_id + 0), images.c.guild_id + 0 == guild_id
        row = (await connection.execute(query.where(images.c.content_hash == content_hash, *these).limit(1))).first()
        return None if row is None else KnownEmbedding(row.embedding, row.width, row.height)

    async def embeddings(self, guild_id: int, model_key: str, *, page: int = PAGE) -> AsyncIterator[EmbeddingPage]:
        """A guild's embeddings by this model, by rising image id, at most `page` rows at a time.

        Each page is a transaction of its own: images that are finished or deleted meanwhile may be missing or not.
        """
        after = 0
        while (rows := await self._page(guild_id, model_key, after, page)) is not None:
            yield rows
            after = int(rows.ids[-1])

    @reads
    async def _page(
        self, connection: AsyncConnection, guild_id: int, model_key: str, after: int, size: int
    ) -> EmbeddingPage | None:
        query = (
            # As stored: a whole page is decoded at once.
            select(*embeddings.c["image_id", "channel_id"], type_coerce(embeddings.c.embedding, LargeBinary))
            .where(_by_model(model_key), embeddings.c.guild_id == guild_id, embeddings.c.image_id > after)
            .order_by(embeddings.c.image_id)
            .limit(size)
        )
        # Off the event loop, which would stop meanwhile.
        return await asyncio.to_thread(_decode, await connection.execute(query))

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


def _decode(result: Result[Any]) -> EmbeddingPage | None:
    rows = result.all()
    if not rows:
        return None
    ids, channel_ids, stored = zip(*rows, strict=True)
    return EmbeddingPage(np.array(ids, np.int64), np.array(channel_ids, np.int64), Embedding.stack(stored))


def _by_model(key: str, model_id: ColumnElement[int] = embeddings.c.model_id) -> ColumnElement[bool]:
    return model_id == select(models.c.id).where(models.c.key == key).scalar_subquery()
