"""What Discord does not have, under /sandbox: the members and their tokens, the sample scenes, the faults."""

from __future__ import annotations

from dataclasses import fields

from aiohttp import web

from sandbox.faults import Fault
from sandbox.previews import Samples
from sandbox.responses import json_response
from sandbox.server_state import SERVER
from sandbox.state import Guild, Payload, State
from sandbox.validation.forms import parse_json

SETTABLE = {f.name for f in fields(Fault) if f.init}


def routes(samples: Samples) -> list[web.AbstractRouteDef]:
    async def list_samples(request: web.Request) -> web.Response:
        return json_response(samples.entries())

    return [
        web.get("/sandbox/world", get_world),
        web.get("/sandbox/samples", list_samples),
        web.get("/sandbox/faults", list_faults),
        web.post("/sandbox/faults", add_faults),
        web.delete("/sandbox/faults", clear_faults),
    ]


async def get_world(request: web.Request) -> web.Response:
    """Everyone with their tokens (there are no passwords), and what is known of the bot."""
    server = request.app[SERVER]
    state = server.state
    application = next(iter(state.applications.values()))
    return json_response(
        {
            "application_id": str(application.id),
            "bot_id": str(application.bot_id),
            "bot_connected": server.sessions.is_connected(application.bot_id),
            "bot_model": server.bot_model,
            "guilds": [_guild_json(state, g) for g in state.guilds.values()],
            "members": [
                {**_person_json(state, u.id), "guild_ids": [str(g.id) for g in state.guilds_of(u.id)]}
                for u in state.users.values()
                if not u.bot
            ],
        }
    )


async def list_faults(request: web.Request) -> web.Response:
    return json_response([_fault_json(f) for f in request.app[SERVER].faults])


async def add_faults(request: web.Request) -> web.Response:
    """Body: an object with fields of `Fault`, or a list of them."""
    try:
        content = parse_json(await request.read())
        faults = [_read_fault(f) for f in (content if isinstance(content, list) else [content])]
    except (ValueError, TypeError) as error:
        return json_response({"message": str(error), "code": 0}, 400)
    for fault in faults:
        request.app[SERVER].faults.add(fault)
    return json_response([_fault_json(f) for f in faults])


async def clear_faults(request: web.Request) -> web.Response:
    request.app[SERVER].faults.clear()
    return json_response(None)


def _guild_json(state: State, guild: Guild) -> Payload:
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
            for c in (*state.channels_of(guild), *state.threads_of(guild))
        ],
        "members": [
            {**_person_json(state, m.user_id), "roles": [guild.roles[r].name for r in m.roles]}
            for m in guild.members.values()
        ],
    }


def _person_json(state: State, user_id: int) -> Payload:
    user = state.users[user_id]
    person: Payload = {
        "id": str(user.id),
        "username": user.username,
        "display_name": user.display_name,
        "bot": user.bot,
        "note": state.notes.get(user.id, ""),
        "locale": user.locale,
    }
    return person if user.bot else {**person, "token": user.token}


def _read_fault(content: object) -> Fault:
    if not isinstance(content, dict) or not set(content) <= SETTABLE or "kind" not in content:
        raise ValueError(f"a fault is an object with kind and some of {', '.join(sorted(SETTABLE))}")
    return Fault(**content)


def _fault_json(fault: Fault) -> Payload:
    return {name: getattr(fault, name) for name in (*sorted(SETTABLE), "triggered")}
