"""What happens in Discord, told to the index: posted, edited and deleted messages, threads, channels, servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import discord
from discord.ext import commands

from bot.discord_io.attachments import carried, images_in, place_of, sightings, withheld
from bot.indexing.catch_up import ChannelSnapshot

if TYPE_CHECKING:
    from bot.discord_io.attachments import Fetcher
    from bot.discord_io.client import MagpieBot
    from bot.indexing.catch_up import CatchUp
    from bot.indexing.indexer import Indexer
    from bot.indexing.reconcile import ChannelReconciler
    from bot.models import ImageRef
    from bot.store.images import ImageStore


log = logging.getLogger(__name__)


class Turns:
    """Lets what happens to one message happen in the order of its events, though each event is a task of its own."""

    def __init__(self) -> None:
        self._locks: dict[int, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, message_id: int) -> AsyncIterator[None]:
        lock, users = self._locks.get(message_id, (asyncio.Lock(), 0))
        self._locks[message_id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(message_id)
            if users > 1:
                self._locks[message_id] = (lock, users - 1)


class IndexingCog(commands.Cog, name="indexing"):
    """Events may come twice, late or out of order, so each handler leaves the same state however often it runs."""

    def __init__(
        self,
        bot: MagpieBot,
        indexer: Indexer,
        catch_up: CatchUp,
        reconciler: ChannelReconciler,
        store: ImageStore,
        fetcher: Fetcher,
        hosts: frozenset[str],
        *,
        other_bots: bool,
    ) -> None:
        self._bot = bot
        self._indexer = indexer
        self._catch_up = catch_up
        self._reconciler = reconciler
        self._store = store
        self._fetcher = fetcher
        self._hosts = hosts
        self._other_bots = other_bots
        self._turns = Turns()

    # -- messages

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        place = place_of(message.channel)
        if place is None:
            return
        async with self._turns.of(message.id):
            await self._catch_up.live(place, message.id, self._images(message))

    @commands.Cog.listener()
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Forgets what the message no longer carries and takes in what is new: a preview comes by an edit."""
        if withheld(payload.message):
            return
        async with self._turns.of(payload.message_id):
            still = {seen.key for seen in carried(payload.message)}
            known = await self._store.by_message(payload.message_id)
            dropped = [one.ref for one in known if one.ref.key not in still]
            if dropped:
                await self._indexer.forget_attachments(payload.message_id, [ref.attachment_id for ref in dropped])
            await self._indexer.accept(self._images(payload.message))

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        await self._indexer.forget_messages([payload.message_id])

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        await self._indexer.forget_messages(sorted(payload.message_ids))

    # -- threads and channels

    @commands.Cog.listener()
    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        await self._indexer.forget_channel(payload.thread_id)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        await self._indexer.forget_channel(channel.id)

    @commands.Cog.listener()
    async def on_guild_channel_create(self, channel: discord.abc.GuildChannel) -> None:
        self._appeared(channel)

    @commands.Cog.listener()
    async def on_thread_create(self, thread: discord.Thread) -> None:
        self._appeared(thread)

    @commands.Cog.listener()
    async def on_thread_join(self, thread: discord.Thread) -> None:
        self._appeared(thread)

    # -- servers and the session

    @commands.Cog.listener()
    async def on_connect(self) -> None:
        """A new session: what was posted since the last one is not told, so no message may move a mark for now."""
        self._catch_up.hold()

    @commands.Cog.listener()
    async def on_guild_available(self, guild: discord.Guild) -> None:
        await self._welcome(guild)

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        await self._welcome(guild)

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """The bot was removed. An outage comes as on_guild_unavailable and deletes nothing."""
        await self._indexer.forget_guild(guild.id)

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """Servers that removed the bot while it was down are not in the session. Unavailable ones are, and stay."""
        for guild_id in await self._store.guild_ids():
            if self._bot.get_guild(guild_id) is None:
                await self._indexer.forget_guild(guild_id)
        log.info("ready in %d servers", len(self._bot.guilds))

    async def _welcome(self, guild: discord.Guild) -> None:
        await self._store.readmit_guild(guild.id)
        self._catch_up.begin(guild.id, standings(guild))
        self._reconciler.begin(guild.id, {channel.id for channel in (*guild.channels, *guild.threads)})

    def _appeared(self, channel: discord.abc.GuildChannel | discord.Thread) -> None:
        standing = _standing(channel)
        if standing is not None:
            self._catch_up.appeared(standing)

    def _images(self, message: discord.Message) -> list[ImageRef]:
        """What to remember of a message. Where the bot may not read back, nothing: it could never show it either."""
        if not _may_read(message.channel):
            return []
        refs = images_in(message, self._hosts, own_id=self._bot.own_id, other_bots=self._other_bots)
        if refs:
            self._fetcher.remember(sightings(message, self._hosts))
        return refs


def standings(guild: discord.Guild) -> list[ChannelSnapshot]:
    """Every channel and active thread of a server whose history the bot may read."""
    found = (_standing(channel) for channel in (*guild.channels, *guild.threads))
    return [standing for standing in found if standing is not None]


def _standing(channel: discord.abc.GuildChannel | discord.Thread) -> ChannelSnapshot | None:
    place = place_of(channel)
    if place is None or not isinstance(channel, discord.abc.Messageable) or not _may_read(channel):
        return None
    return ChannelSnapshot(place, channel.last_message_id, _made(channel))


def _may_read(channel: object) -> bool:
    """Whether the bot may read a channel's history. A thread whose channel is not known is not known either."""
    if not isinstance(channel, discord.abc.GuildChannel | discord.Thread):
        return False
    if isinstance(channel, discord.Thread) and channel.parent is None:
        return False
    rights = channel.permissions_for(channel.guild.me)
    return rights.view_channel and rights.read_message_history


def _made(channel: discord.abc.GuildChannel | discord.Thread) -> int | None:
    """A thread that hangs on a message has that message's id, so its age must be asked for."""
    if not isinstance(channel, discord.Thread) or channel.created_at is None:
        return None
    return discord.utils.time_snowflake(channel.created_at)
