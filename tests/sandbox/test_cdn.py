"""The CDN: signed URLs that expire, and files that must not run on the page's origin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sandbox.image_headers import image_size
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]


async def test_a_url_expires_and_fetching_the_message_gives_a_fresh_one(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    message = await cem.share(channel, png(2, 2))
    url = message["attachments"][0]["url"]
    sandbox.clock.advance(23 * 3600)
    async with cem.http.get(url) as response:
        assert response.status == 200
    sandbox.clock.advance(2 * 3600)
    async with cem.http.get(url) as response:
        assert (response.status, await response.read()) == (404, b"This content is no longer available.")
    again = await cem.ok("GET", f"/channels/{channel}/messages/{message['id']}")
    async with cem.http.get(again["attachments"][0]["url"]) as response:
        assert response.status == 200


async def test_a_tampered_url_gives_404(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    first, second = [(await cem.share(channel, png(n, n)))["attachments"][0] for n in (1, 2)]
    path, query = first["url"].split("?")
    fields = dict(pair.split("=") for pair in query.strip("&").split("&"))
    wrong = [
        path,
        f"{path}?{query}".replace(first["id"], second["id"]),
        f"{path}?ex=ffffffff&is={fields['is']}&hm={fields['hm']}",
        f"{path}?ex=x&is=x&hm=x",
    ]
    for url in wrong:
        async with cem.http.get(url) as response:
            assert response.status == 404
    async with cem.http.get(first["proxy_url"] + "format=webp&width=64&height=64") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("page.html", "application/octet-stream"),
        ("drawing.svg", "application/octet-stream"),
        ("script.js", "application/octet-stream"),
        ("picture.png", "image/png"),
    ],
)
async def test_active_content_is_served_as_a_download(
    sandbox: Sandbox, person: Connect, name: str, served: str
) -> None:
    cem = await person("cem")
    message = await cem.share(sandbox.channel("chat").id, b"<script>alert(1)</script>", name)
    async with cem.http.get(message["attachments"][0]["url"]) as response:
        assert response.headers["Content-Type"] == served
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        inline = response.headers["Content-Disposition"].startswith("inline")
        assert inline == (served == "image/png")


async def test_an_upload_slot_is_bound_to_a_user_and_a_channel(sandbox: Sandbox, person: Connect) -> None:
    cem, bob = await person("cem"), await person("bob")
    chat, pictures = sandbox.channel("chat").id, sandbox.channel("pictures").id
    upload = await cem.upload(chat, png(2, 2), "a.png")
    for someone, channel in ((bob, chat), (cem, pictures)):
        refused = await someone.call("POST", f"/channels/{channel}/messages", {"attachments": [upload]})
        assert refused.code == 50035
    await cem.say(chat, attachments=[upload])
    assert (await cem.call("POST", f"/channels/{chat}/messages", {"attachments": [upload]})).code == 50035
    async with cem.http.put(f"{sandbox.url}/uploads/no/such", data=b"x") as response:
        assert response.status == 403


async def test_an_upload_must_have_the_announced_size(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    path = f"/channels/{sandbox.channel('chat').id}/attachments"
    [slot] = (await cem.ok("POST", path, {"files": [{"id": "0", "filename": "a", "file_size": 3}]}))["attachments"]
    async with cem.http.put(slot["upload_url"], data=b"four") as response:
        assert response.status == 400


def test_image_sizes_are_read_from_headers() -> None:
    gif = b"GIF89a" + (5).to_bytes(2, "little") + (6).to_bytes(2, "little")
    bmp = b"BM" + bytes(16) + (7).to_bytes(4, "little") + (-8).to_bytes(4, "little", signed=True)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x09\x00\x0a" + bytes(10)
    webp = b"RIFF....WEBPVP8X" + bytes(8) + (10).to_bytes(3, "little") + (11).to_bytes(3, "little")
    assert [image_size(d) for d in (png(3, 4), gif, bmp, jpeg, webp)] == [(3, 4), (5, 6), (7, 8), (10, 9), (11, 12)]
    assert [image_size(d) for d in (b"", b"\xff\xd8", b"RIFF....WEBP", b"<svg>", png(3, 4)[:18])] == [None] * 5
