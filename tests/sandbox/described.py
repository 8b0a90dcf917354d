"""Checks requests and responses against Discord's OpenAPI description; a proxy that records a client's traffic."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DESCRIPTION = Path(__file__).resolve().parents[3] / "shared" / "discord-openapi.json"
ROOT = "urn:discord"
HOP_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-encoding"}


@dataclass(frozen=True)
class Exchange:
    method: str
    path: str
    sent: Any
    status: int
    received: Any


class Description:
    def __init__(self, path: Path) -> None:
        self._document = json.loads(path.read_text(encoding="utf-8"))
        self._registry: Any = Registry().with_resource(ROOT, Resource(self._document, DRAFT202012))
        self._templates = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))), template)
            for template in sorted(self._document["paths"], key=lambda t: t.count("{"))
        ]

    def complaints(self, exchange: Exchange) -> list[str]:
        """What is wrong with an exchange; a route that the description lacks is one complaint."""
        template = next((t for pattern, t in self._templates if pattern.fullmatch(exchange.path)), None)
        operation = None if template is None else self._document["paths"][template].get(exchange.method.lower())
        if operation is None:
            return [f"{exchange.method} {exchange.path} is not described"]
        where = f"{exchange.method} {template} -> {exchange.status}"
        return [
            f"{where}: {c}" for c in (*self._of_request(operation, exchange), *self._of_answer(operation, exchange))
        ]

    def _of_request(self, operation: Any, exchange: Exchange) -> list[str]:
        if exchange.sent is None or exchange.status >= 400 or "requestBody" not in operation:
            return []
        return self._check(operation["requestBody"]["content"], exchange.sent, "sent")

    def _of_answer(self, operation: Any, exchange: Exchange) -> list[str]:
        status = str(exchange.status)
        described = operation["responses"].get(status) or operation["responses"].get(f"{status[0]}XX")
        if described is None:
            return ["this status is not described"]
        described = self._resolve(described)
        if "content" not in described:
            return [] if exchange.received is None else ["a body where none is described"]
        return self._check(described["content"], exchange.received, "received")

    def _check(self, content: Any, value: Any, side: str) -> list[str]:
        schema = self._absolute(content["application/json"]["schema"])
        validator = Draft202012Validator(schema, registry=self._registry)
        return [f"{side} {_deepest(error)}" for error in validator.iter_errors(value)]

    def _resolve(self, node: Any) -> Any:
        if "$ref" not in node:
            return node
        found = self._document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return found

    def _absolute(self, node: Any) -> Any:
        """The references of an inline schema, which has no document of its own."""
        if isinstance(node, dict):
            return {
                k: ROOT + v if k == "$ref" and isinstance(v, str) and v.startswith("#") else self._absolute(v)
                for k, v in node.items()
            }
        return [self._absolute(n) for n in node] if isinstance(node, list) else node


@dataclass
class Watched:
    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)


@asynccontextmanager
async def watching(target: str) -> AsyncIterator[Watched]:
    """A reverse proxy in front of `target` that records each API exchange."""
    watched = Watched()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.Response:
            raw = await request.read()
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_HEADERS}
            async with session.request(request.method, target + request.path_qs, data=raw, headers=headers) as answer:
                body = await answer.read()
                path = request.path.removeprefix("/api/v10")
                sent = _payload(raw, request.headers.get("Content-Type", ""))
                received = json.loads(body) if body else None
                watched.exchanges.append(Exchange(request.method, path, sent, answer.status, received))
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_HEADERS}
                return web.Response(status=answer.status, body=body, headers=kept)

        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        watched.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield watched
        finally:
            await runner.cleanup()


def _payload(raw: bytes, content_type: str) -> Any:
    """The JSON of a body, or of the payload_json part of a multipart body."""
    if content_type.startswith("multipart/"):
        found = re.search(rb'name="payload_json".*?\r\n\r\n(.*?)\r\n--', raw, re.DOTALL)
        return json.loads(found[1]) if found else None
    return json.loads(raw) if raw and "json" in content_type else None


def _deepest(error: Any) -> str:
    """The error of the best matching schema of an anyOf or oneOf."""
    while error.context:
        error = max(error.context, key=lambda e: (len(e.absolute_path), e.validator != "type"))
    return f"{error.json_path}: {error.message[:300]}"
