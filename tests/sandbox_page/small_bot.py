"""A bot that says what a test tells it to: for what Discord's client shows and Magpie does not send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from sandbox.server import Sandbox
from tests.sandbox.person import Person

COMPONENTS_V2, EPHEMERAL = 1 << 15, 1 << 6
MESSAGE, UPDATE_MESSAGE, CHOICES, MODAL = 4, 7, 8, 9


class SmallBot:
    def __init__(self, sandbox: Sandbox, client: Person) -> None:
        self._sandbox = sandbox
        self._client = client
        self._taken = 0

    async def register(self, *commands: Mapping[str, Any]) -> None:
        await self._client.ok("PUT", f"/applications/{self._sandbox.application_id}/commands", list(commands))

    async def post(
        self, channel: str, *components: Mapping[str, Any], files: Mapping[str, bytes] | None = None, **more: Any
    ) -> str:
        """Posts components, with files that they show as `attachment://name`. Gives the message's id."""
        body = {"components": list(components), "flags": COMPONENTS_V2, **more}
        path = f"/channels/{self._sandbox.channel(channel).id}/messages"
        message: dict[str, Any] = await self._client.ok("POST", path, _with_files(body, files or {}))
        return str(message["id"])

    async def edit(self, channel: str, message_id: str, *components: Mapping[str, Any]) -> None:
        path = f"/channels/{self._sandbox.channel(channel).id}/messages/{message_id}"
        await self._client.ok("PATCH", path, {"components": list(components)})

    async def asked(self) -> dict[str, Any]:
        """The next interaction, in the order in which they come."""
        interaction: dict[str, Any] = await self._client.event("INTERACTION_CREATE", since=self._taken)
        events = self._client.events
        self._taken = next(n for n in range(self._taken, len(events)) if events[n][1] is interaction) + 1
        return interaction

    async def answer(self, interaction: Mapping[str, Any], kind: int, data: Mapping[str, Any]) -> None:
        path = f"/interactions/{interaction['id']}/{interaction['token']}/callback"
        await self._client.ok("POST", path, {"type": kind, "data": data})

    async def show(self, interaction: Mapping[str, Any], *components: Mapping[str, Any], update: bool = False) -> None:
        """Answers with components, to the asker alone; or puts them into the message whose button was pressed."""
        data = {"components": list(components), "flags": COMPONENTS_V2 | (0 if update else EPHEMERAL)}
        await self.answer(interaction, UPDATE_MESSAGE if update else MESSAGE, data)

    async def complete(self, interaction: Mapping[str, Any], *components: Mapping[str, Any]) -> None:
        """The answer to what was deferred."""
        path = f"/webhooks/{interaction['application_id']}/{interaction['token']}/messages/@original"
        await self._client.ok("PATCH", path, {"components": list(components), "flags": COMPONENTS_V2})


@asynccontextmanager
async def small_bot(sandbox: Sandbox) -> AsyncIterator[SmallBot]:
    async with Person(sandbox.url, sandbox.bot_token, bot=True, intents=1 | 1 << 9 | 1 << 15) as client:
        await client.connect()
        yield SmallBot(sandbox, client)


def _with_files(body: dict[str, Any], files: Mapping[str, bytes]) -> object:
    if not files:
        return body
    form = aiohttp.FormData()
    attachments = [{"id": n, "filename": name} for n, name in enumerate(files)]
    form.add_field("payload_json", json.dumps({**body, "attachments": attachments}), content_type="application/json")
    for n, (name, data) in enumerate(files.items()):
        form.add_field(f"files[{n}]", data, filename=name, content_type="application/octet-stream")
    return form


# ---- components, as Discord's documentation has them


def row(*components: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(components)}


def button(label: str, custom_id: str, **more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 2, "label": label, "custom_id": custom_id, **more}


def text(content: str) -> dict[str, Any]:
    return {"type": 10, "content": content}


def gallery(*names: str, spoilers: Sequence[str] = ()) -> dict[str, Any]:
    """Pictures of the message's own files; the alt text is the name without its ending."""
    return {"type": 12, "items": [
        {"media": {"url": f"attachment://{name}"}, "description": alt(name), "spoiler": name in spoilers}
        for name in names
    ]}  # fmt: skip


def alt(name: str) -> str:
    return name.rsplit(".", 1)[0].replace("_", " ")


def container(*components: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": 17, "components": list(components), **more}
