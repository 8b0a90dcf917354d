"""Link previews and forwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.png").write_bytes(png(6, 5))
    async with Sandbox.serve(samples_dir=tmp_path) as running:
        yield running


def link(sandbox: Sandbox, name: str) -> str:
    return f"{sandbox.url}/sandbox/samples/{name}.png"


async def test_a_link_to_a_sample_gets_a_preview_through_the_media_proxy(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    there = link(sandbox, "cat")
    sent = await cem.say(sandbox.channel("chat").id, f"see {there} and http://192.0.2.1/x.png")
    created = await cem.event("MESSAGE_CREATE", lambda d: d["id"] == sent["id"])
    updated = await cem.event("MESSAGE_UPDATE", lambda d: d["id"] == sent["id"])
    assert created["embeds"] == [] and updated["edited_timestamp"] is None
    [embed] = updated["embeds"]
    assert (embed["type"], embed["url"]) == ("image", there)
    picture = embed["thumbnail"]
    assert (picture["width"], picture["height"]) == (6, 5)
    async with cem.http.get(picture["proxy_url"]) as response:
        assert await response.read() == png(6, 5)
    async with cem.http.get(picture["proxy_url"].split("?")[0]) as response:
        assert response.status == 404


async def test_an_edit_updates_the_previews_of_links(sandbox: Sandbox, person: Connect) -> None:
    cem, bob = await person("cem"), await person("bob")
    channel = sandbox.channel("chat").id
    sent = await cem.say(channel, link(sandbox, "cat"))
    path = f"/channels/{channel}/messages/{sent['id']}"

    async def edited(content: str, *urls: str) -> dict[str, Any]:
        mark = len(bob.events)
        answer = await cem.ok("PATCH", path, {"content": content})
        await bob.event("MESSAGE_UPDATE", lambda d: [e["url"] for e in d["embeds"]] == list(urls), since=mark)
        assert [e["url"] for e in answer["embeds"]] == list(urls)
        assert all(e["type"] == "image" and e["thumbnail"]["proxy_url"] for e in answer["embeds"])
        return answer

    await edited("no link")
    await edited(f"see {link(sandbox, 'dog')}", link(sandbox, "dog"))
    await edited(f"{link(sandbox, 'dog')} {link(sandbox, 'cat')}", link(sandbox, "dog"), link(sandbox, "cat"))
    await edited(f"still {link(sandbox, 'cat')}", link(sandbox, "cat"))
    flagged = await cem.ok("PATCH", path, {"flags": 1 << 2})
    assert flagged["embeds"] == []
    await cem.ok("PATCH", path, {"flags": 0})
    await edited(f"again {link(sandbox, 'cat')}", link(sandbox, "cat"))


async def test_the_update_with_a_preview_follows_the_update_of_the_edit(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    sent = await cem.say(channel, "no link")
    await cem.ok("PATCH", f"/channels/{channel}/messages/{sent['id']}", {"content": link(sandbox, "cat")})
    await cem.event("MESSAGE_UPDATE", lambda d: d["embeds"])
    assert [len(d["embeds"]) for n, d in cem.events if n == "MESSAGE_UPDATE"] == [0, 1]


async def test_editing_the_content_keeps_a_bots_embeds(sandbox: Sandbox) -> None:
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as bot:
        channel = sandbox.channel("chat").id
        sent = await bot.say(
            channel, "one", embeds=[{"title": "t", "color": 5, "fields": [{"name": "a", "value": "b"}]}]
        )
        edited = await bot.ok("PATCH", f"/channels/{channel}/messages/{sent['id']}", {"content": "two"})
        assert edited["embeds"] == sent["embeds"]
        field = {"name": "a", "value": "b", "inline": False}
        assert edited["embeds"] == [{"type": "rich", "title": "t", "color": 5, "fields": [field]}]


async def test_a_forward_contains_the_originals_previews_and_components(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    pictures, chat = sandbox.channel("pictures").id, sandbox.channel("chat").id
    sent = await cem.say(pictures, link(sandbox, "cat"))
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as bot:
        forwarded = await cem.say(chat, message_reference=reference(pictures, sent))
        [snapshot] = forwarded["message_snapshots"]
        [embed] = snapshot["message"]["embeds"]
        async with cem.http.get(embed["thumbnail"]["proxy_url"]) as response:
            assert await response.read() == png(6, 5)
        gallery = {"type": 12, "items": [{"media": {"url": "attachment://a.png"}}]}
        upload = await bot.upload(pictures, png(3, 4), "a.png")
        layout = await bot.say(pictures, flags=1 << 15, components=[gallery], attachments=[upload])
    forwarded = await cem.say(chat, message_reference=reference(pictures, layout))
    snapshot = forwarded["message_snapshots"][0]["message"]
    media = snapshot["components"][0]["items"][0]["media"]
    assert (media["width"], media["height"], snapshot["attachments"]) == (3, 4, [])
    async with cem.http.get(media["url"]) as response:
        assert await response.read() == png(3, 4)


def reference(channel: int, message: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "channel_id": str(channel), "message_id": message["id"]}
