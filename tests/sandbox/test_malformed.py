"""No client input causes a server error."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sandbox.http import ENDPOINTS
from sandbox.rest.request import Endpoint
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 2.0, 1e300, 1 << 70, "", "x", "1", "²", "zz", "é", "\u0000", "x" * 5000),
    *([], {}, [[]], [{}], [None], [1], ["x"], [{"type": []}], {"type": []}, {"id": []}, {"a": {"type": 13}}),
    *([{"type": 10, "content": "x", "components": [{}]}], [{"id": "0", "uploaded_filename": 5}]),
    *([{"type": 3, "name": "a", "description": "b", "name_localizations": [1], "options": 5}],),
    *([{"type": 17, "components": [{"type": 1, "components": [{"type": 3, "custom_id": "a", "min_values": "1"}]}]}],),
)
FIELDS = (
    *("type", "name", "description", "content", "flags", "embeds", "components", "attachments", "allowed_mentions"),
    *("message_reference", "nonce", "enforce_nonce", "tts", "nsfw", "topic", "position", "parent_id", "archived"),
    *("permission_overwrites", "allow", "deny", "id", "nick", "roles", "communication_disabled_until", "messages"),
    *("options", "name_localizations", "contexts", "default_member_permissions", "data", "channel_id", "files"),
    *("application_id", "session_id", "message_id", "recipient_id", "recipients", "permissions", "color", "locale"),
    *("guild_id", "authorize", "auto_archive_duration", "global_name"),
)
QUERIES = (
    "",
    "?has=x&limit=%C2%B2&author_id=&channel_id=x&channel_id=1&sort_by=&include_nsfw=&content=%00",
    "?limit=x&before=x&after=x",
    "?before=abc&limit=5",
    "?around=%C2%B2",
    "?with_response=1&client_id=x",
)


def path_of(endpoint: Endpoint, sandbox: Sandbox, message: str) -> list[str]:
    """With ids that exist, and with invalid ones."""
    channel = sandbox.channel("chat")
    there = {
        "guild_id": str(channel.guild_id),
        "channel_id": str(channel.id),
        "message_id": message,
        "user_id": str(sandbox.user("cem").id),
        "target_id": str(sandbox.user("cem").id),
        "role_id": str(channel.guild_id),
        "application_id": str(sandbox.application_id),
        "emoji": "%F0%9F%91%8D",
        "sticker_id": "1",
        "emoji_id": "1",
    }
    fields = ("interaction_id", "token", "code", "command_id", *there)
    thread = {**there, "channel_id": str(sandbox.channel("cats only").id)}
    known = [{f: ids.get(f, "1") for f in fields} for ids in (there, thread)]
    strange = [dict.fromkeys(fields, value) for value in ("%C2%B2", "%ED%A0%BD", "-1", "@me", "9" * 30)]
    return list(dict.fromkeys(endpoint.path.format(**ids) for ids in (*known, *strange)))


def bodies(chance: random.Random, count: int) -> list[Any]:
    made = [{f: chance.choice(JUNK) for f in chance.sample(FIELDS, chance.randint(1, 12))} for _ in range(count)]
    kept = {"name": "fine", "description": "fine", "type": 1}
    return [*JUNK, *({f: value} for f in ("type", "components") for value in JUNK), *({**kept, **m} for m in made)]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
async def test_no_request_causes_a_server_error(sandbox: Sandbox, endpoint: Endpoint) -> None:
    chance = random.Random(endpoint.method + endpoint.path)  # noqa: S311 - reproducible
    async with (
        Person(sandbox.url, sandbox.user("ann").token) as ann,
        Person(sandbox.url, sandbox.bot_token, bot=True) as bot,
    ):
        message = (await bot.ok("POST", f"/channels/{sandbox.channel('chat').id}/messages", {"content": "x"}))["id"]
        paths = path_of(endpoint, sandbox, message)
        wanted = [(path, None) for path in paths]
        if endpoint.method != "GET":
            wanted += [(chance.choice(paths[:2]), body) for body in bodies(chance, 40)]
        for path, body in wanted:
            query = chance.choice(QUERIES)
            for someone in (bot, ann):
                answer = await someone.call(endpoint.method, path + query, body)
                assert answer.status < 500, (path + query, body, answer)
        for channel in list(sandbox.state.channels):
            assert (await ann.call("GET", f"/channels/{channel}/messages")).status < 500
        assert (await ann.call("GET", "/users/@me")).status == 200
        await ann.connect()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b'{"content": "\\ud83d"}', "application/json"),
        (b'{"content": "\xed\xa0\xbd"}', "application/json"),
        (b'{"nonce": NaN, "content": "x"}', "application/json"),
        (b'{"nonce": 1e999, "content": "x"}', "application/json"),
        (b'{"content": ' + b"[" * 100_000, "application/json"),
        (b'{"content": ' + b"[" * 100 + b"]" * 100 + b"}", "application/json"),
        (b"{}", "multipart/form-data"),
        (b"garbage", "multipart/form-data; boundary=a"),
        (b"--a\r\ngarbage\r\n\r\nx", "multipart/form-data; boundary=a"),
        (b'--a\r\nContent-Disposition: form-data; name="payload_json"\r\n\r\n{}', "multipart/form-data; boundary=a"),
    ],
)
async def test_invalid_json_and_forms_are_rejected_and_store_nothing(
    sandbox: Sandbox, person: Connect, raw: bytes, kind: str
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    url = f"{sandbox.url}/api/v10/channels/{channel.id}/messages"
    headers = {"Authorization": cem.token, "Content-Type": kind}
    async with cem.http.post(url, data=raw, headers=headers) as response:
        assert (response.status, (await response.json())["code"]) in ((400, 50109), (400, 50006))
    assert await cem.ok("GET", f"/channels/{channel.id}/messages") == []


async def test_an_attachment_with_an_invalid_content_type_has_none(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    part = b'Content-Disposition: form-data; name="files[0]"; filename="a"\r\nContent-Type: \xff/x\r\n\r\nx'
    body = b"--a\r\n" + part + b"\r\n--a--\r\n"
    headers = {"Authorization": cem.token, "Content-Type": "multipart/form-data; boundary=a"}
    url = f"{sandbox.url}/api/v10/channels/{channel}/messages"
    async with cem.http.post(url, data=body, headers=headers) as response:
        assert response.status == 200
        assert "content_type" not in (await response.json())["attachments"][0]


@pytest.mark.parametrize("query", ["?hm=%C3%A9", "?ex=1&is=1&hm=%F0%9F%91%8D", "?ex=%C3%A9&is=x&hm=x"])
async def test_a_non_ascii_signature_is_rejected(sandbox: Sandbox, person: Connect, query: str) -> None:
    cem = await person("cem")
    shared = await cem.share(sandbox.channel("chat").id, png(2, 2))
    async with cem.http.get(shared["attachments"][0]["url"].split("?")[0] + query) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": 5},
        {"times": "x"},
        {"seconds": "x"},
        {"seconds": -1},
        {"status": 99},
        {"close_code": 1},
        {"scope": "a\nb"},
        {"is_global": 1},
        {"kind": []},
    ],
)
async def test_an_invalid_fault_is_rejected(sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as bot:
        body = {"kind": "rate_limit", **wrong}
        async with bot.http.post(f"{sandbox.url}/sandbox/faults", json=body) as response:
            assert response.status == 400
        assert (await bot.call("GET", "/users/@me")).status == 200


@pytest.mark.parametrize(
    "frame",
    ['{"op": []}', '{"op": 1.5}', "5", '{"op": 2, "d": {"token": "\\ud83d"}}', "[" * 10_000],
)
async def test_an_invalid_frame_closes_the_connection_with_4002(sandbox: Sandbox, person: Connect, frame: str) -> None:
    cem = await person("cem")
    await cem.ws.send_str(frame)
    assert await cem.lost_connection() == 4002


async def test_a_response_in_a_deleted_channel_is_rejected(sandbox: Sandbox, person: Connect) -> None:
    ann, cem = await person("ann"), await person("cem")
    channel = sandbox.channel("chat")
    async with Person(sandbox.url, sandbox.bot_token, bot=True, intents=1) as bot:
        await bot.connect()
        command = [{"name": "say", "description": "Says"}]
        await bot.ok("PUT", f"/applications/{sandbox.application_id}/commands", command)
        await cem.slash(channel.guild_id, channel.id, "say")
        asked = await bot.event("INTERACTION_CREATE")
        await ann.ok("DELETE", f"/channels/{channel.id}")
        path = f"/interactions/{asked['id']}/{asked['token']}/callback"
        for kind in (4, 5):
            refused = await bot.call("POST", path, {"type": kind, "data": {"content": "x"}})
            assert refused.code == 10003, json.dumps(refused.body)


@pytest.mark.parametrize(
    "entered",
    [{"values": [{}]}, {"values": 5}, {"values": [[]]}, {"values": ["b"]}, {"values": ["1"]}, {"custom_id": []}, {}],
)
@pytest.mark.parametrize("kind", [3, 5])
async def test_invalid_values_of_a_select_menu_are_rejected(
    sandbox: Sandbox, person: Connect, kind: int, entered: dict[str, Any]
) -> None:
    cem = await person("cem")
    select = {"type": kind, "custom_id": "s", "min_values": "1", "max_values": None}
    if kind == 3:
        select["options"] = [{"label": "a", "value": "a"}]
    async with Person(sandbox.url, sandbox.bot_token, bot=True, intents=1) as bot:
        row = {"type": 1, "components": [select]}
        shown = await bot.say(sandbox.channel("chat").id, "choose", components=[row])
    body = {
        "type": 3,
        "application_id": str(sandbox.application_id),
        "channel_id": shown["channel_id"],
        "session_id": "s",
        "nonce": "1",
        "message_id": shown["id"],
        "data": {"component_type": kind, "custom_id": "s", **entered},
    }
    assert (await cem.call("POST", "/interactions", body)).code == 50035
    body["data"] = {
        "component_type": kind,
        "custom_id": "s",
        "values": ["a" if kind == 3 else str(sandbox.user("dora").id)],
    }
    await cem.ok("POST", "/interactions", body)
