"""Vectors in rows: each names its model, and no statement here reads across models."""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, Select, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from bot.store.rows import Half, from_blobs
from bot.store.tables import images, models, vectors

CHUNK = 16_384
# Rows that are fetched before their bytes are copied into the chunk: about a megabyte, which the CPU's caches hold.
_FETCHED = 1_024

_MODEL = select(*models.c["id", "dimension"]).where(models.c.key == bindparam("model_key"))
_NEXT = (
    select(*vectors.c["image_id", "channel_id", "vector"])
    .where(
        vectors.c.model_id == bindparam("model"),
        vectors.c.guild_id == bindparam("guild"),
        vectors.c.image_id > bindparam("after"),
    )
    .order_by(vectors.c.image_id)
    .limit(bindparam("size"))
)


class Model(Protocol):
    """What the store must know of a model; clipcore's ModelCard is one. Vectors are compared within one key only."""

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


class VectorChunk(NamedTuple):
    """ids, channel_ids: int64 [n], ids rising; vectors: float16 [n, dim], unit length."""

    ids: npt.NDArray[np.int64]
    channel_ids: npt.NDArray[np.int64]
    vectors: Half


@dataclass(frozen=True, slots=True)
class KnownVector:
    """What an identical file was found to be before. vector: float16 [dim]."""

    vector: Half
    width: int
    height: int


def model_row(connection: Connection, model: Model) -> int:
    """The id of this model's row, made where missing."""
    row = connection.execute(_MODEL, {"model_key": model.key}).first()
    if row is None:
        columns = ("key", "revision", "preprocessing", "dimension")
        values = {"model": model.id} | {name: getattr(model, name) for name in columns}
        return int(connection.execute(insert(models).values(values).returning(models.c.id)).scalar_one())
    if row.dimension != model.dimension:
        raise ValueError(f"{model.key} had {row.dimension} dimensions before and has {model.dimension} now")
    return int(row.id)


def vector_of(connection: Connection, image_id: int, model_key: str) -> Half | None:
    query = select(vectors.c.vector, models.c.dimension).select_from(vectors)
    row = connection.execute(_of_model(query, model_key, vectors.c.image_id == image_id)).first()
    return None if row is None else from_blobs([row.vector], row.dimension)[0]


def vector_of_hash(connection: Connection, content_hash: str, model_key: str) -> KnownVector | None:
    query = select(vectors.c.vector, models.c.dimension, images.c.width, images.c.height).select_from(vectors)
    query = query.join(images, images.c.id == vectors.c.image_id)
    row = connection.execute(_of_model(query, model_key, images.c.content_hash == content_hash)).first()
    return None if row is None else KnownVector(from_blobs([row.vector], row.dimension)[0], row.width, row.height)


def chunk_after(connection: Connection, guild_id: int, model_key: str, after: int, size: int) -> VectorChunk | None:
    """The next rows of this server by rising image id; None when there are no more."""
    model = connection.execute(_MODEL, {"model_key": model_key}).first()
    if model is None:
        return None
    rows = connection.execute(_NEXT, {"model": model.id, "guild": guild_id, "after": after, "size": size})
    chunk = VectorChunk(np.empty(size, np.int64), np.empty(size, np.int64), _pages(size, model.dimension))
    filled = 0
    for some in rows.partitions(_FETCHED):
        here = slice(filled, filled := filled + len(some))
        ids, channel_ids, blobs = zip(*some, strict=True)
        chunk.ids[here], chunk.channel_ids[here] = ids, channel_ids
        chunk.vectors[here] = from_blobs(blobs, model.dimension)
    return VectorChunk(chunk.ids[:filled], chunk.channel_ids[:filled], chunk.vectors[:filled]) if filled else None


def _pages(rows: int, dimension: int) -> Half:
    """float16 [rows, dimension], which goes back to the system as soon as nobody needs it.

    What malloc gave for megabytes, glibc keeps for each thread that reads: 100 MB after a million vectors. In huge
    pages, since touching small ones for the first time takes as long as copying the rows there.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty((rows, dimension), np.float16)
    memory = mmap.mmap(-1, 2 * rows * dimension, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.float16).reshape(rows, dimension)


def _of_model(query: Select[Any], model_key: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    return query.join(models, models.c.id == vectors.c.model_id).where(models.c.key == model_key, *conditions).limit(1)
