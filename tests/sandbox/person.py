"""A client of the sandbox with a user's or a bot's token: REST calls, and the gateway events it received."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

TIMEOUT_S = 60
"""Long, because other test processes may keep the machine busy."""
Check = Callable[[Any], bool]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> int:
        return self.body["code"]


class Person:
    def __init__(
        self, url: str, token: str, *, bot: bool = False, intents: int = 0, shard: tuple[int, int] | None = None
    ) -> None:
        self.url = url
        self.token = token
        self.bot = bot
        self.intents = intents
        self.shard = shard
        self.events: list[tuple[str, Any]] = []
        self.http = aiohttp.ClientSession()
        self.ws: aiohttp.ClientWebSocketResponse | None = None
        self.sequence: int | None = None
        self.ready: dict[str, Any] = {}
        self._news = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Person:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def connect(self) -> dict[str, Any]:
        await self.open_socket()
        data: dict[str, Any] = {"token": self.token, "properties": {}}
        if self.bot:
            data |= {"intents": self.intents, "shard": self.shard}
        await self.ws.send_json({"op": 2, "d": data})
        self.ready = await self.event("READY")
        return self.ready

    async def resume(self) -> None:
        await self.open_socket()
        data = {"token": self.token, "session_id": self.ready["session_id"], "seq": self.sequence}
        await self.ws.send_json({"op": 6, "d": data})

    async def open_socket(self) -> None:
        self.ws = await self.http.ws_connect(self.url + "/gateway?v=10&encoding=json", max_msg_size=0)
        hello = await self.ws.receive_json(timeout=TIMEOUT_S)
        assert hello["op"] == 10
        self._reader = asyncio.create_task(self._read())
        if self._heart is not None:
            self._heart.cancel()
        self._heart = asyncio.create_task(self._beat(hello["d"]["heartbeat_interval"] / 1000))

    async def close(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        if self.ws is not None:
            await self.ws.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self.http.close()

    async def lost_connection(self) -> int | None:
        """Waits until the socket is closed; its close code."""
        await asyncio.wait_for(asyncio.wait([self._reader]), TIMEOUT_S)
        return self.ws.close_code

    async def call(self, method: str, path: str, body: Any = None, *, version: str = "v10", **headers: str) -> Answer:
        headers["Authorization"] = f"Bot {self.token}" if self.bot else self.token
        options = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body} if body is not None else {}
        async with self.http.request(method, f"{self.url}/api/{version}{path}", headers=headers, **options) as response:
            raw = await response.read()
            is_json = response.headers.get("Content-Type") == "application/json"
            return Answer(response.status, json.loads(raw) if is_json else raw, response.headers)

    async def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = await self.call(method, path, body, **headers)
        assert answer.status in (200, 201, 204), (method, path, answer)
        return None if answer.status == 204 else answer.body

    async def say(self, channel_id: int | str, content: str = "", **more: Any) -> dict[str, Any]:
        return await self.ok("POST", f"/channels/{channel_id}/messages", {"content": content, **more})

    async def share(self, channel_id: int | str, data: bytes, name: str = "picture.png", **more: Any) -> dict[str, Any]:
        """As the apps do: a slot, the bytes, the message."""
        return await self.say(channel_id, attachments=[await self.upload(channel_id, data, name)], **more)

    async def upload(self, channel_id: int | str, data: bytes, name: str) -> dict[str, Any]:
        wanted = {"files": [{"id": "0", "filename": name, "file_size": len(data)}]}
        [slot] = (await self.ok("POST", f"/channels/{channel_id}/attachments", wanted))["attachments"]
        async with self.http.put(slot["upload_url"], data=data) as response:
            assert response.status == 200
        return {"id": "0", "filename": name, "uploaded_filename": slot["upload_filename"]}

    async def interact(
        self, kind: int, application_id: int | str, channel_id: int | str, data: Any, **more: Any
    ) -> str:
        """Gives the nonce under which the answers come."""
        nonce = str(next(_numbers))
        body = {
            "type": kind,
            "application_id": str(application_id),
            "channel_id": str(channel_id),
            "session_id": self.ready.get("session_id", "none"),
            "nonce": nonce,
            "data": data,
            **more,
        }
        await self.ok("POST", "/interactions", body)
        return nonce

    async def command(self, guild_id: int | str, name: str) -> dict[str, Any]:
        index = await self.ok("GET", f"/guilds/{guild_id}/application-command-index")
        return next(c for c in index["application_commands"] if c["name"] == name)

    async def slash(self, guild_id: int | str, channel_id: int | str, name: str, *options: Any, **more: Any) -> str:
        command = await self.command(guild_id, name)
        data = {"id": command["id"], "version": command["version"], "name": name, "type": 1, "options": list(options)}
        return await self.interact(2, command["application_id"], channel_id, {**data, **more}, guild_id=str(guild_id))

    async def event(self, name: str, check: Check = lambda d: True, since: int = 0) -> Any:
        def found() -> list[Any]:
            return [d for n, d in self.events[since:] if n == name and check(d)]

        async with asyncio.timeout(TIMEOUT_S), self._news:
            await self._news.wait_for(found)
        return found()[0]

    def count(self, name: str, check: Check = lambda d: True) -> int:
        return sum(1 for n, d in self.events if n == name and check(d))

    async def _beat(self, interval_s: float) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(interval_s)
                await self.ws.send_json({"op": 1, "d": self.sequence})

    async def _read(self) -> None:
        async for message in self.ws:
            frame = json.loads(message.data)
            if frame.get("s") is not None:
                self.sequence = frame["s"]
            name = frame["t"] if frame["op"] == 0 else f"op {frame['op']}"
            async with self._news:
                self.events.append((name, frame.get("d")))
                self._news.notify_all()
