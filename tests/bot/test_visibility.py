"""Who may see what, held against the rule stated a second time, on its own terms, over random discord_objects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import discord
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.discord_io.messages import Refusals
from bot.discord_io.permissions import MEMBERSHIP_REQUESTS, ChannelAudience, MemberAudience
from bot.models import ChannelRef, ThreadKind
from tests.bot import discord_objects
from tests.bot.discord_objects import (
    BOT,
    EVERYONE,
    FORUM,
    GUILD,
    OWNER,
    PRIVATE_THREAD,
    PUBLIC_THREAD,
    STAGE,
    TEXT,
    VOICE,
)

# Discord's bits (developer docs, topics/permissions), written out again on purpose.
ADMINISTRATOR, VIEW, HISTORY, CONNECT, MANAGE_THREADS = 1 << 3, 1 << 10, 1 << 16, 1 << 20, 1 << 34
BITS = (ADMINISTRATOR, VIEW, HISTORY, CONNECT, MANAGE_THREADS)
FAR_FUTURE = 32e9  # in the year 2984
ASKER = 77
ROLES = (2_001, 2_002)
KINDS = {PUBLIC_THREAD: ThreadKind.PUBLIC, PRIVATE_THREAD: ThreadKind.PRIVATE}


Overwrites = list[tuple[int, bool, int, int]]  # target, whether a member, allow, deny


@dataclass
class Model:
    """A random server, as plain numbers."""

    everyone: int
    role_bits: dict[int, int]
    channels: list[tuple[int, int, Overwrites, bool]]  # id, kind, overwrites, nsfw
    threads: list[tuple[int, int, int, bool]]  # id, parent, kind, whether in Discord's cache
    joined: set[int]
    asker_roles: list[int]
    timed_out: bool
    asker: int
    bot_roles: list[int]
    shown_in: int
    unknown: list[ChannelRef] = field(default_factory=list)


bits = st.lists(st.sampled_from(BITS), unique=True).map(sum)
# Servers in which nobody may see anything teach little: the common rights come often.
generous = st.one_of(st.just(VIEW | HISTORY | CONNECT), bits)
no_admin = bits.map(lambda value: value & ~ADMINISTRATOR)


@st.composite
def models(draw: st.DrawFn) -> Model:
    targets = st.sampled_from(
        [(EVERYONE, False), (ROLES[0], False), (ROLES[1], False), (ASKER, True), (88, True), (BOT, True)]
    )
    channels = []
    for number in range(draw(st.integers(1, 4))):
        chosen = draw(st.lists(targets, unique=True, max_size=4))
        overwrites = [(who, is_member, draw(no_admin), draw(no_admin)) for who, is_member in chosen]
        kind = draw(st.sampled_from([TEXT, TEXT, VOICE, STAGE, FORUM]))
        nsfw = draw(st.booleans()) and draw(st.booleans())
        channels.append((100 + number, kind, overwrites, nsfw))
    parents = st.sampled_from([one[0] for one in channels] + [999])
    threads = [
        (500 + number, draw(parents), draw(st.sampled_from([PUBLIC_THREAD, PRIVATE_THREAD])), draw(st.booleans()))
        for number in range(draw(st.integers(0, 4)))
    ]
    return Model(
        everyone=draw(generous),
        role_bits={role: draw(bits) if draw(st.booleans()) else 0 for role in ROLES},
        channels=channels,
        threads=threads,
        joined=draw(st.sets(st.sampled_from([one[0] for one in threads]))) if threads else set(),
        asker_roles=draw(st.lists(st.sampled_from(ROLES), unique=True)),
        timed_out=draw(st.integers(0, 4)) == 0,
        asker=draw(st.sampled_from([ASKER, ASKER, ASKER, ASKER, OWNER])),
        bot_roles=draw(st.sampled_from([[discord_objects.BOT_ROLE], [], [ROLES[0]], list(ROLES)])),
        shown_in=draw(st.sampled_from([one[0] for one in (*channels, *threads)] + [777])),
        unknown=[
            ChannelRef(GUILD, 990),
            ChannelRef(GUILD, 991, None, ThreadKind.PUBLIC),
            ChannelRef(GUILD, 992, 990, ThreadKind.PRIVATE),
        ],
    )


def rights(model: Model, overwrites: Overwrites, who: int, roles: list[int], timed_out: bool) -> int:
    """Discord's computation, as documented: base, administrator, @everyone, roles, member; then time-out."""
    everything = sum(BITS)
    if who == OWNER:
        return everything
    have = model.everyone
    for role in roles:
        have |= ADMINISTRATOR if role == discord_objects.BOT_ROLE else model.role_bits[role]
    if have & ADMINISTRATOR:
        return everything
    for target, is_member, allow, deny in overwrites:
        if target == EVERYONE and not is_member:
            have = have & ~deny | allow
    mine = [one for one in overwrites if not one[1] and one[0] in roles]
    for _, _, _, deny in mine:
        have &= ~deny
    for _, _, allow, _ in mine:
        have |= allow
    for target, is_member, allow, deny in overwrites:
        if is_member and target == who:
            have = have & ~deny | allow
    if timed_out:
        have &= VIEW | HISTORY
    return have if have & VIEW else 0


def sees(model: Model, channel: ChannelRef, who: int, roles: list[int], timed_out: bool, joined: set[int]) -> bool:
    """View and history, connect in voice, for member and bot; and in a private thread, or may manage threads."""
    root = channel.channel_id if channel.thread is ThreadKind.NONE else channel.parent_id
    for channel_id, kind, overwrites, nsfw in model.channels:
        if channel_id == root:
            have = rights(model, overwrites, who, roles, timed_out)
            for each in (have, rights(model, overwrites, BOT, model.bot_roles, timed_out=False)):
                if not (each & VIEW and each & HISTORY):
                    return False
                if kind in (VOICE, STAGE) and not each & CONNECT:
                    return False
            if nsfw and not age_restricted(model, model.shown_in):
                return False
            return (
                channel.thread is not ThreadKind.PRIVATE or bool(have & MANAGE_THREADS) or channel.channel_id in joined
            )
    return False


def age_restricted(model: Model, channel_id: int) -> bool:
    parents = {thread: parent for thread, parent, _, cached in model.threads if cached}
    root = parents.get(channel_id, channel_id)
    return any(nsfw for known, _, _, nsfw in model.channels if known == root)


def channels_of(model: Model) -> list[ChannelRef]:
    rooms = [ChannelRef(GUILD, one[0]) for one in model.channels]
    threads = [ChannelRef(GUILD, thread, parent, KINDS[kind]) for thread, parent, kind, _ in model.threads]
    return rooms + threads + model.unknown


def server_of(model: Model) -> discord.Guild:
    return discord_objects.guild(
        [
            discord_objects.channel(
                number,
                kind,
                [discord_objects.overwrite(t, member=m, allow=a, deny=d) for t, m, a, d in overwrites],
                nsfw=nsfw,
            )
            for number, kind, overwrites, nsfw in model.channels
        ],
        everyone=model.everyone,
        roles=[discord_objects.role(role, value) for role, value in model.role_bits.items()],
        threads=[
            discord_objects.thread(thread, parent, kind) for thread, parent, kind, cached in model.threads if cached
        ],
        bot_roles=model.bot_roles,
    )


def readable(audience: MemberAudience | ChannelAudience, channels: list[ChannelRef]) -> frozenset[int]:
    """After everything has been asked that may be."""
    asyncio.run(audience.ask(sorted(audience.readable(channels).to_ask, reverse=True)))
    assert not audience.readable(channels).to_ask
    return audience.readable(channels).certain


class Memberships:
    """Discord's answers about private threads. asked: what cost a request. trouble: raised once each, in order."""

    def __init__(self, *joined: int, trouble: Sequence[Exception] = ()) -> None:
        self.joined = set(joined)
        self.asked: list[int] = []
        self.trouble = list(trouble)

    async def __call__(self, guild: discord.Guild, thread_id: int, user_id: int) -> bool:
        assert user_id in (ASKER, OWNER)
        self.asked.append(thread_id)
        if self.trouble:
            raise self.trouble.pop(0)
        return thread_id in self.joined


@settings(max_examples=400, deadline=None)
@given(models())
def test_a_member_is_shown_exactly_what_the_rule_allows(model: Model) -> None:
    server = server_of(model)
    asker = discord_objects.member(server, model.asker, model.asker_roles, FAR_FUTURE if model.timed_out else None)
    channels = channels_of(model)
    shown: frozenset[int] = frozenset()
    for channel in channels:  # one question each, since one question may ask about so many threads only
        audience = MemberAudience(asker, model.shown_in, Refusals(), Memberships(*model.joined))
        shown |= readable(audience, [channel])
    allowed = {
        channel.channel_id
        for channel in channels
        if sees(model, channel, model.asker, model.asker_roles, model.timed_out, model.joined)
    }
    assert shown == allowed


@settings(max_examples=400, deadline=None)
@given(models(), st.data())
def test_a_public_answer_shows_nothing_that_any_of_its_readers_could_not_see(model: Model, data: st.DataObject) -> None:
    server = server_of(model)
    channels = channels_of(model)
    here = data.draw(st.sampled_from([channel for channel in channels if channel not in model.unknown]))
    model.shown_in = here.channel_id
    shown = readable(ChannelAudience(server, here, Refusals()), channels)
    for who, roles, timed_out in every_kind_of_member(model):
        if reads_along(model, here, who, roles, timed_out):
            for channel in channels:
                if channel.channel_id in shown:
                    joined = {here.channel_id} if here.thread is ThreadKind.PRIVATE else set()
                    assert sees(model, channel, who, roles, timed_out, joined), (who, roles, timed_out, channel)


def every_kind_of_member(model: Model) -> list[tuple[int, list[int], bool]]:
    combinations: list[list[int]] = [[], [ROLES[0]], [ROLES[1]], list(ROLES)]
    return [(who, roles, timed_out) for who in (ASKER, 88, 99) for roles in combinations for timed_out in (False, True)]


def reads_along(model: Model, here: ChannelRef, who: int, roles: list[int], timed_out: bool) -> bool:
    """New messages reach whoever may view the channel (and connect, in voice), the right to read back or not."""
    root = here.channel_id if here.thread is ThreadKind.NONE else here.parent_id
    for channel_id, kind, overwrites, _ in model.channels:
        if channel_id == root:
            have = rights(model, overwrites, who, roles, timed_out)
            return bool(have & VIEW) and (kind not in (VOICE, STAGE) or bool(have & CONNECT))
    return False


def test_a_public_answer_shows_the_channel_itself_and_what_is_open_to_all() -> None:
    server = discord_objects.guild(
        [
            discord_objects.channel(1),
            discord_objects.channel(2),
            discord_objects.channel(3, overwrites=[discord_objects.overwrite(EVERYONE, deny=VIEW)]),
            discord_objects.channel(4, overwrites=[discord_objects.overwrite(ROLES[0], deny=VIEW)]),
            discord_objects.channel(5, nsfw=True),
            discord_objects.channel(6, VOICE),
        ],
        everyone=VIEW | HISTORY | CONNECT,
        roles=[discord_objects.role(ROLES[0])],
    )
    channels = [ChannelRef(GUILD, number) for number in range(1, 7)]
    assert readable(ChannelAudience(server, ChannelRef(GUILD, 1), Refusals()), channels) == {1, 2}
    assert readable(ChannelAudience(server, ChannelRef(GUILD, 3), Refusals()), channels) == {1, 2, 3}
    assert readable(ChannelAudience(server, ChannelRef(GUILD, 5), Refusals()), channels) == {1, 2, 5}


PRIVATE = [ChannelRef(GUILD, 500 + number, 1, ThreadKind.PRIVATE) for number in range(30)]


def open_server(**more: Any) -> discord.Guild:
    return discord_objects.guild([discord_objects.channel(1)], everyone=VIEW | HISTORY, **more)


@pytest.mark.parametrize(("archived", "asked"), [(True, MEMBERSHIP_REQUESTS // 2), (False, MEMBERSHIP_REQUESTS)])
def test_one_question_asks_about_the_first_few_private_threads_only(archived: bool, asked: int) -> None:
    """An archived one is not in discord.py's cache, and costs two requests."""
    ids = [thread.channel_id for thread in PRIVATE]
    threads = [] if archived else [discord_objects.thread(thread_id, 1, PRIVATE_THREAD) for thread_id in ids]
    server, memberships = open_server(threads=threads), Memberships(*ids)
    audience = MemberAudience(discord_objects.member(server, ASKER), 1, Refusals(), memberships)
    assert readable(audience, PRIVATE) == set(memberships.asked) == set(ids[-asked:])


def test_a_thread_that_was_not_joined_is_not_asked_about_again_until_members_change() -> None:
    server, refusals, memberships = open_server(), Refusals(), Memberships()
    asker = discord_objects.member(server, ASKER)

    def ask() -> frozenset[int]:
        return readable(MemberAudience(asker, 1, refusals, memberships), PRIVATE[:1])

    assert (ask(), ask(), memberships.asked) == (set(), set(), [500])
    memberships.joined = {500}
    refusals.forget(GUILD + 1)
    assert ask() == set()
    refusals.forget(GUILD)
    assert ask() == {500}
    memberships.joined = set()
    assert ask() == set(), "a thread that was left is asked about again"


@pytest.mark.parametrize("trouble", [OSError("no network"), TimeoutError()])
def test_an_unknown_membership_counts_as_none_and_is_asked_again(trouble: Exception) -> None:
    server, refusals, memberships = open_server(), Refusals(), Memberships(500, trouble=[trouble])
    asker = discord_objects.member(server, ASKER)
    assert readable(MemberAudience(asker, 1, refusals, memberships), PRIVATE[:1]) == set()
    assert readable(MemberAudience(asker, 1, refusals, memberships), PRIVATE[:1]) == {500}


def test_where_discord_does_not_answer_it_is_not_asked_again_for_the_same_question() -> None:
    server, memberships = open_server(), Memberships(*range(500, 600), trouble=[TimeoutError()])
    audience = MemberAudience(discord_objects.member(server, ASKER), 1, Refusals(), memberships)
    asyncio.run(audience.ask([PRIVATE[0].channel_id]))
    assert audience.readable(PRIVATE).to_ask == set()


def test_a_channel_that_refused_the_bot_is_left_out_until_permissions_change() -> None:
    server, refusals, channels = open_server(), Refusals(), [ChannelRef(GUILD, 1), PRIVATE[0]]
    refusals.add(GUILD, 1)
    refusals.add(GUILD, 500)
    for audience in (
        MemberAudience(discord_objects.member(server, OWNER), 1, refusals, Memberships()),
        ChannelAudience(server, channels[0], refusals),
        ChannelAudience(server, channels[1], refusals),
    ):
        assert readable(audience, channels) == set()
    refusals.forget(GUILD)
    owner = MemberAudience(discord_objects.member(server, OWNER), 1, refusals, Memberships())
    assert readable(owner, channels) == {1, 500}


def test_a_thread_that_became_private_is_judged_by_what_discord_says_now() -> None:
    server = open_server(threads=[discord_objects.thread(500, 1, PRIVATE_THREAD)])
    remembered = ChannelRef(GUILD, 500, 1, ThreadKind.PUBLIC)
    asker = discord_objects.member(server, ASKER)
    assert readable(MemberAudience(asker, 1, Refusals(), Memberships()), [remembered]) == set()
