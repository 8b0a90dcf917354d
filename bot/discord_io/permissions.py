"""Who may see what: the one place that answers it. What is not known is not shown.

`may_see` and `everyone_here_may_see` are the rule, over plain data. `Visibility` gathers that data from Discord at the
moment of asking; nothing is remembered between two questions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import discord

from bot.models import ChannelRef, ThreadKind

log = logging.getLogger(__name__)

ThreadMembership = Callable[[int, int], Awaitable[bool]]

# Each private thread costs a request; the newest ones are looked up, the rest count as unknown.
MEMBERSHIP_LOOKUPS = 20
_LOOKUPS_AT_ONCE = 5

# isinstance is dear with discord.py's abstract classes, and a question asks it of every channel.
_VOICE_KINDS = (discord.ChannelType.voice, discord.ChannelType.stage_voice)


@dataclass(frozen=True, slots=True)
class Access:
    """What one person may do in a channel (for a thread: in the channel it hangs under), and what channel it is."""

    view: bool
    history: bool
    connect: bool
    manage_threads: bool
    voice: bool
    age_restricted: bool


def may_see(access: Access | None, thread: ThreadKind, *, in_thread: bool | None, age_restricted_ok: bool) -> bool:
    """The rule for one person and one place.

    access: None where the channel is unknown. in_thread: whether the person is in the private thread; None if unknown.
    age_restricted_ok: whether the answer is shown in an age-restricted channel itself.
    """
    if access is None or not (access.view and access.history):
        return False
    if access.voice and not access.connect:
        return False
    if access.age_restricted and not age_restricted_ok:
        return False
    return thread is not ThreadKind.PRIVATE or access.manage_threads or in_thread is True


@dataclass(frozen=True, slots=True)
class Openness:
    """What a channel is to everybody in the server, whatever roles they hold.

    view, history: everyone has it, and no overwrite takes it from anybody.
    """

    view: bool
    history: bool
    voice: bool
    age_restricted: bool


def everyone_here_may_see(
    place: ChannelRef, openness: Openness | None, here: ChannelRef, *, age_restricted_ok: bool
) -> bool:
    """The rule for an answer that a whole channel reads: may each reader of `here` see the images of `place`?

    Within one channel and its public threads whoever reads the answer sees the channel, so only the right to read back
    is in question. Elsewhere the other channel must be open to every member. A voice channel never is: members in a
    time-out cannot connect, yet read the answer.
    """
    if openness is None or not openness.history:
        return False
    if openness.age_restricted and not age_restricted_ok:
        return False
    if place.channel_id == here.channel_id:
        return True
    if place.thread is ThreadKind.PRIVATE:
        return False
    return _root(place) == _root(here) or (openness.view and not openness.voice)


def access_for(member: discord.Member, channel: discord.abc.GuildChannel) -> Access:
    rights = channel.permissions_for(member)
    return Access(
        view=rights.view_channel,
        history=rights.read_message_history,
        connect=rights.connect,
        manage_threads=rights.manage_threads,
        voice=_is_voice(channel),
        age_restricted=_is_age_restricted(channel),
    )


def openness_of(channel: discord.abc.GuildChannel) -> Openness:
    return Openness(
        view=_open_to_all(channel, discord.Permissions(view_channel=True)),
        history=_open_to_all(channel, discord.Permissions(read_message_history=True)),
        voice=_is_voice(channel),
        age_restricted=_is_age_restricted(channel),
    )


class Visibility:
    """Answers for a server as it stands now. membership(thread id, user id) asks Discord; it may fail."""

    def __init__(self, membership: ThreadMembership) -> None:
        self._membership = membership

    async def readable(
        self, guild: discord.Guild, member: discord.Member, places: Iterable[ChannelRef], *, shown_in: int
    ) -> frozenset[int]:
        """Ids of those places whose images this member may be shown, in an answer given in the channel `shown_in`."""
        age_restricted_ok = _shows_age_restricted(guild, shown_in)
        allowed: set[int] = set()
        to_ask: list[int] = []
        accesses: dict[int | None, Access | None] = {}  # threads, of which there may be thousands, share their parent's
        for place in (_fresh(guild, place) for place in places):
            root = _governing_id(place)
            if root not in accesses:
                channel = _governing_channel(guild, place)
                accesses[root] = access_for(member, channel) if channel is not None else None
            access = accesses[root]
            if may_see(access, place.thread, in_thread=None, age_restricted_ok=age_restricted_ok):
                allowed.add(place.channel_id)
            elif may_see(access, place.thread, in_thread=True, age_restricted_ok=age_restricted_ok):
                to_ask.append(place.channel_id)
        return frozenset(allowed | await self._joined(to_ask, member.id))

    def readable_by_everyone(
        self, guild: discord.Guild, places: Iterable[ChannelRef], here: ChannelRef
    ) -> frozenset[int]:
        """Ids of those places whose images every reader of the channel `here` may be shown."""
        age_restricted_ok = _shows_age_restricted(guild, here.channel_id)
        return frozenset(
            place.channel_id
            for place in (_fresh(guild, place) for place in places)
            if everyone_here_may_see(place, self._openness(guild, place), here, age_restricted_ok=age_restricted_ok)
        )

    @staticmethod
    def _openness(guild: discord.Guild, place: ChannelRef) -> Openness | None:
        channel = _governing_channel(guild, place)
        return openness_of(channel) if channel is not None else None

    async def _joined(self, threads: list[int], user_id: int) -> set[int]:
        """Those of these private threads that the user is in; the newest are asked for, as far as the bound reaches."""
        newest = sorted(set(threads), reverse=True)[:MEMBERSHIP_LOOKUPS]
        turn = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

        async def ask(thread_id: int) -> bool:
            async with turn:
                return await self._in_thread(thread_id, user_id)

        answers = await asyncio.gather(*(ask(thread_id) for thread_id in newest))
        return {thread_id for thread_id, joined in zip(newest, answers, strict=True) if joined}

    async def _in_thread(self, thread_id: int, user_id: int) -> bool:
        try:
            return await self._membership(thread_id, user_id)
        except (discord.HTTPException, OSError, TimeoutError) as error:
            log.warning("thread membership unknown: %s", type(error).__name__, extra={"channel_id": thread_id})
            return False


def thread_membership(client: discord.Client) -> ThreadMembership:
    """Asks Discord for one thread member, which needs no privileged intent. 404 is a plain no."""

    async def in_thread(thread_id: int, user_id: int) -> bool:
        try:
            await client.http.get_thread_member(thread_id, user_id)
        except discord.NotFound:
            return False
        return True

    return in_thread


def _governing_channel(guild: discord.Guild, place: ChannelRef) -> discord.abc.GuildChannel | None:
    """The channel whose permissions rule this place. A thread without a known parent has none."""
    root = _governing_id(place)
    return guild.get_channel(root) if root is not None else None


def _governing_id(place: ChannelRef) -> int | None:
    return place.channel_id if place.thread is ThreadKind.NONE else place.parent_id


def _fresh(guild: discord.Guild, place: ChannelRef) -> ChannelRef:
    """What is remembered of a thread, corrected by what Discord says of it now, while it is active."""
    thread = guild.get_thread(place.channel_id)
    if thread is None:
        return place
    kind = ThreadKind.PRIVATE if thread.is_private() else ThreadKind.PUBLIC
    return ChannelRef(guild.id, thread.id, thread.parent_id, kind)


def _shows_age_restricted(guild: discord.Guild, channel_id: int) -> bool:
    """Whether an answer there may show age-restricted images. Threads inherit it from their parent."""
    thread = guild.get_thread(channel_id)
    channel = guild.get_channel(thread.parent_id if thread is not None else channel_id)
    return channel is not None and _is_age_restricted(channel)


def _is_age_restricted(channel: discord.abc.GuildChannel) -> bool:
    return bool(getattr(channel, "nsfw", False))  # not every kind of channel has the switch


def _is_voice(channel: discord.abc.GuildChannel) -> bool:
    return channel.type in _VOICE_KINDS


def _open_to_all(channel: discord.abc.GuildChannel, right: discord.Permissions) -> bool:
    """Whether every member has this right here: @everyone has it, and no overwrite denies it to any role or member."""
    everyone = channel.guild.default_role
    granted = everyone.permissions.is_superset(right)
    for target, overwrite in channel.overwrites.items():
        allow, deny = overwrite.pair()
        if deny.value & right.value:
            return False
        if target.id == everyone.id and allow.value & right.value:
            granted = True
    return granted


def _root(place: ChannelRef) -> int:
    return place.channel_id if place.parent_id is None else place.parent_id
