"""Who may see which channel's images. Whatever cannot be established counts as no.

`MemberAudience` and `ChannelAudience` are made for one question. They ask Discord's cache at the moment of each call;
of what Discord itself answered they keep nothing for the next question but refusals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.discord_io.messages import NETWORK_ERRORS, Refusals, channel_ref, thread_ref
from bot.logging import get_logger
from bot.models import ChannelRef, Readable, ThreadKind

if TYPE_CHECKING:
    from bot.discord_io.answers import Interaction

log = get_logger(__name__)

# Requests for each question. A private thread costs one request, an archived one two; any more count as not joined.
MEMBERSHIP_REQUESTS = 5
_MEMBERSHIP_TIMEOUT_S = 10.0

# Compared instead of isinstance(), which is slow against discord.py's abstract classes: this runs for every channel.
_VOICE_TYPES = (discord.ChannelType.voice, discord.ChannelType.stage_voice)

_TO_READ = discord.Permissions(view_channel=True, read_message_history=True)
INVITED = discord.Permissions(
    view_channel=True,
    read_message_history=True,
    send_messages=True,
    send_messages_in_threads=True,
    embed_links=True,
    attach_files=True,
    add_reactions=True,
)
"""What the invitation in the README asks for."""
_TO_MODERATE = discord.Permissions(view_channel=True, manage_messages=True)


async def is_thread_member(guild: discord.Guild, thread_id: int, user_id: int) -> bool:
    """Asks Discord, which needs no privileged intent. An archived thread is fetched first: the cache has none."""
    try:
        thread = guild.get_thread(thread_id) or await guild.fetch_channel(thread_id)
        if not isinstance(thread, discord.Thread):
            return False
        await thread.fetch_member(user_id)
    except (discord.NotFound, discord.Forbidden):  # forbidden: the bot itself cannot see the thread
        return False
    return True


@dataclass(slots=True)
class MemberAudience:
    """One member, in an answer that only they see. shown_in: id of the channel where the answer is shown."""

    member: discord.Member
    shown_in: int
    refusals: Refusals
    is_thread_member: Callable[[discord.Guild, int, int], Awaitable[bool]] = is_thread_member

    _joined: dict[int, bool] = field(default_factory=dict)
    _requests_left: int = MEMBERSHIP_REQUESTS

    @property
    def guild_id(self) -> int:
        return self.member.guild.id

    def readable(self, channels: Iterable[ChannelRef]) -> Readable:
        """Channels and threads whose images the member may be shown, and private threads to `ask` about."""
        guild = self.member.guild
        age_restricted_ok = _shows_age_restricted(guild, self.shown_in)
        certain: set[int] = set()
        to_ask: set[int] = set()
        for channel, root, permissions in _with_permissions(
            guild, channels, self.refusals, lambda root: root.permissions_for(self.member)
        ):
            if not _may_read(root, permissions, age_restricted_ok):
                continue
            if channel.thread is not ThreadKind.PRIVATE or permissions.manage_threads:
                certain.add(channel.channel_id)
            elif channel.channel_id in self._joined:
                if self._joined[channel.channel_id]:
                    certain.add(channel.channel_id)
            elif self._requests_left and (guild.id, channel.channel_id, self.member.id) not in self.refusals:
                to_ask.add(channel.channel_id)
        return Readable(frozenset(certain), frozenset(to_ask))

    async def ask(self, thread_ids: Iterable[int]) -> None:
        """Asks Discord which of these private threads the member has joined, as far as this question may still ask.

        A yes serves this question only: Discord does not tell a bot without the members intent who left a thread.
        """
        asked: list[int] = []
        for thread_id in thread_ids:
            self._joined[thread_id] = False
            requests = 1 if self.member.guild.get_thread(thread_id) is not None else 2
            if requests > self._requests_left:
                self._requests_left = 0
            else:
                self._requests_left -= requests
                asked.append(thread_id)
        await asyncio.gather(*map(self._ask, asked))

    async def _ask(self, thread_id: int) -> None:
        guild = self.member.guild
        try:
            async with asyncio.timeout(_MEMBERSHIP_TIMEOUT_S):
                self._joined[thread_id] = await self.is_thread_member(guild, thread_id, self.member.id)
        except NETWORK_ERRORS as error:
            log.warning("thread membership unknown", channel_id=thread_id, error=type(error).__name__)
            self._requests_left = 0  # an answer does not wait for Discord again and again
            return
        if not self._joined[thread_id]:
            self.refusals.add(guild.id, thread_id, self.member.id)


@dataclass(frozen=True, slots=True)
class ChannelAudience:
    """Everyone who reads the channel `here`, in an answer posted there."""

    guild: discord.Guild
    here: ChannelRef
    refusals: Refusals

    @property
    def guild_id(self) -> int:
        return self.guild.id

    def readable(self, channels: Iterable[ChannelRef]) -> Readable:
        """Channels and threads whose images every reader of `here` may be shown. None are to be asked about."""
        age_restricted_ok = _shows_age_restricted(self.guild, self.here.channel_id)
        known = _with_permissions(self.guild, channels, self.refusals, everyones_permissions)
        certain = frozenset(
            channel.channel_id
            for channel, root, permissions in known
            if _everyone_may_read(channel, root, permissions, self.here, age_restricted_ok)
        )
        return Readable(certain, frozenset())

    async def ask(self, thread_ids: Iterable[int]) -> None:
        """Nothing: images of a private thread are shown within that thread only."""


def may_view(member: discord.Member, channel: ChannelRef) -> bool:
    """Whether the member sees this channel or thread in Discord, as far as the cache tells: enough to be told what is
    set there. Of private threads, whoever may manage them.
    """
    root = member.guild.get_channel(channel.root_id) if channel.root_id is not None else None
    if root is None:
        return False
    permissions = root.permissions_for(member)
    return permissions.view_channel and (channel.thread is not ThreadKind.PRIVATE or permissions.manage_threads)


def may_moderate(member: discord.Member, channel: ChannelRef) -> bool:
    """Whether the member may delete others' messages in this channel or thread: then its tags are theirs to correct."""
    root = member.guild.get_channel(channel.root_id) if channel.root_id is not None else None
    return root is not None and root.permissions_for(member).is_superset(_TO_MODERATE)


def may_write(channel: object, permissions: discord.Permissions) -> bool:
    """Whether who has these permissions in a channel or thread may answer there."""
    in_thread = isinstance(channel, discord.Thread)
    writes = permissions.send_messages_in_threads if in_thread else permissions.send_messages
    return writes and permissions.is_superset(_TO_READ)


def bot_may_write(guild: discord.Guild, channel: discord.abc.MessageableChannel) -> bool:
    """Whether the bot may answer in this channel or thread of the guild, as far as the cache tells."""
    me: discord.Member | None = guild.me  # discord.py's type has no None
    return me is not None and may_write(channel, channel.permissions_for(me))


def bot_may_read(channel: discord.abc.GuildChannel) -> bool:
    """Whether the bot may read the messages of this channel and of its public threads, as far as the cache tells."""
    me: discord.Member | None = channel.guild.me  # discord.py's type has no None
    return me is not None and _may_read(channel, channel.permissions_for(me), age_restricted_ok=True)


def missing_to_read(channel: discord.abc.GuildChannel) -> list[str]:
    """What the bot needs to read the messages of this channel and has not, by discord.py's names; nothing where
    `bot_may_read`. Without View Channel that alone: it takes all others with it.
    """
    return _missing(channel, _TO_READ)


def missing_permissions(channel: discord.abc.GuildChannel) -> list[str]:
    """What the bot needs in this channel for all that it can do and has not; see `missing_to_read`."""
    return _missing(channel, INVITED)


def _missing(channel: discord.abc.GuildChannel, needed: discord.Permissions) -> list[str]:
    needed = discord.Permissions(needed.value)
    needed.connect = channel.type in _VOICE_TYPES
    me: discord.Member | None = channel.guild.me  # discord.py's type has no None
    have = discord.Permissions.none() if me is None else channel.permissions_for(me)
    if not have.view_channel:
        return ["view_channel"]
    return [name for name, wanted in needed if wanted and not getattr(have, name)]


# -- the rules


def _may_read(channel: discord.abc.GuildChannel, permissions: discord.Permissions, age_restricted_ok: bool) -> bool:
    """Whether who has these permissions in a channel may see its images, and those of its public threads.

    age_restricted_ok: whether the answer is shown in an age-restricted channel.
    """
    if not permissions.is_superset(_TO_READ):
        return False
    if channel.type in _VOICE_TYPES and not permissions.connect:
        return False
    return age_restricted_ok or not _is_age_restricted(channel)


def _everyone_may_read(
    channel: ChannelRef,
    root: discord.abc.GuildChannel,
    permissions: discord.Permissions,
    here: ChannelRef,
    age_restricted_ok: bool,
) -> bool:
    """The rule for a public answer: whether each reader of `here` may see the images of `channel`.

    permissions: those that every member has in the root. Readers of `here` see `here` itself and the public threads
    beside it, so only the permission to read history is in question there. Any other channel must be open to all.
    """
    if not permissions.read_message_history or (_is_age_restricted(root) and not age_restricted_ok):
        return False
    if channel.channel_id == here.channel_id:
        return True
    if channel.thread is ThreadKind.PRIVATE:
        return False
    return root.id == here.root_id or _may_read(root, permissions, age_restricted_ok)


def everyones_permissions(channel: discord.abc.GuildChannel) -> discord.Permissions:
    """What every member may do: what @everyone may and no overwrite denies to any role or member.

    None but _TO_READ: a member in a time-out can do nothing else, such as connect or manage threads.
    """
    everyone = channel.guild.default_role
    allowed, denied = everyone.permissions.value, 0
    for target, overwrite in channel.overwrites.items():
        allow, deny = overwrite.pair()
        denied |= deny.value
        if target.id == everyone.id:
            allowed |= allow.value
    return discord.Permissions(allowed & ~denied & _TO_READ.value)


# -- what Discord says now


def _with_permissions(
    guild: discord.Guild,
    channels: Iterable[ChannelRef],
    refusals: Refusals,
    permissions_in: Callable[[discord.abc.GuildChannel], discord.Permissions],
) -> Iterator[tuple[ChannelRef, discord.abc.GuildChannel, discord.Permissions]]:
    """Each channel with its root, whose permissions apply (for a thread, its parent), and the permissions there.

    Leaves out channels whose root is not in the cache, and those that the bot itself cannot read now. What the store
    remembers of a thread is corrected by the cache while the thread is active.
    """
    by_root: dict[int, discord.Permissions | None] = {}  # thousands of threads may share their parent's
    for channel in channels:
        thread = guild.get_thread(channel.channel_id)
        current = thread_ref(thread) if thread is not None else channel
        root = guild.get_channel(current.root_id) if current.root_id is not None else None
        if root is None:
            continue
        if root.id not in by_root:
            by_root[root.id] = permissions_in(root) if bot_may_read(root) else None
        permissions = by_root[root.id]
        if permissions is not None and (guild.id, current.channel_id, None) not in refusals:
            yield current, root, permissions


def _shows_age_restricted(guild: discord.Guild, channel_id: int) -> bool:
    """Whether an answer there may show age-restricted images. Threads inherit it from their parent."""
    thread = guild.get_thread(channel_id)
    channel = guild.get_channel(thread.parent_id if thread is not None else channel_id)
    return channel is not None and _is_age_restricted(channel)


def _is_age_restricted(channel: discord.abc.GuildChannel) -> bool:
    return bool(getattr(channel, "nsfw", False))  # not every type of channel has the flag


# Checked at every call: a server's settings can open a command to everybody.
needs_manage_guild = app_commands.checks.has_permissions(manage_guild=True)


def guild_id_of(interaction: Interaction) -> int:
    """Raises NoPrivateMessage."""
    if interaction.guild_id is None:
        raise app_commands.NoPrivateMessage
    return interaction.guild_id


def managed_guild(interaction: Interaction) -> discord.Guild:
    """The guild of a command or press, whose user may manage it now. Raises MissingPermissions, NoPrivateMessage."""
    if interaction.guild is None:
        raise app_commands.NoPrivateMessage
    if not interaction.permissions.manage_guild:
        raise app_commands.MissingPermissions(["manage_guild"])
    return interaction.guild


def knows_channel(member: discord.Member | discord.User, channel: ChannelRef) -> bool:
    """Whether a member may know what a channel or thread is called and how much it has. No picture is shown, so age
    restrictions do not matter. Nobody is asked who has joined a private thread: those who manage threads may know.
    """
    root = member.guild.get_channel(channel.root_id or 0) if isinstance(member, discord.Member) else None
    if root is None or not isinstance(member, discord.Member):
        return False
    permissions = root.permissions_for(member)
    if channel.thread is ThreadKind.PRIVATE and not permissions.manage_threads:
        return False
    return _may_read(root, permissions, age_restricted_ok=True)


def audience_of(interaction: Interaction) -> MemberAudience:
    """The member who uses the command, with the roles that Discord sent along with this very interaction.

    Make one for each question: it counts what it asks Discord.
    """
    if interaction.guild is None or not isinstance(interaction.user, discord.Member):
        raise app_commands.NoPrivateMessage
    return MemberAudience(interaction.user, interaction.channel_id or 0, interaction.client.services.messages.refusals)


def channel_audience_of(interaction: Interaction) -> ChannelAudience:
    """Everyone who reads the channel where the command or button is used."""
    here = channel_ref(interaction.channel)
    if interaction.guild is None or here is None:
        raise app_commands.NoPrivateMessage
    return ChannelAudience(interaction.guild, here, interaction.client.services.messages.refusals)


def asker_of(interaction: Interaction) -> tuple[int, int]:
    """Server and member, who take turns."""
    return interaction.guild_id or 0, interaction.user.id
