"""Another member, who uses the API while the visitor uses the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from sandbox.server import Sandbox


async def call(sandbox: Sandbox, username: str, method: str, path: str, body: object = None) -> None:
    headers = {"Authorization": sandbox.user(username).token}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"{sandbox.url}/api/v10{path}", json=body, headers=headers) as answer,
    ):
        assert answer.status in (200, 204)


async def say(sandbox: Sandbox, username: str, words: str) -> None:
    await call(sandbox, username, "POST", f"/channels/{sandbox.channel('pictures').id}/messages", {"content": words})
