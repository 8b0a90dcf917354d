"""Bad requests are answered with Discord's status, code and JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from sandbox.server import Sandbox
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/channels/1", 404, 10003, "Unknown Channel"),
        ("GET", "/guilds/1", 404, 10004, "Unknown Guild"),
        ("GET", "/guilds/{guild}/members/1", 404, 10007, "Unknown Member"),
        ("GET", "/channels/{channel}/messages/1", 404, 10008, "Unknown Message"),
        ("GET", "/channels/{channel}/thread-members/1", 400, 50024, "Cannot execute action on this channel type"),
        ("POST", "/webhooks/1/nothing", 404, 10015, "Unknown Webhook"),
        ("POST", "/interactions/1/nothing/callback", 404, 10062, "Unknown interaction"),
        ("PUT", "/channels/{channel}/messages/1/reactions/x/@me", 404, 10008, "Unknown Message"),
        ("GET", "/oauth2/applications/@me", 403, 20002, "Only bots can use this endpoint"),
        ("GET", "/nothing/here", 404, 0, "404: Not Found"),
        ("DELETE", "/users/@me", 405, 0, "405: Method Not Allowed"),
    ],
)
async def test_missing_objects_are_named_in_the_error(
    sandbox: Sandbox, person: Connect, method: str, path: str, status: int, code: int, message: str
) -> None:
    cem = await person("cem")
    path = path.format(channel=sandbox.channel("chat").id, guild=sandbox.guild("The Nest").id)
    refused = await cem.call(method, path)
    assert (refused.status, refused.body) == (status, {"message": message, "code": code})
    assert refused.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("header", ["", "nonsense", "Bot nonsense", "Bot {person}", "{bot}"])
async def test_a_wrong_or_missing_token_is_unauthorized(sandbox: Sandbox, header: str) -> None:
    header = header.format(person=sandbox.user("cem").token, bot=sandbox.bot_token)
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{sandbox.url}/api/v10/users/@me", headers={"Authorization": header}) as response,
    ):
        assert response.status == 401
        assert await response.json() == {"message": "401: Unauthorized", "code": 0}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"content": "x" * 2001}, {"content": ("BASE_TYPE_MAX_LENGTH", "Must be 2000 or fewer in length.")}),
        ({"content": {"a": 1}}, {"content": ("STRING_TYPE_CONVERT", "Could not interpret \"{'a': 1}\" as string.")}),
        ({"content": "x", "tts": "yes"}, {"tts": ("BOOLEAN_TYPE_CONVERT", "Must be either true or false.")}),
        ({"attachments": "x"}, {"attachments": ("LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")}),
    ],
)
async def test_a_malformed_body_is_answered_with_an_error_for_each_field(
    sandbox: Sandbox, person: Connect, body: Any, errors: dict[str, tuple[str, str]]
) -> None:
    cem = await person("cem")
    refused = await cem.call("POST", f"/channels/{sandbox.channel('chat').id}/messages", body)
    expected = {field: {"_errors": [{"code": c, "message": m}]} for field, (c, m) in errors.items()}
    assert refused.status == 400
    assert refused.body == {"message": "Invalid Form Body", "code": 50035, "errors": expected}


async def test_an_invalid_id_in_the_path_is_a_form_error(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    refused = await cem.call("GET", "/channels/abc")
    assert (refused.status, refused.code) == (400, 50035)
    assert refused.body["errors"]["channel_id"]["_errors"][0]["code"] == "NUMBER_TYPE_COERCE"


async def test_empty_messages_and_broken_json_are_rejected(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    path = f"/channels/{sandbox.channel('chat').id}/messages"
    assert (await cem.call("POST", path, {"content": "  "})).code == 50006
    form = aiohttp.FormData()
    form.add_field("payload_json", "{", content_type="application/json")
    form.add_field("files[0]", b"x", filename="a.png")
    assert (await cem.call("POST", path, form)).code == 50109
    assert (await cem.call("POST", path, [1])).code == 50035


async def test_a_file_that_is_too_large_is_rejected_with_413(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    sandbox.limits.file_bytes = 10
    channel = f"/channels/{sandbox.channel('chat').id}"
    wanted = {"files": [{"id": "0", "filename": "a.png", "file_size": 11}]}
    assert (await cem.call("POST", channel + "/attachments", wanted)).code == 40005
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("payload_json", "{}", content_type="application/json")
    form.add_field("files[0]", b"x" * 11, filename="a.png")
    refused = await cem.call("POST", channel + "/messages", form)
    assert (refused.status, refused.code) == (413, 40005)


async def test_bulk_delete_checks_number_and_age(sandbox: Sandbox, person: Connect) -> None:
    bob = await person("bob")
    channel = sandbox.channel("chat")
    path = f"/channels/{channel.id}/messages/bulk-delete"
    old = (await bob.say(channel.id, "old"))["id"]
    fresh = (await bob.say(channel.id, "fresh"))["id"]
    assert (await bob.call("POST", path, {"messages": [old]})).code == 50016
    assert (await bob.call("POST", path, {"messages": [str(n) for n in range(1, 103)]})).code == 50016
    sandbox.clock.advance(15 * 24 * 3600)
    assert (await bob.call("POST", path, {"messages": [old, fresh]})).code == 50034
    assert len(channel.messages) == 2
