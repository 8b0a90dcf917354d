"""Permissions: how they are computed, and what the API refuses without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import permissions as p
from sandbox.guild_ops import add_channel, add_guild, add_member, add_role, add_thread, add_user
from sandbox.server import Sandbox
from sandbox.state import ChannelType, Clock, Overwrite, State
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]
BITS = (p.VIEW_CHANNEL, p.SEND_MESSAGES, p.READ_MESSAGE_HISTORY, p.ATTACH_FILES, p.MANAGE_THREADS)
masks = st.sets(st.sampled_from(BITS)).map(sum)


@given(everyone=masks, roles=st.lists(st.tuples(masks, masks, masks), max_size=3), own=st.tuples(masks, masks))
def test_each_permission_follows_the_documented_order(
    everyone: int, roles: list[tuple[int, int, int]], own: tuple[int, int]
) -> None:
    state = State(Clock())
    owner, someone = add_user(state, "o", "O"), add_user(state, "s", "S")
    guild = add_guild(state, "G", owner)
    guild.roles[guild.id].permissions = everyone
    made = [add_role(state, guild, f"r{n}", base) for n, (base, _, _) in enumerate(roles)]
    add_member(state, guild, someone, *made)
    overwrites = [Overwrite(r.id, 0, allow, deny) for r, (_, allow, deny) in zip(made, roles, strict=True)]
    channel = add_channel(state, guild, "c", 0, *overwrites, Overwrite(someone.id, 1, *own))

    def expected(bit: int) -> bool:
        if own[0] & bit or own[1] & bit:
            return bool(own[0] & bit)
        if any(allow & bit for _, allow, _ in roles):
            return True
        if any(deny & bit for _, _, deny in roles):
            return False
        return bool(everyone & bit) or any(base & bit for base, _, _ in roles)

    computed = p.permissions_in(state, channel, someone.id)
    for bit in BITS:
        assert bool(computed & bit) == (expected(bit) and expected(p.VIEW_CHANNEL))
    assert p.permissions_in(state, channel, owner.id) == p.ALL


def test_a_private_thread_is_visible_to_its_members_and_to_thread_managers() -> None:
    state = State(Clock())
    owner, inside, outside, mod = (add_user(state, n, n) for n in ("owner", "inside", "outside", "mod"))
    guild = add_guild(state, "G", owner)
    manager = add_role(state, guild, "m", p.MANAGE_THREADS)
    add_member(state, guild, inside)
    add_member(state, guild, outside)
    add_member(state, guild, mod, manager)
    parent = add_channel(state, guild, "c")
    thread = add_thread(state, parent, "t", ChannelType.PRIVATE_THREAD, inside)
    assert [p.may_read(state, thread, u.id) for u in (inside, outside, mod, owner)] == [True, False, True, True]
    parent.overwrites[guild.id] = Overwrite(guild.id, 0, deny=p.VIEW_CHANNEL)
    assert not p.may_read(state, thread, inside.id)


def test_reading_a_voice_channel_needs_connect() -> None:
    state = State(Clock())
    owner, guest = add_user(state, "o", "O"), add_user(state, "g", "G")
    guild = add_guild(state, "G", owner)
    add_member(state, guild, guest)
    voice = add_channel(state, guild, "v", ChannelType.VOICE)
    assert p.may_read(state, voice, guest.id)
    voice.overwrites[guild.id] = Overwrite(guild.id, 0, deny=p.CONNECT)
    assert not p.may_read(state, voice, guest.id)


def test_a_timed_out_member_may_only_read() -> None:
    state = State(Clock())
    owner, loud = add_user(state, "o", "O"), add_user(state, "l", "L")
    guild = add_guild(state, "G", owner)
    member = add_member(state, guild, loud)
    channel = add_channel(state, guild, "c")
    member.timeout_until = state.clock.now() + 60
    assert p.permissions_in(state, channel, loud.id) == p.TIMED_OUT
    state.clock.advance(61)
    assert p.permissions_in(state, channel, loud.id) & p.SEND_MESSAGES


@pytest.mark.parametrize(
    ("denied", "method", "path", "body", "code"),
    [
        (p.VIEW_CHANNEL, "GET", "", None, 50001),
        (p.VIEW_CHANNEL, "GET", "/messages", None, 50001),
        (p.VIEW_CHANNEL, "POST", "/messages", {"content": "x"}, 50001),
        (p.SEND_MESSAGES, "POST", "/messages", {"content": "x"}, 50013),
        (p.SEND_MESSAGES, "POST", "/typing", None, 50013),
        (p.READ_MESSAGE_HISTORY, "GET", "/messages/{message}", None, 50001),
        (p.READ_MESSAGE_HISTORY, "POST", "/messages", {"content": "x", "message_reference": "{message}"}, 160002),
        (p.ATTACH_FILES, "POST", "/attachments", {"files": [{"filename": "a.png", "file_size": 1}]}, 50013),
        (p.ADD_REACTIONS, "PUT", "/messages/{message}/reactions/%F0%9F%90%A6/@me", None, 50013),
        (p.CREATE_PUBLIC_THREADS, "POST", "/threads", {"name": "t", "type": 11}, 50013),
        (p.CREATE_PRIVATE_THREADS, "POST", "/threads", {"name": "t", "type": 12}, 50013),
        (0, "DELETE", "/messages/{message}", None, 50013),
        (0, "PATCH", "/messages/{message}", {"content": "mine"}, 50005),
        (0, "POST", "/messages/bulk-delete", {"messages": ["1", "2"]}, 50013),
        (0, "PATCH", "", {"name": "mine"}, 50013),
        (0, "DELETE", "", None, 50013),
        (0, "PUT", "/permissions/1", {"type": 0}, 50013),
    ],
)
async def test_actions_without_permission_are_refused_with_discords_code(
    sandbox: Sandbox, person: Connect, denied: int, method: str, path: str, body: object, code: int
) -> None:
    bob, dora = await person("bob"), await person("dora")
    channel = sandbox.channel("chat")
    message = await bob.say(channel.id, "bob's")
    channel.overwrites[channel.guild_id] = Overwrite(channel.guild_id, 0, deny=denied)
    if isinstance(body, dict) and body.get("message_reference"):
        body = {**body, "message_reference": {"message_id": message["id"]}}
    path = path.format(message=message["id"])
    refused = await dora.call(method, f"/channels/{channel.id}{path}", body)
    assert (refused.status, refused.code) == (400 if code == 160002 else 403, code)


async def test_history_is_empty_without_read_message_history(sandbox: Sandbox, person: Connect) -> None:
    dora = await person("dora")
    channel = sandbox.channel("chat")
    await dora.say(channel.id, "x")
    channel.overwrites[channel.guild_id] = Overwrite(channel.guild_id, 0, deny=p.READ_MESSAGE_HISTORY)
    assert await dora.ok("GET", f"/channels/{channel.id}/messages") == []


async def test_events_only_reach_users_who_may_see_the_channel(sandbox: Sandbox, person: Connect) -> None:
    bob, cem, dora, emil = [await person(n) for n in ("bob", "cem", "dora", "emil")]
    await cem.share(sandbox.channel("regulars").id, png(2, 2), content="secret")
    await cem.say(sandbox.channel("party planning").id, "a surprise")
    await cem.say(sandbox.channel("chat").id, "open")
    await cem.say(sandbox.channel("sketches").id, "elsewhere")
    for someone, last, heard in (
        (bob, "open", ["secret", "a surprise", "open"]),
        (dora, "open", ["open"]),
        (emil, "elsewhere", ["elsewhere"]),
    ):
        await someone.event("MESSAGE_CREATE", lambda d, last=last: d["content"] == last)
        assert [d["content"] for n, d in someone.events if n == "MESSAGE_CREATE"] == heard


async def test_a_user_only_receives_the_channels_they_may_see(sandbox: Sandbox, person: Connect) -> None:
    dora = await person("dora")
    [nest] = dora.ready["guilds"]
    assert "regulars" not in {c["name"] for c in nest["channels"]}
    assert {t["name"] for t in nest["threads"]} == {"cats only"}
    listed = await dora.ok("GET", f"/guilds/{nest['id']}/channels")
    assert {c["id"] for c in listed} == {c["id"] for c in nest["channels"]}
    announcements = next(c for c in listed if c["name"] == "announcements")
    assert not int(announcements["permissions"]) & p.SEND_MESSAGES


async def test_a_kicked_member_leaves_all_threads(sandbox: Sandbox, person: Connect) -> None:
    ann, cem = await person("ann"), await person("cem")
    nest, planning, own = sandbox.guild("The Nest"), sandbox.channel("party planning"), sandbox.user("cem")
    await ann.ok("DELETE", f"/guilds/{nest.id}/members/{own.id}")
    await cem.event("GUILD_DELETE", lambda d: d["id"] == str(nest.id))
    await ann.event("GUILD_MEMBER_REMOVE", lambda d: d["user"]["id"] == str(own.id))
    assert not any(own.id in t.thread.members for t in sandbox.state.threads_of(nest))
    add_member(sandbox.state, nest, own)
    assert (await cem.call("GET", f"/channels/{planning.id}")).code == 50001


async def test_a_bot_that_is_invited_again_is_in_no_thread(sandbox: Sandbox, person: Connect) -> None:
    ann = await person("ann")
    nest, planning = sandbox.guild("The Nest"), sandbox.channel("party planning")
    await ann.ok("PUT", f"/channels/{planning.id}/thread-members/{sandbox.application_id}")
    assert p.may_read(sandbox.state, planning, sandbox.application_id)
    sandbox.remove_bot(nest)
    sandbox.invite_bot(nest)
    assert not p.may_read(sandbox.state, planning, sandbox.application_id)


async def test_adding_and_removing_a_role_shows_and_hides_channels(sandbox: Sandbox, person: Connect) -> None:
    ann, dora = await person("ann"), await person("dora")
    nest = sandbox.guild("The Nest")
    regular = next(r for r in nest.roles.values() if r.name == "Regular")
    path = f"/guilds/{nest.id}/members/{dora.ready['user']['id']}/roles/{regular.id}"
    await ann.ok("PUT", path)
    await dora.event("CHANNEL_CREATE", lambda d: d["name"] == "regulars")
    await ann.ok("DELETE", path)
    await dora.event("CHANNEL_DELETE", lambda d: d["name"] == "regulars")
