"""The gateway: HELLO, IDENTIFY, close codes, RESUME, and event faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sandbox.faults import Fault
from sandbox.guild_ops import add_channel, add_guild, add_member
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import TIMEOUT_S, Person

Connect = Callable[[str], Awaitable[Person]]
GUILDS, MESSAGES, CONTENT = 1, 1 << 9, 1 << 15
MEMBERS, PRESENCES = 1 << 1, 1 << 8


def bot(sandbox: Sandbox, intents: int = GUILDS | MESSAGES | CONTENT) -> Person:
    return Person(sandbox.url, sandbox.bot_token, bot=True, intents=intents)


async def test_a_wrong_token_closes_the_connection_with_4004(sandbox: Sandbox) -> None:
    async with Person(sandbox.url, "nonsense") as nobody:
        await nobody.open_socket()
        await nobody.ws.send_json({"op": 2, "d": {"token": "nonsense"}})
        assert await nobody.lost_connection() == 4004


async def test_a_disabled_intent_closes_the_connection_with_4014(sandbox: Sandbox) -> None:
    sandbox.application.message_content = False
    for intents in (CONTENT, MEMBERS, PRESENCES, GUILDS | MEMBERS):
        async with bot(sandbox) as refused:
            await refused.open_socket()
            await refused.ws.send_json({"op": 2, "d": {"token": sandbox.bot_token, "intents": intents}})
            assert await refused.lost_connection() == 4014
    sandbox.application.message_content = sandbox.application.guild_members = True
    sandbox.application.guild_presences = True
    async with bot(sandbox, CONTENT | MEMBERS | PRESENCES) as welcome:
        ready = await welcome.connect()
        assert ready["application"]["flags"] == 1 << 13 | 1 << 15 | 1 << 19


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"op": 77}', 4003),
        ("{", 4002),
        ('{"op": 2, "d": 5}', 4002),
    ],
)
async def test_invalid_frames_close_the_connection(sandbox: Sandbox, frame: str, code: int) -> None:
    async with bot(sandbox) as client:
        await client.open_socket()
        await client.ws.send_str(frame)
        assert await client.lost_connection() == code


async def test_identifying_twice_and_unknown_opcodes_are_errors(sandbox: Sandbox, person: Connect) -> None:
    cem, bob = await person("cem"), await person("bob")
    await cem.ws.send_json({"op": 2, "d": {"token": cem.token}})
    assert await cem.lost_connection() == 4005
    await bob.ws.send_json({"op": 99})
    assert await bob.lost_connection() == 4001


async def test_a_bots_guilds_follow_its_ready_event(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        ready = await client.connect()
        assert all(g == {"id": g["id"], "unavailable": True} for g in ready["guilds"])
        nest = await client.event("GUILD_CREATE", lambda d: d["name"] == "The Nest")
        assert "moderators" in {c["name"] for c in nest["channels"]}
        assert [m["user"]["username"] for m in nest["members"]] == ["Magpie"]
        assert nest["roles"][0]["id"] == nest["id"]


async def test_without_the_content_intent_only_messages_that_mention_the_bot_have_content(
    sandbox: Sandbox, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    async with bot(sandbox, GUILDS | MESSAGES) as client:
        await client.connect()
        await cem.share(channel, png(2, 2), content="quiet")
        await cem.share(channel, png(2, 2), content=f"<@{sandbox.application_id}> look")
        mentioned = await client.event("MESSAGE_CREATE", lambda d: d["content"])
        [silent] = [d for n, d in client.events if n == "MESSAGE_CREATE" and d["id"] != mentioned["id"]]
    assert (silent["content"], silent["attachments"]) == ("", [])
    assert len(mentioned["attachments"]) == 1


async def test_without_the_content_intent_http_responses_are_empty_too(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    posted = await cem.share(channel, png(2, 2), content="quiet")
    sandbox.application.message_content = False
    async with bot(sandbox) as client:
        seen = await client.ok("GET", f"/channels/{channel}/messages/{posted['id']}")
    assert (seen["content"], seen["attachments"], seen["embeds"]) == ("", [], [])


async def test_a_resumed_session_replays_missed_events_in_order(sandbox: Sandbox, person: Connect) -> None:
    bob, cem = await person("bob"), await person("cem")
    channel = sandbox.channel("chat").id
    await cem.say(channel, "before")
    await bob.event("MESSAGE_CREATE")
    await sandbox.drop_gateway(int(bob.ready["user"]["id"]))
    await bob.lost_connection()
    for n in range(3):
        await cem.say(channel, f"missed {n}")
    await bob.resume()
    await bob.event("RESUMED")
    heard = [d["content"] for n, d in bob.events if n == "MESSAGE_CREATE"]
    assert heard == ["before", "missed 0", "missed 1", "missed 2"]


async def test_a_client_that_says_goodbye_is_no_longer_connected(sandbox: Sandbox) -> None:
    sessions, bot_id = sandbox.server.sessions, sandbox.application.bot_id
    async with bot(sandbox) as leaving:
        await leaving.connect()
        assert sessions.is_connected(bot_id)
        await leaving.ws.close()
    async with asyncio.timeout(TIMEOUT_S):
        while sessions.is_connected(bot_id):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert sessions.of_user(bot_id) == []


async def test_an_unknown_session_must_identify_again(sandbox: Sandbox, person: Connect) -> None:
    bob = await person("bob")
    await sandbox.invalidate_session(int(bob.ready["user"]["id"]))
    assert await bob.event("op 9") is False
    await bob.ws.close()
    mark = len(bob.events)
    await bob.resume()
    await bob.event("op 9", since=mark)
    await bob.ws.send_json({"op": 2, "d": {"token": bob.token}})
    await bob.event("READY", lambda d: d["session_id"] != bob.ready["session_id"])


async def test_events_can_be_doubled_delayed_or_lost(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    async with bot(sandbox) as client:
        await client.connect()
        sandbox.faults.add(Fault("double_event", event="MESSAGE_CREATE"))
        await cem.say(channel, "twice")
        sandbox.faults.add(Fault("late_event", event="MESSAGE_CREATE", seconds=0.3))
        await cem.say(channel, "late")
        sandbox.faults.add(Fault("lost_event", event="MESSAGE_CREATE"))
        await cem.say(channel, "lost")
        await cem.say(channel, "in time")
        await client.event("MESSAGE_CREATE", lambda d: d["content"] == "late")
        heard = [d["content"] for n, d in client.events if n == "MESSAGE_CREATE"]
    assert heard == ["twice", "twice", "in time", "late"]


async def test_an_identify_fault_closes_the_connection_with_its_code(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("identify", close_code=4012))
    async with bot(sandbox) as client:
        await client.open_socket()
        await client.ws.send_json({"op": 2, "d": {"token": sandbox.bot_token, "intents": GUILDS}})
        assert await client.lost_connection() == 4012
    async with bot(sandbox) as client:
        await client.connect()


async def test_an_outage_and_a_removal_send_different_events(sandbox: Sandbox) -> None:
    nest, branch = sandbox.guild("The Nest"), sandbox.guild("Second Branch")
    async with bot(sandbox) as client:
        await client.connect()
        sandbox.outage(nest)
        gone = await client.event("GUILD_DELETE", lambda d: d["id"] == str(nest.id))
        assert gone["unavailable"] is True
        mark = len(client.events)
        sandbox.outage(nest, over=True)
        await client.event("GUILD_CREATE", lambda d: d["id"] == str(nest.id), since=mark)
        sandbox.remove_bot(branch)
        removed = await client.event("GUILD_DELETE", lambda d: d["id"] == str(branch.id))
        assert "unavailable" not in removed
        mark = len(client.events)
        sandbox.invite_bot(branch)
        back = await client.event("GUILD_CREATE", since=mark)
        assert back["name"] == "Second Branch"


async def test_each_shard_receives_the_events_of_its_guilds_only(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    bot_user = sandbox.state.users[sandbox.application.bot_id]
    channels = {}
    for shard in (0, 1):
        guild = add_guild(sandbox.state, f"guild of shard {shard}", sandbox.user("cem"), guild_id=(1000 + shard) << 22)
        add_member(sandbox.state, guild, bot_user)
        channels[shard] = add_channel(sandbox.state, guild, "general").id
    clients = [
        Person(sandbox.url, sandbox.bot_token, bot=True, intents=GUILDS | MESSAGES, shard=(shard, 2))
        for shard in (0, 1)
    ]
    command = [{"name": "say", "description": "Says"}]
    await clients[0].ok("PUT", f"/applications/{sandbox.application_id}/commands", command)
    for shard, client in enumerate(clients):
        ready = await client.connect()
        assert ready["shard"] == [shard, 2]
        assert {(int(g["id"]) >> 22) % 2 for g in ready["guilds"]} == {shard}
    for shard in (0, 1):
        await cem.say(channels[shard], f"to shard {shard}")
        await cem.slash((1000 + shard) << 22, channels[shard], "say")
    for shard, client in enumerate(clients):
        await client.event("MESSAGE_CREATE", lambda d, shard=shard: d["channel_id"] == str(channels[shard]))
        await client.event("INTERACTION_CREATE", lambda d, shard=shard: d["channel_id"] == str(channels[shard]))
        assert client.count("MESSAGE_CREATE") == client.count("INTERACTION_CREATE") == 1
        await client.close()


async def test_deleting_threads_and_channels_sends_one_event_each(sandbox: Sandbox, person: Connect) -> None:
    ann = await person("ann")
    pictures = sandbox.channel("pictures")
    thread = sandbox.channel("cats only")
    async with bot(sandbox) as client:
        await client.connect()
        await ann.ok("DELETE", f"/channels/{thread.id}")
        deleted = await client.event("THREAD_DELETE")
        assert deleted == {
            "id": str(thread.id),
            "guild_id": str(pictures.guild_id),
            "parent_id": str(pictures.id),
            "type": 11,
        }
        posted = await ann.share(pictures.id, png(2, 2))
        await ann.ok("DELETE", f"/channels/{pictures.id}")
        await client.event("CHANNEL_DELETE", lambda d: d["id"] == str(pictures.id))
        assert client.count("MESSAGE_DELETE") == 0
    async with ann.http.get(posted["attachments"][0]["url"]) as response:
        assert response.status == 404
    assert sandbox.state.attachments == {}
