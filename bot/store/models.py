"""ModelStore: which model's embeddings answer queries, and how far another one is that is to take over from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import Image, ImageState
from bot.store.backend import any_of, insert
from bot.store.database import Store, reads, writes
from bot.store.embeddings import FIRST, Model, by_model, id_of_model
from bot.store.images import Finished, embedding_rows, read_images, select_images
from bot.store.retagging import Progress, retag_from
from bot.store.schema import embeddings, guilds, images, models

PAGE = 1_000
"""Embeddings that one transaction deletes."""

_KEY = [*embeddings.c["image_id", "model_id", "frame"]]


@dataclass(frozen=True, slots=True)
class AnsweringModel:
    """id: by which clipcore loads it. key: as in ModelCard."""

    id: str
    key: str


class ModelStore(Store):
    @reads
    async def answering(self, connection: AsyncConnection) -> AnsweringModel | None:
        """The model whose embeddings answer queries; None while there are none."""
        its = exists().where(embeddings.c.model_id == models.c.id)
        row = (await connection.execute(select(models).where(models.c.answering == true(), its))).first()
        return None if row is None else AnsweringModel(row.model, row.key)

    @writes
    async def answer_with(self, connection: AsyncConnection, model: Model) -> None:
        """From now on this model's embeddings answer. Where others did, all images are to be tagged again."""
        before = await connection.scalar(select(models.c.id).where(models.c.answering == true()))
        now = await id_of_model(connection, model)
        if before == now:
            return
        await connection.execute(update(models).values(answering=models.c.id == now))
        if before is not None:
            await connection.execute(update(guilds).values(labels_version=guilds.c.labels_version + 1))
            ids = (await connection.execute(select(guilds.c.id))).scalars().all()
            if ids:
                await retag_from(connection, dict.fromkeys(ids, 0))

    @reads
    async def progress(self, connection: AsyncConnection, model_key: str) -> Progress:
        """How many searchable images this model has encoded, and how many there are."""
        done = await connection.scalar(select(func.count()).select_from(embeddings).where(by_model(model_key), FIRST))
        ready = select(func.count()).select_from(images).where(images.c.state == ImageState.READY)
        total = await connection.scalar(ready) or 0
        return Progress(min(done or 0, total), total)

    @reads
    async def left_to(self, connection: AsyncConnection, model_key: str, after: int, limit: int) -> list[Image]:
        """The next searchable images, by rising id, that this model has not encoded."""
        encoded = exists().where(embeddings.c.image_id == images.c.id, by_model(model_key), FIRST)
        these = images.c.id > after, images.c.state == ImageState.READY, ~encoded
        return await read_images(connection, select_images().where(*these).order_by(images.c.id).limit(limit))

    @writes
    async def add(self, connection: AsyncConnection, batch: Sequence[Finished], model: Model) -> int:
        """Adds what this model made of searchable images, beside other models' embeddings; tags stay as they are.

        Returns how many; the others were deleted meanwhile.
        """
        items = {item.image_id: item for item in batch}
        there = select(*images.c["id", "guild_id", "channel_id"]).where(
            images.c.id.in_(any_of(items)), images.c.state == ImageState.READY
        )
        found = (await connection.execute(there)).all()
        if found:
            model_id = await id_of_model(connection, model)
            rows = [
                values
                for id_, guild_id, channel_id in found
                for values in embedding_rows(items[id_], guild_id, channel_id, model_id)
            ]
            await connection.execute(insert(connection, embeddings).on_conflict_do_nothing(), rows)
        return len(found)

    @writes
    async def drop_others(self, connection: AsyncConnection, kept: Collection[str], *, page: int = PAGE) -> int:
        """Deletes embeddings by other models than these, one page of them. Returns how many. kept: keys."""
        others = select(models.c.id).where(models.c.key.not_in(kept))
        some = select(*_KEY).where(embeddings.c.model_id.in_(others)).limit(page)
        return (await connection.execute(delete(embeddings).where(tuple_(*_KEY).in_(some)))).rowcount
