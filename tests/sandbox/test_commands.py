"""Application commands: registration, the command index, option values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]
FIND: dict[str, Any] = {
    "type": 1,
    "name": "find",
    "description": "Finds pictures",
    "name_localizations": {"zh-CN": "搜图"},
    "options": [
        {"type": 3, "name": "query", "description": "q", "required": True, "max_length": 5},
        {"type": 4, "name": "count", "description": "n", "min_value": 1, "max_value": 3},
        {"type": 3, "name": "how", "description": "h", "choices": [{"name": "A", "value": "a"}]},
        {"type": 7, "name": "channel", "description": "c", "channel_types": [0, 11]},
        {"type": 6, "name": "who", "description": "w"},
    ],
}


def bot(sandbox: Sandbox) -> Person:
    return Person(sandbox.url, sandbox.bot_token, bot=True, intents=1)


def query(value: Any = "cat") -> dict[str, Any]:
    return {"type": 3, "name": "query", "value": value}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Find"},
        {"name": "fi nd"},
        {"name": "x" * 33},
        {"name": None},
        {"description": ""},
        {"description": "x" * 101},
        {"type": 9},
        {"type": 3},
        {"options": [{"type": 3, "name": "a", "description": "a"}] * 2},
        {"options": [{"type": 3, "name": f"o{n}", "description": "a"} for n in range(26)]},
        {"options": [{"type": 12, "name": "a", "description": "a"}]},
        {"options": [{"type": 5, "name": "a", "description": "a", "autocomplete": True}]},
        {"options": [{"type": 3, "name": "a", "description": ""}]},
        {"options": [{"type": 3, "name": "a", "description": "a"}, {**FIND["options"][0], "name": "b"}]},
        {"options": [{**FIND["options"][2], "choices": [{"name": f"{n}", "value": f"{n}"} for n in range(26)]}]},
        {
            "options": [
                {
                    **FIND["options"][2],
                    "choices": [{"name": "x", "value": c * 4500} for c in "yz"],
                }
            ]
        },
    ],
)
async def test_an_invalid_command_is_rejected(sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    async with bot(sandbox) as client:
        path = f"/applications/{sandbox.application_id}/commands"
        refused = await client.call("PUT", path, [{**FIND, **wrong}])
        assert (refused.status, refused.code, list(refused.body["errors"])) == (400, 50035, ["0"])
        assert await client.ok("GET", path) == []


async def test_an_overwrite_replaces_all_types_and_keeps_ids(sandbox: Sandbox) -> None:
    path = f"/applications/{sandbox.application_id}/commands"
    async with bot(sandbox) as client:
        first = await client.ok("PUT", path, [FIND, {"type": 3, "name": "Find similar"}])
        again = await client.ok("PUT", path, [{**FIND, "name": "find", "description": "Finds better"}])
        assert [c["id"] for c in again] == [first[0]["id"]]
        assert int(again[0]["version"]) > int(first[0]["version"])
        assert [c["name"] for c in await client.ok("GET", path)] == ["find"]
        other = await client.call("GET", "/applications/1/commands")
        assert (other.status, other.code) == (403, 20012)


async def test_context_menu_names_are_free_and_slash_names_may_be_chinese(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        path = f"/applications/{sandbox.application_id}/commands"
        menu = {"type": 3, "name": "Find similar Pictures"}
        made = await client.ok("PUT", path, [{**FIND, "name": "搜图"}, menu])
        assert [c["name"] for c in made] == ["搜图", "Find similar Pictures"]
        refused = await client.call("PUT", path, [{"type": 3, "name": f"M{n}"} for n in range(16)])
        assert refused.code == 50035


@pytest.mark.parametrize(
    "options",
    [
        [],
        [query("")],
        [query("too long")],
        [query(5)],
        [{**query(), "name": "nothing"}],
        [{**query(), "type": 4}],
        [query(), {"type": 4, "name": "count", "value": 4}],
        [query(), {"type": 4, "name": "count", "value": "2"}],
        [query(), {"type": 3, "name": "how", "value": "b"}],
        [query(), {"type": 7, "name": "channel", "value": "x"}],
        [query(), {"type": 7, "name": "channel", "value": "1"}],
        [query(), {"type": 7, "name": "channel", "value": "sketches"}],
        [query(), {"type": 7, "name": "channel", "value": "Lobby"}],
        [query(), {"type": 7.0, "name": "channel", "value": "chat"}],
    ],
)
async def test_option_values_that_break_the_commands_rules_are_rejected(
    sandbox: Sandbox, person: Connect, options: list[Any]
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    async with bot(sandbox) as client:
        [made] = await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [FIND])
    named = {c.name: str(c.id) for c in sandbox.state.channels.values()}
    options = [{**o, "value": named.get(o["value"], o["value"])} for o in options]
    body = {
        "type": 2,
        "application_id": str(sandbox.application_id),
        "channel_id": str(channel.id),
        "session_id": "s",
        "nonce": "1",
        "data": {"id": made["id"], "name": "find", "type": 1, "version": made["version"], "options": options},
    }
    refused = await cem.call("POST", "/interactions", body)
    assert (refused.status, refused.code) == (400, 50035)
    assert sandbox.state.interactions == {}


async def test_an_interaction_with_another_guilds_id_is_rejected(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel, elsewhere = sandbox.channel("chat"), sandbox.guild("Second Branch").id
    async with bot(sandbox) as client:
        [made] = await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [FIND])
    body = {
        "type": 2,
        "application_id": str(sandbox.application_id),
        "guild_id": str(elsewhere),
        "channel_id": str(channel.id),
        "session_id": "s",
        "nonce": "1",
        "data": {"id": made["id"], "name": "find", "type": 1, "options": [query()]},
    }
    refused = await cem.call("POST", "/interactions", body)
    assert (refused.code, list(refused.body["errors"])) == (50035, ["guild_id"])
    await cem.ok("POST", "/interactions", {**body, "guild_id": str(channel.guild_id)})


async def test_a_rejected_command_consumes_no_upload_slot(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    options = [{"type": 11, "name": name, "description": "p"} for name in ("one", "two")]
    async with bot(sandbox) as client:
        command = {"name": "look", "description": "l", "options": options}
        await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [command])
        await client.connect()
        upload = await cem.upload(channel.id, png(2, 2), "a.png")
        chosen = [{"type": 11, "name": name, "value": "0"} for name in ("one", "two")]
        with pytest.raises(AssertionError, match="MESSAGE_ATTACHMENT_NOT_FOUND"):
            await cem.slash(channel.guild_id, channel.id, "look", *chosen, attachments=[upload])
        assert sandbox.state.attachments == {} and len(sandbox.state.uploads) == 1
        await cem.slash(channel.guild_id, channel.id, "look", chosen[0], attachments=[upload])
        asked = await client.event("INTERACTION_CREATE")
        assert len(asked["data"]["resolved"]["attachments"]) == 1 and sandbox.state.uploads == {}


async def test_the_bot_receives_the_objects_that_options_refer_to(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    async with bot(sandbox) as client:
        await client.connect()
        await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [FIND])
        bob = str(sandbox.user("bob").id)
        options = [
            query(),
            {"type": 7, "name": "channel", "value": str(channel.id)},
            {"type": 6, "name": "who", "value": bob},
        ]
        await cem.slash(channel.guild_id, channel.id, "find", *options)
        asked = await client.event("INTERACTION_CREATE")
    resolved = asked["data"]["resolved"]
    assert resolved["channels"][str(channel.id)]["name"] == "chat"
    assert resolved["users"][bob]["username"] == "bob" and "roles" in resolved["members"][bob]
    assert asked["member"]["user"]["username"] == "cem"
    assert int(asked["member"]["permissions"]) and int(asked["app_permissions"])
    assert (asked["context"], asked["locale"], asked["channel"]["id"]) == (0, "en-US", str(channel.id))
    assert asked["attachment_size_limit"] == 10 * 1024 * 1024


async def test_a_command_for_managers_is_refused_for_other_members(sandbox: Sandbox, person: Connect) -> None:
    bob, cem = await person("bob"), await person("cem")
    channel = sandbox.channel("chat")
    manage_guild = str(1 << 5)
    async with bot(sandbox) as client:
        await client.connect()
        command = {"name": "set", "description": "s", "default_member_permissions": manage_guild}
        [made] = await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [command])
        assert (await cem.command(channel.guild_id, "set"))["default_member_permissions"] == manage_guild
        body = {
            "type": 2,
            "application_id": str(sandbox.application_id),
            "channel_id": str(channel.id),
            "session_id": "s",
            "nonce": "1",
            "data": {"id": made["id"], "name": "set", "type": 1},
        }
        assert (await cem.call("POST", "/interactions", body)).code == 50013
        await bob.ok("POST", "/interactions", body)
        asked = await client.event("INTERACTION_CREATE")
        assert asked["member"]["user"]["username"] == "bob"


async def test_the_command_index_lists_bots_in_the_guild_only(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    nest = sandbox.guild("The Nest")
    async with bot(sandbox) as client:
        await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [FIND])
    index = await cem.ok("GET", f"/guilds/{nest.id}/application-command-index")
    assert {c["name"] for c in index["application_commands"]} == {"find"}
    assert index["applications"][0]["name"] == "Magpie"
    sandbox.remove_bot(nest)
    index = await cem.ok("GET", f"/guilds/{nest.id}/application-command-index")
    assert (index["applications"], index["application_commands"]) == ([], [])


async def test_choices_have_the_type_of_the_option_that_they_complete(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    kinds = {"text": (3, "a", [1, 1.5, True]), "whole": (4, 1, ["1", 1.5, True]), "any": (10, 1.5, ["1.5", True])}
    options = [
        {"type": kind, "name": name, "description": "d", "autocomplete": True} for name, (kind, *_) in kinds.items()
    ]
    async with bot(sandbox) as client:
        await client.connect()
        command = {"name": "pick", "description": "p", "options": options}
        [made] = await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [command])
        for name, (kind, right, wrong) in kinds.items():
            mark = len(client.events)
            focused = {"type": kind, "name": name, "value": "", "focused": True}
            data = {"id": made["id"], "name": "pick", "type": 1, "options": [focused]}
            await cem.interact(4, sandbox.application_id, channel.id, data)
            asked = await client.event("INTERACTION_CREATE", since=mark)
            path = f"/interactions/{asked['id']}/{asked['token']}/callback"
            for value in wrong:
                body = {"type": 8, "data": {"choices": [{"name": "n", "value": value}]}}
                assert (await client.call("POST", path, body)).code == 50035, (name, value)
            await client.ok("POST", path, {"type": 8, "data": {"choices": [{"name": "n", "value": right}]}})
