"""RetaggingStore: which guilds' images are to be tagged again because their labels changed, and how far that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Select, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import ChannelRef, Tag
from bot.store.backend import any_of, insert
from bot.store.database import Store, reads, writes
from bot.store.deletion import KINDS
from bot.store.embeddings import AS_STORED, FIRST
from bot.store.schema import Embedding, Embeddings, channels, embeddings, guilds, images, models, retaggings
from bot.store.tags import decided, decisions_about, tags_of, write_tags

_SAME = 0.005
"""Probabilities that differ by less are not written again."""


@dataclass(frozen=True, slots=True)
class Progress:
    """total: None while it is not counted."""

    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class RetagPage:
    """Images of a guild, by rising id, with embeddings float16 [dim].

    after, last: the ids that it lies between. version: of the guild's labels. total: how many images there are to do,
    where that is counted with this page.
    """

    guild_id: int
    version: int
    after: int
    last: int
    total: int | None
    images: tuple[tuple[int, ChannelRef, Embeddings], ...]


class RetaggingStore(Store):
    @reads
    async def guild_ids(self, connection: AsyncConnection) -> list[int]:
        """The guilds that have images to tag again."""
        return list((await connection.execute(select(retaggings.c.guild_id))).scalars())

    @reads
    async def progress(self, connection: AsyncConnection, guild_id: int) -> Progress | None:
        """None where nothing is left to do."""
        row = (await connection.execute(select(retaggings).where(retaggings.c.guild_id == guild_id))).first()
        return None if row is None else Progress(row.done, row.total)

    @reads
    async def page(self, connection: AsyncConnection, guild_id: int, model_key: str, size: int) -> RetagPage | None:
        """The next images that this model has encoded, whether or not they are searchable at present. Those with a
        damaged embedding are left out: they are encoded again, and tagged then.

        None where the guild has nothing to do.
        """
        begun = (await connection.execute(_begun(guild_id))).first()
        if begun is None:
            return None
        these = (
            embeddings.c.model_id == select(models.c.id).where(models.c.key == model_key).scalar_subquery(),
            embeddings.c.guild_id == guild_id,
            embeddings.c.image_id > begun.after_id,
            FIRST,
        )
        query = (
            select(*AS_STORED, *channels.c["id", "parent_id", "thread"])
            .join_from(embeddings, channels, channels.c.id == embeddings.c.channel_id)
            .where(*these)
            .order_by(embeddings.c.image_id)
            .limit(size)
        )
        rows = (await connection.execute(query)).all()
        sound = [row for row in rows if Embedding.is_sound(row.embedding, row.checksum)]
        vectors = Embedding.stack([row.embedding for row in sound]) if sound else ()
        total = None
        if begun.total is None:
            total = await connection.scalar(select(func.count()).select_from(embeddings).where(*these))
        return RetagPage(
            guild_id,
            begun.labels_version,
            after=begun.after_id,
            last=rows[-1].image_id if rows else begun.after_id,
            total=total,
            images=tuple(
                (row.image_id, ChannelRef(guild_id, row.id, row.parent_id, KINDS[row.thread]), vector)
                for row, vector in zip(sound, vectors, strict=True)
            ),
        )

    @writes
    async def retag(self, connection: AsyncConnection, page: RetagPage, scored: Mapping[int, Sequence[Tag]]) -> bool:
        """Replaces the tags of images of this page, as far as they are others now, and notes that the page is done. A
        page without images is the last one.

        scored: by image id, what the labels give; images that are not among them keep their tags. False, and nothing is
        written, where the labels have changed since the page was read.
        """
        begun = (await connection.execute(_begun(page.guild_id))).first()
        if begun is None or (begun.labels_version, begun.after_id) != (page.version, page.after):
            return False
        this = retaggings.c.guild_id == page.guild_id
        if page.last == page.after:
            await connection.execute(delete(retaggings).where(this))
            return True
        there = select(*images.c["id", "channel_id"]).where(images.c.id.in_(any_of(scored)))
        channel_of = {row.id: row.channel_id for row in await connection.execute(there)}
        before, decisions = await tags_of(connection, channel_of), await decisions_about(connection, channel_of)
        changed = [
            id_ for id_ in channel_of if not _alike(before.get(id_, ()), decided(scored[id_], decisions.get(id_, ())))
        ]
        await write_tags(connection, {id_: (channel_of[id_], scored[id_]) for id_ in changed}, changed)
        total = begun.total if page.total is None else page.total
        done = begun.done + len(page.images)
        await connection.execute(update(retaggings).where(this).values(after_id=page.last, done=done, total=total))
        return True


async def request_retagging(connection: AsyncConnection, guild_id: int) -> None:
    """The guild's labels have changed: all of its images are to be tagged again."""
    newer = {"labels_version": guilds.c.labels_version + 1}
    await connection.execute(update(guilds).where(guilds.c.id == guild_id).values(newer))
    await retag_from(connection, {guild_id: 0})


async def retag_from(connection: AsyncConnection, after_ids: Mapping[int, int]) -> None:
    """The images with higher ids than these, by guild, are to be tagged again, beside those that already are."""
    statement = insert(connection, retaggings)
    known, new = retaggings.c.after_id, statement.excluded.after_id
    again = {"after_id": case((known < new, known), else_=new), "done": 0, "total": None}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["guild_id"], set_=again),
        [{"guild_id": guild_id, "after_id": after_id, "done": 0} for guild_id, after_id in after_ids.items()],
    )


def _begun(guild_id: int) -> Select[Any]:
    query = select(*retaggings.c["after_id", "done", "total"], guilds.c.labels_version)
    return query.join_from(retaggings, guilds, guilds.c.id == retaggings.c.guild_id).where(guilds.c.id == guild_id)


def _alike(one: Sequence[Tag], other: Sequence[Tag]) -> bool:
    """Whether these are the same tags, but for the rounding of their probabilities."""
    return len(one) == len(other) and all(
        replace(a, probability=b.probability) == b and abs(a.probability - b.probability) < _SAME
        for a, b in zip(one, other, strict=True)
    )
