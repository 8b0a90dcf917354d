"""Tags: what labels give and members decide; how many images of some channels have which, and which images have one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, exists, func, literal, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.errors import TooManyTags
from bot.label_names import label_key
from bot.models import ImageState, Tag, TagDecision
from bot.store.backend import any_of, insert
from bot.store.database import Store, reads, writes
from bot.store.schema import channels, images, tag_decisions, tags, unverified

_NOT_READY = tuple(state for state in ImageState if state is not ImageState.READY)
MAX_DECISIONS = 100
"""About the tags of one image."""

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
        # Counted in the order of an index: 900,000 tags took 0.7 s, and 3.8 s with a look at the image of each. Few
        # images are not searchable, so their tags are subtracted instead.
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

    @reads
    async def removed_from(self, connection: AsyncConnection, image_ids: Collection[int]) -> dict[int, list[str]]:
        """The labels that members removed from these images, by the ids of those that have any."""
        found = await decisions_about(connection, image_ids)
        removed = {id_: [one.label for one in made if not one.kept] for id_, made in found.items()}
        return {id_: labels for id_, labels in removed.items() if labels}

    @writes
    async def decide(
        self, connection: AsyncConnection, image_id: int, decisions: Sequence[TagDecision]
    ) -> tuple[Tag, ...] | None:
        """Notes what a member decided about an image's tags, and returns its tags now; None where it is deleted, or was
        never ready.

        Raises TooManyTags.
        """
        was_ready = (images.c.state == ImageState.READY) | (images.c.reread == true())
        channel_id = await connection.scalar(select(images.c.channel_id).where(images.c.id == image_id, was_ready))
        if channel_id is None:
            return None
        await add_decisions(connection, {image_id: decisions})
        of_image = tag_decisions.c.image_id == image_id
        if (
            await connection.scalar(select(func.count()).select_from(tag_decisions).where(of_image)) or 0
        ) > MAX_DECISIONS:
            raise TooManyTags
        await decide_again(connection, {image_id: channel_id})
        return tuple((await tags_of(connection, [image_id])).get(image_id, ()))


def decided(scored: Iterable[Tag], decisions: Iterable[TagDecision]) -> tuple[Tag, ...]:
    """The tags of an image whose labels scored like this, after what members decided: first those that they keep, then
    the others, most probable first; each label once.
    """
    by_key = {label_key(decision.label): decision for decision in decisions}
    found: dict[str, Tag] = {
        key: Tag(decision.label, 1.0, confirmed=True, language=decision.language)
        for key, decision in by_key.items()
        if decision.kept
    }
    for tag in sorted(scored, key=lambda tag: -tag.probability):
        key = label_key(tag.label)
        if key not in by_key:
            found.setdefault(key, replace(tag, confirmed=False))
    return tuple(found.values())


async def write_tags(
    connection: AsyncConnection, scored: Mapping[int, tuple[int, Sequence[Tag]]], tagged_before: Collection[int]
) -> None:
    """Replaces the tags of these images. scored: by image id, its channel's id and the tags that its labels give it.
    tagged_before: the ids of those that had been ready before. No others have tags, or decisions about them.

    Nothing else writes tags, so that no tag comes back that a member removed.
    """
    decisions: Mapping[int, Sequence[TagDecision]] = {}
    if tagged_before:
        decisions = await decisions_about(connection, tagged_before)
        await connection.execute(delete(tags).where(tags.c.image_id.in_(any_of(tagged_before))))
    written = [
        {
            "image_id": image_id,
            "rank": rank,
            "channel_id": channel_id,
            "key": label_key(tag.label),
            "label": tag.label,
            "probability": tag.probability,
            "confirmed": tag.confirmed,
            "language": tag.language,
        }
        for image_id, (channel_id, of_image) in scored.items()
        for rank, tag in enumerate(decided(of_image, decisions.get(image_id, ())))
    ]
    if written:
        await connection.execute(tags.insert(), written)


async def add_decisions(connection: AsyncConnection, made: Mapping[int, Sequence[TagDecision]]) -> None:
    """made: by image id; each replaces an earlier one about the same tag. `decide_again` changes the tags."""
    statement = insert(connection, tag_decisions)
    newer = {name: statement.excluded[name] for name in ("label", "kept", "language")}
    rows = [
        {"image_id": image_id, "key": label_key(one.label)}
        | {"label": one.label, "kept": one.kept, "language": one.language}
        for image_id, decisions in made.items()
        for one in decisions
    ]
    if rows:
        await connection.execute(statement.on_conflict_do_update(index_elements=["image_id", "key"], set_=newer), rows)


async def decide_again(connection: AsyncConnection, places: Mapping[int, int]) -> None:
    """Makes the tags of these images follow the decisions about them. places: their channels' ids, by image id."""
    before = await tags_of(connection, places)
    scored = {image_id: (channel_id, before.get(image_id, ())) for image_id, channel_id in places.items()}
    await write_tags(connection, scored, list(places))


async def tags_of(connection: AsyncConnection, image_ids: Iterable[int]) -> dict[int, list[Tag]]:
    """The tags of those of these images that have any."""
    found: defaultdict[int, list[Tag]] = defaultdict(list)
    query = select(tags).where(tags.c.image_id.in_(any_of(image_ids))).order_by(tags.c.image_id, tags.c.rank)
    for row in await connection.execute(query):
        found[row.image_id].append(Tag(row.label, row.probability, bool(row.confirmed), row.language))
    return found


async def decisions_about(connection: AsyncConnection, image_ids: Iterable[int]) -> dict[int, list[TagDecision]]:
    """What members decided about those of these images that they decided about."""
    found: defaultdict[int, list[TagDecision]] = defaultdict(list)
    query = select(tag_decisions).where(tag_decisions.c.image_id.in_(any_of(image_ids)))
    for row in await connection.execute(query):
        found[row.image_id].append(TagDecision(row.label, bool(row.kept), row.language))
    return found


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
