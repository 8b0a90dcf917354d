"""The caller and other users, the bot's application, its commands, and the gateway's URL."""

from __future__ import annotations

from sandbox.payloads import application_json, command_json, own_user_json, user_json
from sandbox.responses import FormErrors, api_error, form_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Application, Command, Payload
from sandbox.validation.commands import check_command, check_counts
from sandbox.validation.forms import Form


async def get_me(request: Request) -> Payload:
    return own_user_json(request.user)


async def get_user(request: Request) -> Payload:
    found = request.state.users.get(request.id("user_id"))
    if found is None:
        raise api_error(10013)
    return user_json(found)


async def get_my_application(request: Request) -> Payload:
    application = request.application
    return application_json(application, request.state.users[application.owner_id], request.user)


async def get_gateway(request: Request) -> Payload:
    return {"url": request.server.gateway_url}


async def get_gateway_for_bots(request: Request) -> Payload:
    limit = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": 1}
    return {"url": request.server.gateway_url, "shards": request.server.limits.shards, "session_start_limit": limit}


async def list_commands(request: Request) -> list[Payload]:
    return [command_json(c) for c in _own_application(request).commands.values()]


async def overwrite_commands(request: Request) -> list[Payload]:
    """Replaces all commands of all types. A command that keeps its type and name keeps its id."""
    application = _own_application(request)
    content = await request.json()
    if not isinstance(content, list):
        raise form_error((), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    errors = FormErrors()
    bodies = [check_command(Form(c if isinstance(c, dict) else {}, errors, (n,))) for n, c in enumerate(content)]
    check_counts(Form({}, errors), bodies)
    errors.raise_if_any()
    known = {(c.type, c.name): c.id for c in application.commands.values()}
    ids = request.state.ids
    commands = []
    for body in bodies:
        kind, name = body.pop("type"), body.pop("name")
        command_id = known.get((kind, name)) or ids.next()
        commands.append(Command(command_id, ids.next(), application.id, kind, name, body))
    application.commands = {c.id: c for c in commands}
    _dispatch_index_update(request, application)
    return [command_json(c) for c in commands]


async def get_command_index(request: Request) -> Payload:
    """The commands of every application whose bot is in the guild."""
    guild, _ = request.guild()
    present = [a for a in request.state.applications.values() if a.bot_id in guild.members]
    commands = [command_json(c) for a in present for c in a.commands.values() if 0 in (c.body["contexts"] or [0])]
    return {
        "applications": [
            {
                "id": str(a.id),
                "name": a.name,
                "description": a.description,
                "icon": None,
                "bot": user_json(request.state.users[a.bot_id]),
            }
            for a in present
        ],
        "application_commands": commands,
        "version": str(max((c.version for a in present for c in a.commands.values()), default=0)),
    }


def _own_application(request: Request) -> Application:
    if request.id("application_id") != request.application.id:
        raise api_error(20012)
    return request.application


def _dispatch_index_update(request: Request, application: Application) -> None:
    """Tells users' clients to fetch the index again."""
    for guild in request.state.guilds_of(application.bot_id):
        body = {"guild_id": str(guild.id), "version": str(request.state.ids.next())}
        for user_id in guild.members:
            if not request.state.users[user_id].bot:
                request.server.sessions.send_to_user(user_id, "GUILD_APPLICATION_COMMAND_INDEX_UPDATE", body)


_COMMANDS = "/applications/{application_id}/commands"

ENDPOINTS = (
    Endpoint("GET", "/users/@me", get_me),
    Endpoint("GET", "/users/{user_id}", get_user),
    Endpoint("GET", "/oauth2/applications/@me", get_my_application),
    Endpoint("GET", "/gateway", get_gateway, open=True),
    Endpoint("GET", "/gateway/bot", get_gateway_for_bots),
    Endpoint("GET", _COMMANDS, list_commands),
    Endpoint("PUT", _COMMANDS, overwrite_commands),
    Endpoint("GET", "/guilds/{guild_id}/application-command-index", get_command_index),
)
