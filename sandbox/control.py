"""What Discord does not have: who is here, the sample scenes, and the switchboard of faults."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from aiohttp import web

from sandbox.faults import Fault
from sandbox.payloads import Body
from sandbox.realm import REALM
from sandbox.rest.call import answer
from sandbox.world import Guild, Json, World

SETTABLE = {f.name for f in fields(Fault) if f.init}


def routes(samples_dir: Path | None) -> list[web.AbstractRouteDef]:
    """`samples_dir`: a folder of pictures with a samples.json, or None where there are none."""
    samples = _Samples(samples_dir)
    return [
        web.get("/sandbox/world", world),
        web.get("/sandbox/faults", list_faults),
        web.post("/sandbox/faults", add_faults),
        web.delete("/sandbox/faults", clear_faults),
        web.get("/sandbox/samples", samples.tray),
        web.get(r"/sandbox/samples/{name:[A-Za-z0-9_-]+\.(?:png|jpg|jpeg|webp|gif)}", samples.file),
    ]


async def world(request: web.Request) -> web.Response:
    """Everyone and their tokens: the sandbox has no passwords, the guard at the door is all there is."""
    realm = request.app[REALM]
    found = realm.world
    people = [u for u in found.users.values() if not u.bot]
    application = next(iter(found.applications.values()))
    return answer(
        {
            "application_id": str(application.id),
            "bot_id": str(application.bot_id),
            "bot_connected": realm.hub.is_connected(application.bot_id),
            "guilds": [_guild(found, g) for g in found.guilds.values()],
            "members": [
                {**_person(found, u.id), "guild_ids": [str(g.id) for g in found.guilds_of(u.id)]} for u in people
            ],
        }
    )


async def list_faults(request: web.Request) -> web.Response:
    return answer([_fault(f) for f in request.app[REALM].faults])


async def add_faults(request: web.Request) -> web.Response:
    """A fault or a list of them, as JSON objects with the fields of `Fault`."""
    try:
        content = json.loads(await request.read())
        wanted = content if isinstance(content, list) else [content]
        made = [Fault(**_checked(f)) for f in wanted]
    except (ValueError, TypeError) as error:
        return answer({"message": str(error), "code": 0}, 400)
    for fault in made:
        request.app[REALM].faults.add(fault)
    return answer([_fault(f) for f in made])


async def clear_faults(request: web.Request) -> web.Response:
    request.app[REALM].faults.clear()
    return answer(None)


class _Samples:
    """The tray of sample scenes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def tray(self, request: web.Request) -> web.Response:
        return answer([{**s, "url": f"/sandbox/samples/{s['file']}"} for s in self._entries()])

    async def file(self, request: web.Request) -> web.StreamResponse:
        path = None if self._folder is None else self._folder / request.match_info["name"]
        if path is None or not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"X-Content-Type-Options": "nosniff"})

    def _entries(self) -> list[dict[str, Json]]:
        if self._folder is None or not self._folder.is_dir():
            return []
        listing = self._folder / "samples.json"
        if listing.is_file():
            entries: list[dict[str, Json]] = json.loads(listing.read_text(encoding="utf-8"))
            return entries
        return [{"file": p.name, "en": p.stem, "zh": p.stem} for p in sorted(self._folder.glob("*.png"))]


def _guild(found: World, guild: Guild) -> Body:
    channels = [*found.channels_of(guild), *found.threads_of(guild)]
    return {
        "id": str(guild.id),
        "name": guild.name,
        "owner_id": str(guild.owner_id),
        "channels": [
            {
                "id": str(c.id),
                "name": c.name,
                "type": c.type,
                "parent_id": None if c.parent_id is None else str(c.parent_id),
                "nsfw": c.nsfw,
            }
            for c in channels
        ],
        "members": [
            {**_person(found, m.user_id), "roles": [guild.roles[r].name for r in m.roles]}
            for m in guild.members.values()
        ],
    }


def _person(found: World, user_id: int) -> Body:
    user = found.users[user_id]
    person: Body = {
        "id": str(user.id),
        "username": user.username,
        "display_name": user.display_name,
        "bot": user.bot,
        "note": found.notes.get(user.id, ""),
        "locale": user.locale,
    }
    return person if user.bot else {**person, "token": user.token}


def _checked(content: Json) -> dict[str, Json]:
    if not isinstance(content, dict) or not set(content) <= SETTABLE or "kind" not in content:
        raise ValueError(f"a fault is an object with kind and some of {', '.join(sorted(SETTABLE))}")
    return content


def _fault(fault: Fault) -> dict[str, Json]:
    return {name: getattr(fault, name) for name in (*sorted(SETTABLE), "struck")}
