"""Just enough of Discord for a bot to log in and be turned away: two REST answers and a gateway that closes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

TOKEN = "right-token"
_USER = {"id": "9", "username": "magpie", "discriminator": "0", "avatar": None, "bot": True}
_APPLICATION = {"id": "8", "name": "magpie", "description": "", "icon": None, "bot_public": True,
                "bot_require_code_grant": False, "verify_key": "0", "owner": _USER}  # fmt: skip


@dataclass
class FakeDiscord:
    """close_code: how the gateway turns the bot away. It stays open where that is None."""

    url: str = ""
    close_code: int | None = None
    registrations: list[list[dict[str, object]]] = field(default_factory=list)
    refuses_commands: bool = False
    drops_commands: bool = False
    logged_in: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DISCORD_API_BASE": self.url + "/api/v10",
            "DISCORD_GATEWAY": self.url.replace("http", "ws") + "/gateway",
            "CDN_HOSTS": "127.0.0.1",
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/gateway":
            return await self._gateway(request)
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            return _json({"message": "401: Unauthorized", "code": 0}, 401)
        if request.path.endswith("/users/@me"):
            return _json(_USER)
        if request.path.endswith("/oauth2/applications/@me"):
            self.logged_in.set()
            return _json(_APPLICATION)
        if request.method == "PUT" and request.path.endswith("/commands"):
            commands = await request.json()
            if self.drops_commands and request.transport is not None:
                request.transport.abort()
            if self.refuses_commands:
                return _json({"message": "Invalid Form Body", "code": 50035}, 400)
            self.registrations.append(commands)
            return _json(
                [{"description": "", **one, "id": str(at), "application_id": "8"} for at, one in enumerate(commands)]
            )
        return _json({"message": "404: Not Found", "code": 0}, 404)

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 41250}})
        async for frame in socket:
            if json.loads(frame.data)["op"] == 2 and self.close_code is not None:
                await socket.close(code=self.close_code)
        return socket


def _json(body: object, status: int = 200) -> web.Response:
    # discord.py reads JSON only where the content type is exactly this, without a charset.
    return web.Response(body=json.dumps(body).encode(), status=status, headers={"Content-Type": "application/json"})


@asynccontextmanager
async def fake_discord(close_code: int | None = None) -> AsyncIterator[FakeDiscord]:
    fake = FakeDiscord(close_code=close_code)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
