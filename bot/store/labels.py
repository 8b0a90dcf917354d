"""LabelStore: which labels the guilds chose, for themselves and for single channels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import ChannelRef
from bot.store.database import Store, reads, writes
from bot.store.deletion import add_channel, add_guild
from bot.store.retagging import request_retagging
from bot.store.schema import guilds, label_sets, labels

DEFAULT = "default"
"""The shipped set that suits the model."""


@dataclass(frozen=True, slots=True)
class OwnLabel:
    """A label that a guild made.

    prompts: phrases that describe it; none: its name does, or a shipped label of that name. threshold: the score from 1
    to 99 from which an image gets it; None: 50, the model's threshold. language: a code like `zh`: it is shown first to
    those who read that language.
    """

    name: str
    prompts: tuple[str, ...] = ()
    threshold: int | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of a guild, or of a channel with labels of its own: those of the shipped sets but for those `without`,
    and own ones, which replace shipped ones of the same name.
    """

    shipped: tuple[str, ...] = (DEFAULT,)
    own: tuple[OwnLabel, ...] = ()
    without: tuple[str, ...] = ()


NOTHING_CHOSEN = LabelSet()


@dataclass(frozen=True, slots=True)
class GuildLabels:
    """What a guild chose. version: rises with each change. channels: by the id of a channel or thread."""

    version: int = 0
    server: LabelSet | None = None
    channels: Mapping[int, LabelSet] = field(default_factory=dict)

    def of(self, channel: ChannelRef | None) -> LabelSet:
        """The set that applies in a channel or thread: its own, else its parent's, else the server's."""
        if channel is not None:
            for id_ in (channel.channel_id, channel.parent_id):
                if id_ is not None and id_ in self.channels:
                    return self.channels[id_]
        return NOTHING_CHOSEN if self.server is None else self.server


Edit = Callable[[LabelSet], LabelSet | None]
"""From the set that applies to the one that is wanted; None: no set of its own. What it raises changes nothing."""


class LabelStore(Store):
    """Who changes labels need not know of images: those of the guild are tagged again, see `Retagger`."""

    @reads
    async def of_guild(self, connection: AsyncConnection, guild_id: int) -> GuildLabels:
        return await _labels_of(connection, guild_id)

    @writes
    async def change(
        self, connection: AsyncConnection, guild_id: int, channel: ChannelRef | None, edit: Edit
    ) -> GuildLabels:
        """Changes the guild's labels, or those of one channel or thread, which at first are those that apply there.

        Returns the guild's labels now. A deleted guild or channel has none.
        """
        before = await _labels_of(connection, guild_id)
        after = edit(before.of(channel))
        own = before.server if channel is None else before.channels.get(channel.channel_id)
        if after == own:
            return before
        if not await (add_guild(connection, guild_id) if channel is None else add_channel(connection, channel)):
            return before
        channel_id = None if channel is None else channel.channel_id
        await _replace(connection, guild_id, channel_id, after)
        await request_retagging(connection, guild_id)
        return await _labels_of(connection, guild_id)


async def _labels_of(connection: AsyncConnection, guild_id: int) -> GuildLabels:
    version = await connection.scalar(select(guilds.c.labels_version).where(guilds.c.id == guild_id))
    query = (
        select(*label_sets.c["id", "channel_id", "shipped"], labels)
        .outerjoin_from(label_sets, labels, labels.c.set_id == label_sets.c.id)
        .where(label_sets.c.guild_id == guild_id)
        .order_by(label_sets.c.id, labels.c.position)
    )
    server: LabelSet | None = None
    found: dict[int | None, tuple[tuple[str, ...], list[OwnLabel], list[str]]] = {}
    for row in await connection.execute(query):
        _, own, without = found.setdefault(row.channel_id, (tuple(row.shipped.split()), [], []))
        if row.label is None:  # a set without labels of its own
            continue
        if row.removed:
            without.append(row.label)
        else:
            own.append(OwnLabel(row.label, tuple(json.loads(row.prompts)), row.threshold, row.language))
    sets = {id_: LabelSet(shipped, tuple(own), tuple(without)) for id_, (shipped, own, without) in found.items()}
    server = sets.pop(None, None)
    return GuildLabels(version or 0, server, {id_: one for id_, one in sets.items() if id_ is not None})


async def _replace(connection: AsyncConnection, guild_id: int, channel_id: int | None, wanted: LabelSet | None) -> None:
    this = label_sets.c.guild_id == guild_id, label_sets.c.channel_id.is_not_distinct_from(channel_id)
    await connection.execute(delete(label_sets).where(*this))
    if wanted is None:
        return
    row = {"guild_id": guild_id, "channel_id": channel_id, "shipped": " ".join(wanted.shipped)}
    set_id = await connection.scalar(label_sets.insert().values(row).returning(label_sets.c.id))
    rows: list[dict[str, object]] = [
        {"label": one.name, "prompts": json.dumps(one.prompts, ensure_ascii=False)}
        | {"threshold": one.threshold, "language": one.language, "removed": False}
        for one in wanted.own
    ]
    rows += [
        {"label": name, "prompts": "[]", "threshold": None, "language": None, "removed": True}
        for name in wanted.without
    ]
    if rows:
        await connection.execute(
            labels.insert(), [{"set_id": set_id, "position": at} | values for at, values in enumerate(rows)]
        )
