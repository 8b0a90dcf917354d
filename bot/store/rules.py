"""What a guild and its channels choose about indexing: on or off, for how long, and which members are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, exists, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import ChannelRef, ChannelRules, ImageRef, ImageState
from bot.store.backend import any_of, insert
from bot.store.database import Store, reads, writes
from bot.store.deletion import add_guild, not_deleted
from bot.store.schema import channels, excluded_members, guilds, images

_CHOSEN = channels.c["id", "indexed", "retention_days"]


@dataclass(frozen=True, slots=True)
class ChannelChoice:
    """What was chosen for one channel. None: as the guild."""

    channel_id: int
    indexed: bool | None
    retention_days: int | None


@dataclass(frozen=True, slots=True)
class GuildRules:
    """index_new_channels: what holds in channels that nothing was chosen for. channels: those with a choice.
    reads_text: whether the words in images are recognized.
    """

    paused: bool = False
    index_new_channels: bool = True
    retention_days: int | None = None
    channels: tuple[ChannelChoice, ...] = ()
    reads_text: bool = False

    def of(self, channel_id: int) -> ChannelChoice:
        """The choice for a channel, not for a thread, with the guild's in the place of what was not chosen."""
        own = next(
            (one for one in self.channels if one.channel_id == channel_id), ChannelChoice(channel_id, None, None)
        )
        indexed = self.index_new_channels if own.indexed is None else own.indexed
        days = self.retention_days if own.retention_days is None else own.retention_days
        return ChannelChoice(channel_id, indexed, days)


@dataclass(frozen=True, slots=True)
class Expired:
    """Images in these channels and their threads, in messages up to this one, are older than their retention allows."""

    guild_id: int
    channel_ids: tuple[int, ...]
    up_to_message: int


class RuleStore(Store):
    """Channels are meant without threads: these inherit what their channel chooses."""

    @reads
    async def of_guild(self, connection: AsyncConnection, guild_id: int) -> GuildRules:
        row = (await connection.execute(select(guilds).where(guilds.c.id == guild_id))).first()
        if row is None:
            return GuildRules()
        chosen = or_(channels.c.indexed.is_not(None), channels.c.retention_days.is_not(None))
        query = select(*_CHOSEN).where(channels.c.guild_id == guild_id, chosen).order_by(channels.c.id)
        found = tuple(
            ChannelChoice(one.id, None if one.indexed is None else bool(one.indexed), one.retention_days)
            for one in await connection.execute(query)
        )
        return GuildRules(
            bool(row.paused), bool(row.index_new_channels), row.retention_days, found, bool(row.reads_text)
        )

    @reads
    async def of_channels(
        self, connection: AsyncConnection, refs: Collection[ChannelRef]
    ) -> dict[ChannelRef, ChannelRules]:
        return await rules_of(connection, refs)

    @reads
    async def paused_guilds(self, connection: AsyncConnection) -> list[int]:
        return list((await connection.execute(select(guilds.c.id).where(guilds.c.paused == true()))).scalars())

    @writes
    async def set_paused(self, connection: AsyncConnection, guild_id: int, paused: bool) -> None:
        if await add_guild(connection, guild_id):
            await connection.execute(update(guilds).where(guilds.c.id == guild_id).values(paused=paused))

    @writes
    async def set_indexed(self, connection: AsyncConnection, ref: ChannelRef, indexed: bool, since: int) -> None:
        """since: the newest message that can have been posted by now. Where a channel begins to be indexed, nothing of
        what was posted before is accepted: a backfill brings it.
        """
        [before] = (await rules_of(connection, [ref])).values()
        if not await self._add(connection, ref):
            return
        await connection.execute(update(channels).where(channels.c.id == ref.channel_id).values(indexed=indexed))
        if indexed and not before.indexed:
            under = or_(channels.c.id == ref.channel_id, channels.c.parent_id == ref.channel_id)
            earlier = update(channels).where(under, channels.c.first_seen < since)
            await connection.execute(earlier.values(first_seen=since))

    @writes
    async def set_index_new_channels(
        self, connection: AsyncConnection, guild_id: int, indexed: bool, existing: Collection[int]
    ) -> None:
        """What holds in channels that are made from now on. existing: the ids of the others, which stay as they are."""
        if not await add_guild(connection, guild_id):
            return
        this = guilds.c.id == guild_id
        before = await connection.scalar(select(guilds.c.index_new_channels).where(this))
        if bool(before) == indexed:
            return
        await _add_channels(connection, guild_id, existing)
        unchosen = channels.c.id.in_(any_of(existing)), channels.c.guild_id == guild_id, channels.c.indexed.is_(None)
        await connection.execute(update(channels).where(*unchosen).values(indexed=before))
        await connection.execute(update(guilds).where(this).values(index_new_channels=indexed))

    @writes
    async def set_retention(
        self, connection: AsyncConnection, guild_id: int, channel_id: int | None, days: int | None
    ) -> None:
        """channel_id: None for what holds in channels that have chosen nothing. days: None: as the guild, or, of the
        guild, for good; FOR_GOOD of a channel.
        """
        if not await add_guild(connection, guild_id):
            return
        if channel_id is None:
            await connection.execute(update(guilds).where(guilds.c.id == guild_id).values(retention_days=days))
            return
        await _add_channels(connection, guild_id, [channel_id])
        await connection.execute(update(channels).where(channels.c.id == channel_id).values(retention_days=days))

    @reads
    async def expired(self, connection: AsyncConnection) -> list[Expired]:
        """Of every guild with a retention, the channels in which anything has expired."""
        days = or_(
            guilds.c.retention_days.is_not(None),
            exists().where(channels.c.guild_id == guilds.c.id, channels.c.retention_days.is_not(None)),
        )
        found: list[Expired] = []
        for guild_id in (await connection.execute(select(guilds.c.id).where(days))).scalars().all():
            found += await self._expired_in(connection, guild_id)
        return found

    async def _expired_in(self, connection: AsyncConnection, guild_id: int) -> list[Expired]:
        own = select(*channels.c["id", "parent_id"]).where(channels.c.guild_id == guild_id)
        roots = {row.parent_id or row.id for row in await connection.execute(own)}
        rules = await rules_of(connection, [ChannelRef(guild_id, root) for root in roots])
        by_bound: dict[int, list[int]] = {}
        for ref, rule in rules.items():
            if rule.retention_days:
                bound = ChannelRules(retention_days=rule.retention_days).floor(self._now())
                by_bound.setdefault(bound, []).append(ref.channel_id)
        found = []
        for bound, ids in by_bound.items():
            root = func.coalesce(channels.c.parent_id, channels.c.id)
            query = select(root).distinct().where(channels.c.guild_id == guild_id, root.in_(any_of(ids)), _has(bound))
            if expired := sorted((await connection.execute(query)).scalars()):
                found.append(Expired(guild_id, tuple(expired), bound))
        return found

    @writes
    async def exclude_member(self, connection: AsyncConnection, guild_id: int, author_id: int) -> None:
        """Nothing that the member posts is accepted any more. What is stored stays."""
        if await add_guild(connection, guild_id):
            statement = insert(connection, excluded_members).values(guild_id=guild_id, author_id=author_id)
            await connection.execute(statement.on_conflict_do_nothing())

    @writes
    async def readmit_member(self, connection: AsyncConnection, guild_id: int, author_id: int) -> bool:
        """What the member posts is accepted again. False where it was not excluded."""
        this = excluded_members.c.guild_id == guild_id, excluded_members.c.author_id == author_id
        return (await connection.execute(delete(excluded_members).where(*this))).rowcount > 0

    @reads
    async def excluded_members(self, connection: AsyncConnection, guild_id: int) -> list[int]:
        query = select(excluded_members.c.author_id).where(excluded_members.c.guild_id == guild_id)
        return list((await connection.execute(query.order_by(excluded_members.c.author_id))).scalars())

    async def _add(self, connection: AsyncConnection, ref: ChannelRef) -> bool:
        if not await add_guild(connection, ref.guild_id):
            return False
        await _add_channels(connection, ref.guild_id, [ref.channel_id])
        return True


async def admitted(connection: AsyncConnection, refs: Sequence[ImageRef], now: datetime) -> list[ImageRef]:
    """Those of these images that may be indexed: neither deleted nor against the rules."""
    left = await not_deleted(connection, refs)
    rules = await rules_of(connection, {ref.channel for ref in left})
    return [ref for ref in left if _admits(rules[ref.channel], ref, now)]


def _admits(rule: ChannelRules, ref: ImageRef, now: datetime) -> bool:
    return rule.indexed and not rule.paused and ref.message_id > rule.floor(now)


async def rules_of(connection: AsyncConnection, refs: Collection[ChannelRef]) -> dict[ChannelRef, ChannelRules]:
    """One statement, however many channels."""
    if not refs:
        return {}
    ids = {id_ for ref in refs for id_ in (ref.channel_id, ref.parent_id) if id_ is not None}
    # + 0: else SQLite would go through all channels of the guild.
    of_guild = and_(channels.c.guild_id + 0 == guilds.c.id, channels.c.id.in_(any_of(ids)))
    of_both: list[ColumnElement[Any]] = [
        *guilds.c["id", "paused", "index_new_channels"],
        guilds.c.retention_days.label("guild_days"),
        guilds.c.forgotten_up_to.label("guild_forgotten"),
        channels.c.id.label("channel_id"),
        *channels.c["indexed", "retention_days", "forgotten_up_to"],
    ]
    query = select(*of_both).outerjoin_from(guilds, channels, of_guild)
    rows = (await connection.execute(query.where(guilds.c.id.in_(any_of({ref.guild_id for ref in refs}))))).all()
    of_guilds = {row.id: row for row in rows}
    of_channels = {row.channel_id: row for row in rows}
    return {ref: _rules(ref, of_guilds.get(ref.guild_id), of_channels) for ref in refs}


def _rules(ref: ChannelRef, guild: Row[Any] | None, of_channels: dict[int, Row[Any]]) -> ChannelRules:
    if guild is None:
        return ChannelRules()
    known = [row for id_ in (ref.channel_id, ref.parent_id) if id_ is not None and (row := of_channels.get(id_))]
    indexed = _first([row.indexed for row in known], guild.index_new_channels)
    days = _first([row.retention_days for row in known], guild.guild_days)
    forgotten = [
        up_to for up_to in (guild.guild_forgotten, *(row.forgotten_up_to for row in known)) if up_to is not None
    ]
    return ChannelRules(bool(indexed), bool(guild.paused), days, max(forgotten, default=-1))


def _first(chosen: Iterable[int | None], default: int | None) -> int | None:
    return next((one for one in chosen if one is not None), default)


def _has(bound: int) -> ColumnElement[bool]:
    """Whether a channel has an image in a message up to this one."""
    this = images.c.channel_id == channels.c.id, images.c.state.in_([*ImageState])  # the columns of an index
    return exists().where(*this, images.c.message_id <= bound)


async def _add_channels(connection: AsyncConnection, guild_id: int, ids: Collection[int]) -> None:
    """Rows for channels that have none; those of others stay as they are."""
    rows = [{"id": id_, "guild_id": guild_id} for id_ in ids]
    if rows:
        await connection.execute(insert(connection, channels).on_conflict_do_nothing(), rows)
