"""HTTP faults, set by a test or by POST /sandbox/faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox.person import Person

PNG = png(8, 8)
Connect = Callable[[str], Awaitable[Person]]


async def test_a_rate_limit_fault_is_applied_the_given_number_of_times(sandbox: Sandbox) -> None:
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as bot:
        fault = sandbox.faults.add(Fault("rate_limit", method="GET", path="/users/*", times=2, seconds=0.25))
        for _ in range(2):
            limited = await bot.call("GET", "/users/@me")
            assert limited.status == 429
            assert limited.body == {"message": "You are being rate limited.", "retry_after": 0.25, "global": False}
            assert limited.headers["Via"] and limited.headers["X-RateLimit-Scope"] == "user"
        assert (await bot.call("GET", "/users/@me")).status == 200
        assert fault.triggered == 2


async def test_faults_only_apply_to_bots_by_default(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    sandbox.faults.add(Fault("server_error", status=502, times=None))
    assert (await cem.call("GET", "/users/@me")).status == 200
    sandbox.faults.clear()
    sandbox.faults.add(Fault("server_error", status=502, bots_only=False))
    assert (await cem.call("GET", "/users/@me")).status == 502
    assert (await cem.call("GET", "/users/@me")).status == 200


async def test_a_drop_fault_closes_the_connection_without_a_response(sandbox: Sandbox) -> None:
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as bot:
        sandbox.faults.add(Fault("drop", method="POST", times=1))
        with pytest.raises(aiohttp.ClientConnectionError):
            await bot.call("POST", f"/channels/{sandbox.channel('chat').id}/typing")
        assert (await bot.call("GET", "/users/@me")).status == 200


async def test_a_cdn_that_lies_sends_half_a_file_or_a_page_with_status_200(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    posted = await cem.share(sandbox.channel("pictures").id, PNG)
    for kind, lie in (("half", PNG[: len(PNG) // 2]), ("html", b"<!doctype html><title>Maintenance</title>")):
        sandbox.faults.add(Fault(kind, path="/attachments/*"))
        async with cem.http.get(posted["attachments"][0]["url"]) as response:
            assert (response.status, await response.read()) == (200, lie)
    async with cem.http.get(posted["attachments"][0]["url"]) as response:
        assert await response.read() == PNG


async def test_faults_are_set_listed_and_cleared_over_http(sandbox: Sandbox) -> None:
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as bot:
        url = f"{sandbox.url}/sandbox/faults"
        async with bot.http.post(url, json={"kind": "server_error", "status": 503, "times": None}) as response:
            assert response.status == 200
        assert (await bot.call("GET", "/users/@me")).status == 503
        async with bot.http.get(url) as response:
            [listed] = await response.json()
            assert (listed["kind"], listed["triggered"]) == ("server_error", 1)
        async with bot.http.post(url, json={"kind": "earthquake"}) as response:
            assert response.status == 400
        async with bot.http.delete(url) as response:
            assert response.status == 204
        assert (await bot.call("GET", "/users/@me")).status == 200
