"""TagStore: which tags the images of some channels have, and which images have a tag."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, exists, func, literal, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.label_names import label_key
from bot.models import ImageState, Tag
from bot.store.backend import any_of
from bot.store.database import Store, reads
from bot.store.schema import channels, images, tags, unverified

_NOT_READY = tuple(state for state in ImageState if state is not ImageState.READY)
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class CountedTag:
    """count: of images."""

    label: str
    count: int


class TagStore(Store):
    """Tags of images that are searchable: ready, and not waiting to be verified after a restore."""

    @reads
    async def tags_in(
        self, connection: AsyncConnection, guild_id: int, channel_ids: Collection[int], prefix: str = ""
    ) -> list[CountedTag]:
        """The tags of a guild's images in these channels and threads, the most frequent first.

        prefix: what the label begins with. It is compared by `label_key`, and labels of one key are counted as one.
        """
        there, key = _channels_of(guild_id, channel_ids), label_key(prefix)
        begins = (tags.c.key >= key, tags.c.key < key + _LAST_CHARACTER) if key else (true(),)
        # Counted in the order of an index, a tenth of a second for a million. Few images are not searchable, so their
        # tags are subtracted, which is far cheaper than to look at the image of every tag.
        columns = tags.c["key", "label"]
        everything = (
            select(*columns, func.count().label("images"))
            .where(tags.c.channel_id.in_(there), *begins)
            .group_by(*tags.c["channel_id", "key", "label"])
        )
        hidden = select(*columns, literal(-1)).where(*begins)
        of_image = tags.c.image_id == images.c.id
        not_ready = hidden.join_from(images, tags, of_image).where(
            images.c.channel_id.in_(there), images.c.state.in_(_NOT_READY)
        )
        not_verified = (
            hidden.join_from(unverified, images, images.c.id == unverified.c.image_id)
            .join(tags, of_image)
            .where(unverified.c.channel_id.in_(there), _is_ready())
        )
        each = union_all(everything, not_ready, not_verified).subquery()
        query = select(*each.c["key", "label"], func.sum(each.c.images).label("images")).group_by(
            *each.c["key", "label"]
        )
        return _merged(await connection.execute(query))

    @reads
    async def tagged(
        self, connection: AsyncConnection, guild_id: int, channel_ids: Collection[int], label: str
    ) -> frozenset[int]:
        """The ids of a guild's images in these channels and threads that have this tag, compared by `label_key`."""
        there = _channels_of(guild_id, channel_ids)
        query = (
            select(tags.c.image_id)
            .join_from(tags, images, images.c.id == tags.c.image_id)
            .where(tags.c.channel_id.in_(there), tags.c.key == label_key(label), _is_ready())
            .where(~exists().where(unverified.c.image_id == tags.c.image_id))
        )
        return frozenset((await connection.execute(query)).scalars())


def tag_row(image_id: int, channel_id: int, rank: int, tag: Tag) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "rank": rank,
        "channel_id": channel_id,
        "key": label_key(tag.label),
        "label": tag.label,
        "probability": tag.probability,
        "confirmed": tag.confirmed,
        "language": tag.language,
    }


def tag_of(row: Row[Any]) -> Tag:
    return Tag(row.label, row.probability, bool(row.confirmed), row.language)


def _channels_of(guild_id: int, channel_ids: Collection[int]) -> Select[Any]:
    """Only those of the guild, whatever the caller believes."""
    return select(channels.c.id).where(channels.c.guild_id == guild_id, channels.c.id.in_(any_of(channel_ids)))


def _is_ready() -> ColumnElement[bool]:
    # + '': else SQLite may go through all ready images.
    return images.c.state + "" == ImageState.READY


def _merged(rows: Iterable[Row[Any]]) -> list[CountedTag]:
    """One of each key, as it is written most often."""
    spellings: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if row.images > 0:
            spellings.setdefault(row.key, []).append(row)
    merged = [
        CountedTag(max(of_key, key=lambda row: row.images).label, sum(row.images for row in of_key))
        for of_key in spellings.values()
    ]
    return sorted(merged, key=lambda tag: (-tag.count, tag.label))
