"""Who may see which channel's images. Whatever cannot be established counts as no.

`MemberAudience` and `ChannelAudience` ask Discord's cache at the moment of the call and remember nothing between two
calls. `member_access` and `everyone_may_see` are the rules themselves, over plain data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import aiohttp
import discord

from bot.logging import get_logger
from bot.models import ChannelRef, ThreadKind

log = get_logger(__name__)

# Each private thread costs a request. The newest ones are looked up; the others count as not joined.
MEMBERSHIP_LOOKUPS = 20
_CONCURRENT_LOOKUPS = 5

# Compared instead of isinstance(), which is slow against discord.py's abstract classes: this runs for every channel.
_VOICE_TYPES = (discord.ChannelType.voice, discord.ChannelType.stage_voice)


async def is_thread_member(guild: discord.Guild, thread_id: int, user_id: int) -> bool:
    """Asks Discord, which needs no privileged intent. An archived thread is fetched first: the cache has none."""
    try:
        thread = guild.get_thread(thread_id) or await guild.fetch_channel(thread_id)
        if not isinstance(thread, discord.Thread):
            return False
        await thread.fetch_member(user_id)
    except discord.NotFound:
        return False
    return True


@dataclass(frozen=True, slots=True)
class MemberAudience:
    """One member, in an answer that only they see. shown_in: id of the channel where the answer is shown."""

    member: discord.Member
    shown_in: int
    is_thread_member: Callable[[discord.Guild, int, int], Awaitable[bool]] = is_thread_member

    @property
    def guild_id(self) -> int:
        return self.member.guild.id

    async def readable(self, channels: Iterable[ChannelRef]) -> frozenset[int]:
        """Ids of those channels and threads whose images the member may be shown."""
        guild = self.member.guild
        age_restricted_ok = _shows_age_restricted(guild, self.shown_in)
        rights: dict[int | None, Rights | None] = {}  # thousands of threads may share their parent's
        readable: set[int] = set()
        to_look_up: list[int] = []
        for channel in (_current(guild, channel) for channel in channels):
            root_id = _root_id(channel)
            if root_id not in rights:
                root = _root(guild, channel)
                rights[root_id] = None if root is None else member_rights(self.member, root)
            access = member_access(rights[root_id], channel.thread, age_restricted_ok=age_restricted_ok)
            if access is Access.YES:
                readable.add(channel.channel_id)
            elif access is Access.IF_THREAD_MEMBER:
                to_look_up.append(channel.channel_id)
        return frozenset(readable | await self._joined(to_look_up))

    async def _joined(self, thread_ids: Iterable[int]) -> set[int]:
        """Those of these private threads that the member has joined, among the newest MEMBERSHIP_LOOKUPS."""
        newest = sorted(set(thread_ids), reverse=True)[:MEMBERSHIP_LOOKUPS]
        slots = asyncio.Semaphore(_CONCURRENT_LOOKUPS)

        async def joined(thread_id: int) -> bool:
            try:
                async with slots:
                    return await self.is_thread_member(self.member.guild, thread_id, self.member.id)
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("thread membership unknown", channel_id=thread_id, error=type(error).__name__)
                return False

        answers = await asyncio.gather(*map(joined, newest))
        return {thread_id for thread_id, answer in zip(newest, answers, strict=True) if answer}


@dataclass(frozen=True, slots=True)
class ChannelAudience:
    """Everyone who reads the channel `here`, in an answer posted there."""

    guild: discord.Guild
    here: ChannelRef

    @property
    def guild_id(self) -> int:
        return self.guild.id

    async def readable(self, channels: Iterable[ChannelRef]) -> frozenset[int]:
        """Ids of those channels and threads whose images every reader of `here` may be shown."""
        age_restricted_ok = _shows_age_restricted(self.guild, self.here.channel_id)
        readable: set[int] = set()
        for channel in (_current(self.guild, channel) for channel in channels):
            root = _root(self.guild, channel)
            rights = None if root is None else everyones_rights(root)
            if everyone_may_see(channel, rights, self.here, age_restricted_ok=age_restricted_ok):
                readable.add(channel.channel_id)
        return frozenset(readable)


# -- the rules


class Access(Enum):
    """IF_THREAD_MEMBER: only a member of the private thread may see it."""

    NO = "no"
    YES = "yes"
    IF_THREAD_MEMBER = "if thread member"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a member, or every member, may do in a channel (for a thread: in its parent), and what kind it is."""

    view: bool
    history: bool
    connect: bool
    manage_threads: bool
    voice: bool
    age_restricted: bool


def member_access(rights: Rights | None, thread: ThreadKind, *, age_restricted_ok: bool) -> Access:
    """The rule for one member. rights: None where the channel is unknown.

    age_restricted_ok: whether the answer is shown in an age-restricted channel.
    """
    if rights is None or not (rights.view and rights.history):
        return Access.NO
    if rights.voice and not rights.connect:
        return Access.NO
    if rights.age_restricted and not age_restricted_ok:
        return Access.NO
    if thread is ThreadKind.PRIVATE and not rights.manage_threads:
        return Access.IF_THREAD_MEMBER
    return Access.YES


def everyone_may_see(channel: ChannelRef, rights: Rights | None, here: ChannelRef, *, age_restricted_ok: bool) -> bool:
    """The rule for a public answer: whether each reader of `here` may see the images of `channel`.

    rights: those that every member has in the channel. Readers of `here` see `here` itself and the public threads
    beside it, so only the permission to read history is in question there. Any other channel must be open to all.
    """
    if rights is None or not rights.history or (rights.age_restricted and not age_restricted_ok):
        return False
    if channel.channel_id == here.channel_id:
        return True
    if channel.thread is not ThreadKind.PRIVATE and _root_or_self(channel) == _root_or_self(here):
        return True
    return member_access(rights, channel.thread, age_restricted_ok=age_restricted_ok) is Access.YES


def member_rights(member: discord.Member, channel: discord.abc.GuildChannel) -> Rights:
    permissions = channel.permissions_for(member)
    return Rights(
        view=permissions.view_channel,
        history=permissions.read_message_history,
        connect=permissions.connect,
        manage_threads=permissions.manage_threads,
        voice=channel.type in _VOICE_TYPES,
        age_restricted=_is_age_restricted(channel),
    )


def everyones_rights(channel: discord.abc.GuildChannel) -> Rights:
    """What every member may do, whatever roles they have. In a time-out nobody can connect or manage threads."""
    return Rights(
        view=_everyone_has(channel, discord.Permissions(view_channel=True)),
        history=_everyone_has(channel, discord.Permissions(read_message_history=True)),
        connect=False,
        manage_threads=False,
        voice=channel.type in _VOICE_TYPES,
        age_restricted=_is_age_restricted(channel),
    )


def _everyone_has(channel: discord.abc.GuildChannel, permission: discord.Permissions) -> bool:
    """Whether @everyone has this permission here and no overwrite denies it to any role or member."""
    everyone = channel.guild.default_role
    granted = everyone.permissions.is_superset(permission)
    for target, overwrite in channel.overwrites.items():
        allow, deny = overwrite.pair()
        if deny.value & permission.value:
            return False
        if target.id == everyone.id and allow.value & permission.value:
            granted = True
    return granted


# -- what Discord says now


def _current(guild: discord.Guild, channel: ChannelRef) -> ChannelRef:
    """What the store remembers of a thread, corrected by the cache while the thread is active."""
    thread = guild.get_thread(channel.channel_id)
    if thread is None:
        return channel
    kind = ThreadKind.PRIVATE if thread.is_private() else ThreadKind.PUBLIC
    return ChannelRef(guild.id, thread.id, thread.parent_id, kind)


def _root_id(channel: ChannelRef) -> int | None:
    return channel.channel_id if channel.thread is ThreadKind.NONE else channel.parent_id


def _root_or_self(channel: ChannelRef) -> int:
    return channel.parent_id or channel.channel_id


def _root(guild: discord.Guild, channel: ChannelRef) -> discord.abc.GuildChannel | None:
    """The channel whose permissions apply: a thread's parent. None where it is unknown."""
    root_id = _root_id(channel)
    return None if root_id is None else guild.get_channel(root_id)


def _shows_age_restricted(guild: discord.Guild, channel_id: int) -> bool:
    """Whether an answer there may show age-restricted images. Threads inherit it from their parent."""
    thread = guild.get_thread(channel_id)
    channel = guild.get_channel(thread.parent_id if thread is not None else channel_id)
    return channel is not None and _is_age_restricted(channel)


def _is_age_restricted(channel: discord.abc.GuildChannel) -> bool:
    return bool(getattr(channel, "nsfw", False))  # not every type of channel has the flag
