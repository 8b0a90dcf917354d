"""Interactions: deadlines, tokens, buttons, and who receives the responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]
SAY = {"name": "say", "description": "Says"}


@pytest.fixture
async def bot(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with Person(sandbox.url, sandbox.bot_token, bot=True, intents=1 | 1 << 9 | 1 << 15) as client:
        await client.connect()
        await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [SAY])
        yield client


async def asked(sandbox: Sandbox, bot: Person, member: Person, channel: str = "chat") -> dict[str, Any]:
    """The bot's view of a fresh /say."""
    place = sandbox.channel(channel)
    mark = len(bot.events)
    await member.slash(place.guild_id, place.id, "say")
    return await bot.event("INTERACTION_CREATE", since=mark)


def callback(interaction: dict[str, Any]) -> str:
    return f"/interactions/{interaction['id']}/{interaction['token']}/callback?with_response=1"


def webhook(interaction: dict[str, Any], rest: str = "") -> str:
    return f"/webhooks/{interaction['application_id']}/{interaction['token']}{rest}"


async def test_a_response_after_the_deadline_is_rejected(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    sandbox.limits.interaction_deadline_s = 0.1
    cem = await person("cem")
    interaction = await asked(sandbox, bot, cem)
    failed = await cem.event("INTERACTION_FAILURE")
    assert failed["id"] == interaction["id"] and failed["nonce"]
    late = await bot.call("POST", callback(interaction), {"type": 4, "data": {"content": "here"}})
    assert (late.status, late.code) == (404, 10062)
    assert (await bot.call("POST", webhook(interaction), {"content": "here"})).code == 10015


async def test_an_interaction_is_answered_once(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    interaction = await asked(sandbox, bot, await person("cem"))
    await bot.ok("POST", callback(interaction), {"type": 5, "data": {"flags": 64}})
    again = await bot.call("POST", callback(interaction), {"type": 4, "data": {"content": "here"}})
    assert (again.status, again.code) == (400, 40060)


async def test_an_interaction_can_be_answered_after_a_rejected_response(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    interaction = await asked(sandbox, bot, await person("cem"))
    for wrong in ({"type": 99}, {"type": 8}, {"type": 7}, {"type": 4, "data": {"content": "x" * 2001}}):
        assert (await bot.call("POST", callback(interaction), wrong)).code == 50035
    assert (await bot.call("POST", callback(interaction), {"type": 4, "data": {}})).code == 50006
    await bot.ok("POST", callback(interaction), {"type": 4, "data": {"content": "better"}})


async def test_an_interaction_token_expires_after_fifteen_minutes(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    interaction = await asked(sandbox, bot, await person("cem"))
    await bot.ok("POST", callback(interaction), {"type": 5, "data": {}})
    sandbox.clock.advance(14 * 60)
    await bot.ok("PATCH", webhook(interaction, "/messages/@original"), {"content": "still"})
    sandbox.clock.advance(2 * 60)
    old = await bot.call("PATCH", webhook(interaction, "/messages/@original"), {"content": "no more"})
    assert (old.status, old.code) == (401, 50027)


async def test_ephemeral_responses_are_only_seen_by_their_user(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem, bob = await person("cem"), await person("bob")
    interaction = await asked(sandbox, bot, cem)
    await bot.ok("POST", callback(interaction), {"type": 4, "data": {"content": "psst", "flags": 64}})
    shown = await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "psst")
    await bot.ok("DELETE", webhook(interaction, "/messages/@original"))
    await cem.event("MESSAGE_DELETE", lambda d: d["id"] == shown["id"])
    listed = await cem.ok("GET", f"/channels/{shown['channel_id']}/messages")
    assert listed == []
    await bob.say(sandbox.channel("chat").id, "last")
    await bob.event("MESSAGE_CREATE", lambda d: d["content"] == "last")
    assert bob.count("MESSAGE_CREATE", lambda d: d["content"] == "psst") == bob.count("MESSAGE_DELETE") == 0


async def test_public_responses_reach_everyone_in_the_channel(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem, bob, dora = await person("cem"), await person("bob"), await person("dora")
    interaction = await asked(sandbox, bot, cem, "regulars")
    await bot.ok("POST", callback(interaction), {"type": 4, "data": {"content": "hear"}})
    answer = await bob.event("MESSAGE_CREATE", lambda d: d["content"] == "hear")
    assert (answer["type"], answer["interaction_metadata"]["name"]) == (20, "say")
    await bob.say(sandbox.channel("chat").id, "last")
    await dora.event("MESSAGE_CREATE", lambda d: d["content"] == "last")
    assert dora.count("MESSAGE_CREATE") == 1


async def test_the_first_follow_up_replaces_the_loading_message(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem = await person("cem")
    interaction = await asked(sandbox, bot, cem)
    made = await bot.ok("POST", callback(interaction), {"type": 5, "data": {"flags": 64}})
    assert made["interaction"]["response_message_loading"] and made["interaction"]["response_message_ephemeral"]
    filled = await bot.ok("POST", webhook(interaction) + "?wait=1", {"content": "done"})
    assert filled["id"] == made["interaction"]["response_message_id"] and filled["flags"] == 64
    further = await bot.ok("POST", webhook(interaction) + "?wait=1", {"content": "more", "flags": 64})
    assert further["id"] != filled["id"]


async def test_a_token_only_reaches_the_messages_of_its_own_interaction(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    plain = await bot.say(channel, "mine, but no answer")
    first, second = await asked(sandbox, bot, cem), await asked(sandbox, bot, cem)
    answers = {}
    for name, interaction in (("first", first), ("second", second)):
        await bot.ok("POST", callback(interaction), {"type": 4, "data": {"content": name}})
        answers[name] = await bot.ok("GET", webhook(interaction, "/messages/@original"))
    for foreign in (plain["id"], answers["second"]["id"]):
        path = webhook(first, f"/messages/{foreign}")
        assert (await bot.call("GET", path)).code == 10008
        assert (await bot.call("PATCH", path, {"content": "changed"})).code == 10008
        assert (await bot.call("DELETE", path)).code == 10008
    further = await bot.ok("POST", webhook(first) + "?wait=1", {"content": "more"})
    for own in (answers["first"]["id"], further["id"]):
        assert (await bot.ok("PATCH", webhook(first, f"/messages/{own}"), {"content": "changed"}))["id"] == own
    await bot.ok("DELETE", webhook(first, f"/messages/{further['id']}"))
    kept = {m.content for m in sandbox.channel("chat").messages.values()}
    assert kept == {"mine, but no answer", "second", "changed"}


async def test_components_v2_excludes_content_and_replaces_a_loading_message(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    interaction = await asked(sandbox, bot, await person("cem"))
    await bot.ok("POST", callback(interaction), {"type": 5, "data": {"flags": 64}})
    original = webhook(interaction, "/messages/@original")
    layout = {"flags": 1 << 15, "components": [{"type": 10, "content": "x"}]}
    assert (await bot.call("PATCH", original, {**layout, "content": "no"})).code == 50035
    assert (await bot.call("PATCH", original, {**layout, "embeds": [{"title": "no"}]})).code == 50035
    shown = await bot.ok("PATCH", original, layout)
    assert shown["flags"] == 64 | 1 << 15 and shown["components"][0]["content"] == "x"
    kept = await bot.ok("PATCH", original, {"components": [{"type": 10, "content": "y"}]})
    assert kept["flags"] == 64 | 1 << 15
    assert (await bot.call("PATCH", original, {"content": "back"})).code == 50035


async def test_only_enabled_buttons_of_visible_messages_can_be_pressed(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem, bob = await person("cem"), await person("bob")
    interaction = await asked(sandbox, bot, cem)
    buttons = [
        {"type": 2, "style": 1, "label": "go", "custom_id": "go"},
        {"type": 2, "style": 1, "label": "off", "custom_id": "off", "disabled": True},
    ]
    data = {"content": "press", "flags": 64, "components": [{"type": 1, "components": buttons}]}
    await bot.ok("POST", callback(interaction), {"type": 4, "data": data})
    shown = await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "press")

    def press(custom_id: str) -> dict[str, Any]:
        return {
            "type": 3,
            "application_id": str(sandbox.application_id),
            "channel_id": shown["channel_id"],
            "session_id": "s",
            "nonce": custom_id,
            "message_id": shown["id"],
            "data": {"component_type": 2, "custom_id": custom_id},
        }

    assert (await bob.call("POST", "/interactions", press("go"))).code == 10008
    assert (await cem.call("POST", "/interactions", press("nothing"))).code == 50035
    assert (await cem.call("POST", "/interactions", press("off"))).code == 50035
    mark = len(bot.events)
    await cem.ok("POST", "/interactions", press("go"))
    pressed = await bot.event("INTERACTION_CREATE", since=mark)
    assert pressed["message"]["id"] == shown["id"] and pressed["data"]["custom_id"] == "go"
    await bot.ok("POST", callback(pressed), {"type": 7, "data": {"content": "pressed", "components": []}})
    await cem.event("MESSAGE_UPDATE", lambda d: d["content"] == "pressed" and d["components"] == [])


async def test_the_users_locale_reaches_the_bot(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    command = await cem.command(channel.guild_id, "say")
    body = {
        "type": 2,
        "application_id": str(sandbox.application_id),
        "channel_id": str(channel.id),
        "session_id": "s",
        "nonce": "1",
        "data": {"id": command["id"], "name": "say", "type": 1},
    }
    await cem.ok("POST", "/interactions", body, **{"X-Discord-Locale": "zh-CN"})
    assert (await bot.event("INTERACTION_CREATE"))["locale"] == "zh-CN"
