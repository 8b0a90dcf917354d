"""What Discord does not have: who is here, the sample scenes, and the switchboard of faults."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from aiohttp import web

from sandbox.faults import Fault
from sandbox.payloads import Body
from sandbox.previews import SAMPLES_PATH, Samples
from sandbox.realm import REALM
from sandbox.rest.call import answer
from sandbox.validation.parsing import parse_json
from sandbox.world import Guild, Json, World

SETTABLE = {f.name for f in fields(Fault) if f.init}


def routes(samples: Samples) -> list[web.AbstractRouteDef]:
    tray = _Tray(samples)
    return [
        web.get("/sandbox/world", world),
        web.get("/sandbox/faults", list_faults),
        web.post("/sandbox/faults", add_faults),
        web.delete("/sandbox/faults", clear_faults),
        web.get("/sandbox/samples", tray.list),
        web.get(SAMPLES_PATH + "{name}", tray.file),
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
        content = parse_json(await request.read())
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


class _Tray:
    """The sample scenes, for whoever has no picture at hand."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    async def list(self, request: web.Request) -> web.Response:
        return answer([{**s, "url": SAMPLES_PATH + s["file"]} for s in self._entries()])

    async def file(self, request: web.Request) -> web.StreamResponse:
        path = self._samples.path(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"X-Content-Type-Options": "nosniff"})

    def _entries(self) -> Iterable[dict[str, Json]]:
        listing = self._samples.listing
        if listing is None:
            return [{"file": name, "en": Path(name).stem, "zh": Path(name).stem} for name in self._samples.names()]
        entries: Iterable[dict[str, Json]] = json.loads(listing.read_text(encoding="utf-8"))
        return entries


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
