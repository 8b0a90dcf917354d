"""Someone else in the sandbox, who speaks by its API while the visitor looks at the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from sandbox.server import Sandbox


async def say(sandbox: Sandbox, username: str, words: str) -> None:
    headers = {"Authorization": sandbox.user(username).token}
    address = f"{sandbox.url}/api/v10/channels/{sandbox.channel('pictures').id}/messages"
    async with aiohttp.ClientSession() as http, http.post(address, json={"content": words}, headers=headers) as answer:
        assert answer.status == 200
