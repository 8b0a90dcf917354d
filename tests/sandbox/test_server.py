"""Addresses, `Host` and `Origin` checks, the page's policy, /sandbox/world and the samples."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from sandbox.http import host_allowed
from sandbox.server import RefusedAddress, Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import Person


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
async def test_listening_on_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(RefusedAddress, match="bind-beyond-loopback"):
        async with Sandbox.serve(host=host):
            pass


async def test_beyond_loopback_allows_other_addresses() -> None:
    async with (
        Sandbox.serve(host="0.0.0.0", beyond_loopback=True) as sandbox,
        aiohttp.ClientSession() as http,
        http.get(sandbox.url + "/sandbox/world") as response,
    ):
        assert response.status == 200


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize(("host", "beyond"), [("::1", False), ("::", True)])
async def test_the_sandbox_works_on_ipv6_loopback(host: str, beyond: bool) -> None:
    async with (
        Sandbox.serve(host=host, beyond_loopback=beyond) as sandbox,
        Person(sandbox.url, sandbox.user("cem").token) as cem,
    ):
        assert sandbox.url.startswith("http://[::1]:")
        await cem.connect()
        assert cem.ready["resume_gateway_url"] == sandbox.gateway_url
        shared = await cem.share(sandbox.channel("chat").id, png(2, 2))
        async with cem.http.get(shared["attachments"][0]["url"], headers={"Origin": sandbox.url}) as response:
            assert await response.read() == png(2, 2)


@pytest.mark.parametrize(
    ("host", "loopback", "beyond"),
    [
        ("127.0.0.1:8765", True, True),
        ("localhost:8765", True, True),
        ("[::1]:8765", True, True),
        ("192.0.2.1:8765", False, True),
        ("evil.example:8765", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("", False, False),
        ("[", False, False),
    ],
)
def test_host_names_are_refused_because_of_dns_rebinding(host: str, loopback: bool, beyond: bool) -> None:
    assert host_allowed(host, beyond_loopback=False) == loopback
    assert host_allowed(host, beyond_loopback=True) == beyond


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "{url}"}, 200),
    ],
)
async def test_requests_from_other_sites_are_refused(sandbox: Sandbox, headers: dict[str, str], status: int) -> None:
    headers = {k: v.format(url=sandbox.url) for k, v in headers.items()}
    async with aiohttp.ClientSession() as http:
        async with http.get(sandbox.url + "/sandbox/world", headers=headers) as response:
            assert response.status == status
        if status == 403:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(sandbox.url + "/gateway", headers=headers)


async def test_the_page_is_served_with_a_policy_that_allows_only_its_own_scripts(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as http, http.get(sandbox.url) as response:
        policy = response.headers["Content-Security-Policy"]
        assert response.status == 200 and response.content_type == "text/html"
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    async with aiohttp.ClientSession() as http:
        for path in ("/nothing.js", "/..%2fserver.py", "/page/../server.py", "/demo.py"):
            async with http.get(sandbox.url + path) as response:
                assert response.status == 404


async def test_the_world_lists_guilds_channels_and_members_with_their_tokens(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as http, http.get(sandbox.url + "/sandbox/world") as response:
        world = await response.json()
        token = next(m["token"] for m in world["members"] if m["username"] == "cem")
    assert world["application_id"] == str(sandbox.application_id)
    assert len(world["guilds"]) >= 2 and len(world["members"]) >= 4
    kinds = {c["type"] for g in world["guilds"] for c in g["channels"]}
    assert kinds >= {0, 2, 4, 11, 12} and any(c["nsfw"] for c in world["guilds"][0]["channels"])
    assert {"id", "name", "type", "parent_id"} <= set(world["guilds"][0]["channels"][0])
    assert sandbox.bot_token not in str(world)
    async with (
        aiohttp.ClientSession() as http,
        http.get(sandbox.url + "/api/v9/users/@me", headers={"Authorization": token}) as response,
    ):
        assert (await response.json())["username"] == "cem"


async def test_samples_are_listed_and_served(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png(2, 2))
    (tmp_path / "samples.json").write_text('[{"file": "cat.png", "en": "a cat", "zh": "猫"}]', encoding="utf-8")
    async with Sandbox.serve(samples_dir=tmp_path) as sandbox, aiohttp.ClientSession() as http:
        async with http.get(sandbox.url + "/sandbox/samples") as response:
            [sample] = await response.json()
        assert (sample["en"], sample["zh"]) == ("a cat", "猫")
        async with http.get(sandbox.url + sample["url"]) as response:
            assert (response.content_type, await response.read()) == ("image/png", png(2, 2))
        async with http.get(sandbox.url + "/sandbox/samples/other.png") as response:
            assert response.status == 404
