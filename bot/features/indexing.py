"""Discord's events about messages, channels and guilds, passed on to the indexer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import discord
from discord.ext import commands

from bot.discord_io.messages import channel_ref
from bot.discord_io.permissions import bot_may_read
from bot.indexing.catch_up import CatchUp, ChannelSnapshot
from bot.indexing.retry import until_stored
from bot.keyed_lock import KeyedLock
from bot.logging import get_logger
from bot.models import utc_now

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

log = get_logger(__name__)

_Channel = discord.abc.GuildChannel | discord.Thread

_RIGHTS_PAUSE_S = 1.0
"""After a change of permissions: a moderator rarely makes only one."""


class IndexingCog(commands.Cog, name="indexing"):
    """Each listener may run any number of times: events can arrive twice, late or out of order."""

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        # Each event is handled in a task of its own; new messages and edits of one message in order.
        self._message_lock = KeyedLock()
        self._arrived: set[int] = set()
        self._reading_again: dict[int, asyncio.Task[None]] = {}

    # -- messages

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        channel = channel_ref(message.channel)
        if channel is None:
            return
        catch_up = self._bot.services.catch_up
        if not _may_read_history(message.channel):  # its images could not be shown; it is read when the right returns
            catch_up.unreadable(channel)
            return
        async with self._message_lock(message.id):
            await catch_up.live(channel, self._bot.services.messages.seen(message, channel))

    @commands.Cog.listener()
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Images may have been removed, and link previews arrive by an edit."""
        message = payload.message
        channel = channel_ref(message.channel)
        seen = self._bot.services.messages.seen(message, channel)
        if not _may_read_history(message.channel):
            seen = replace(seen, images=())
        async with self._message_lock(message.id):
            await self._bot.services.catch_up.edited(channel, seen)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._bot.services.registry.forget_messages([payload.message_id])

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._bot.services.registry.forget_messages(payload.message_ids)

    # -- threads and channels

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self._bot.services.registry.forget_channel(payload.thread_id)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        await self._bot.services.registry.forget_channel(channel.id)

    @commands.Cog.listener("on_guild_channel_create")
    @commands.Cog.listener("on_thread_create")
    @commands.Cog.listener("on_thread_join")
    async def catch_up_on(self, channel: _Channel) -> None:
        snapshot = _snapshot(channel)
        if snapshot is not None:
            self._bot.services.catch_up.appeared(snapshot)

    # -- the bot's own rights

    @commands.Cog.listener()
    async def on_guild_channel_update(self, before: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        if before.overwrites != after.overwrites:
            self._rights_changed(after.guild, [after, *getattr(after, "threads", ())])

    @commands.Cog.listener()
    async def on_guild_role_update(self, before: discord.Role, after: discord.Role) -> None:
        if before.permissions != after.permissions:
            self._rights_changed(after.guild, _channels_of(after.guild))

    @commands.Cog.listener()
    async def on_guild_role_delete(self, role: discord.Role) -> None:
        self._rights_changed(role.guild, _channels_of(role.guild))

    @commands.Cog.listener()
    async def on_member_update(self, _before: discord.Member, after: discord.Member) -> None:
        """Without the members intent, Discord tells of the bot itself only."""
        self._rights_changed(after.guild, _channels_of(after.guild))

    def _rights_changed(self, guild: discord.Guild, channels: Iterable[_Channel]) -> None:
        """Notes at once what the bot may not read any more: the next message may be one that it will see. What it may
        read again is read once no more changes come.

        channels: those concerned. A channel's own overwrites decide, never its category's, so each has an event.
        """
        for channel in channels:
            ref = channel_ref(channel)
            if ref is not None and not _may_read_history(channel):
                self._bot.services.catch_up.unreadable(ref)
        if (earlier := self._reading_again.get(guild.id)) is not None:
            earlier.cancel()
        self._reading_again[guild.id] = asyncio.create_task(
            self._read_again(guild), name=f"read guild {guild.id} again"
        )

    async def _read_again(self, guild: discord.Guild) -> None:
        await asyncio.sleep(_RIGHTS_PAUSE_S)
        try:
            services = self._bot.services
            snapshots = [one for channel in _channels_of(guild) if (one := _snapshot(channel)) is not None]
            # A channel that was never seen is read from now on: the cache does not know its newest message.
            now = discord.utils.time_snowflake(utc_now())
            services.catch_up.readable(guild.id, [replace(one, newest=now) for one in snapshots])
            channel_ids = [channel.id for channel in guild.channels if _may_read_history(channel)]
            await until_stored(lambda: services.indexer.retry_forbidden(channel_ids))
        except Exception:  # the next change, session or start tries again
            log.exception("what the bot may read again could not be read", guild_id=guild.id)
        del self._reading_again[guild.id]

    async def cog_unload(self) -> None:
        for task in self._reading_again.values():
            task.cancel()
        await asyncio.gather(*self._reading_again.values(), return_exceptions=True)

    # -- sessions and guilds

    @commands.Cog.listener()
    async def on_shard_connect(self, shard_id: int) -> None:
        """A new session: what was posted since the last one is missing, so live messages must not move watermarks."""
        guild_ids = {guild.id for guild in self._bot.guilds if guild.shard_id == shard_id}
        self._arrived -= guild_ids
        self._bot.services.catch_up.hold(guild_ids)
        self._bot.services.backfills.unavailable(guild_ids)

    @commands.Cog.listener("on_guild_available")
    @commands.Cog.listener("on_guild_join")
    async def welcome(self, guild: discord.Guild) -> None:
        self._arrived.add(guild.id)
        services = self._bot.services
        begin = begin_catch_up(services.catch_up, guild)
        await services.registry.readmit_guild(guild.id)  # the store may take its time: the snapshots are older
        begin()
        services.backfills.available(guild.id)

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """The bot was removed from the guild. An outage arrives as on_guild_unavailable, and deletes nothing."""
        self._bot.services.catch_up.hold({guild.id})  # until it invites the bot again
        self._bot.services.backfills.unavailable({guild.id})
        await self._bot.services.registry.forget_guild(guild.id)

    @commands.Cog.listener()
    async def on_shard_ready(self, shard_id: int) -> None:
        """Forgets the guilds of this shard that removed the bot while it was offline."""
        services = self._bot.services
        for guild_id in await until_stored(services.images.guild_ids):
            if (guild_id >> 22) % (self._bot.shard_count or 1) == shard_id and not self._in_session(guild_id):
                await services.registry.forget_guild(guild_id)

    def _in_session(self, guild_id: int) -> bool:
        """Whether the session has this guild. discord.py keeps those of earlier sessions cached as if available, so
        only guilds that have arrived count, and those that Discord announced as unavailable: that is an outage.
        """
        guild = self._bot.get_guild(guild_id)
        return guild is not None and (guild.unavailable or guild_id in self._arrived)

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        log.info("ready", guilds=len(self._bot.guilds))


def begin_catch_up(catch_up: CatchUp, guild: discord.Guild) -> Callable[[], None]:
    """Takes a snapshot of the guild's channels; the function begins to catch up on them."""
    channels = _channels_of(guild)
    snapshots = [snapshot for channel in channels if (snapshot := _snapshot(channel)) is not None]
    return partial(catch_up.begin, guild.id, snapshots, {channel.id for channel in channels})


def _channels_of(guild: discord.Guild) -> list[_Channel]:
    """Those that are cached: no archived threads."""
    return [*guild.channels, *guild.threads]


def _snapshot(channel: _Channel) -> ChannelSnapshot | None:
    """None where no messages are posted, or the bot may not read the history."""
    ref = channel_ref(channel)
    if ref is None or not isinstance(channel, discord.abc.Messageable) or not _may_read_history(channel):
        return None
    # A thread created from a message has that message's id, which may be much older than the thread.
    created = channel.created_at if isinstance(channel, discord.Thread) else None
    return ChannelSnapshot(ref, channel.last_message_id, discord.utils.time_snowflake(created) if created else None)


def _may_read_history(channel: object) -> bool:
    """Whether the bot may. False for a thread whose parent is not cached."""
    root = channel.parent if isinstance(channel, discord.Thread) else channel
    return isinstance(root, discord.abc.GuildChannel) and bot_may_read(root)
