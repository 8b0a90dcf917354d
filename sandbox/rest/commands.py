"""Application commands: a bot's lists, global and of one server, and the index from which people choose."""

from __future__ import annotations

from sandbox.errors import FormErrors, form_error, refusal
from sandbox.payloads import command_json, user_json
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.commands import check_command, check_counts
from sandbox.validation.forms import Form
from sandbox.world import Application, Command, Json


async def list_commands(call: Call) -> Json:
    application, scope = _scope(call)
    return [command_json(c) for c in application.commands.values() if c.guild_id == scope]


async def overwrite_commands(call: Call) -> Json:
    """Replaces every command of the scope, of all types; what kept its name and type keeps its id."""
    application, scope = _scope(call)
    content = await call.json()
    if not isinstance(content, list):
        raise form_error((), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    errors = FormErrors()
    bodies = [check_command(Form(c if isinstance(c, dict) else {}, errors, (n,))) for n, c in enumerate(content)]
    check_counts(Form({}, errors), bodies)
    errors.settle()
    fresh = [_command(call, application, scope, body) for body in bodies]
    kept = {c.id: c for c in application.commands.values() if c.guild_id != scope}
    application.commands = kept | {c.id: c for c in fresh}
    _announce(call, application)
    return [command_json(c) for c in fresh]


async def create_command(call: Call) -> Json:
    """An upsert by name and type, as Discord's."""
    application, scope = _scope(call)
    form = Form(await call.body())
    body = check_command(form)
    form.settle()
    command = _command(call, application, scope, body)
    application.commands[command.id] = command
    _announce(call, application)
    return command_json(command)


async def get_command(call: Call) -> Json:
    return command_json(_found(call)[1])


async def edit_command(call: Call) -> Json:
    application, command = _found(call)
    form = Form({**command.body, "type": command.type, "name": command.name, **(await call.body())})
    body = check_command(form)
    form.settle()
    _fill(call, command, body)
    _announce(call, application)
    return command_json(command)


async def delete_command(call: Call) -> Json:
    application, command = _found(call)
    del application.commands[command.id]
    _announce(call, application)
    return None


async def command_index(call: Call) -> Json:
    """What a person may choose from in a server: the commands of every application that is a member."""
    guild, _ = call.guild()
    present = [a for a in call.world.applications.values() if a.bot_id in guild.members]
    commands = [
        command_json(c)
        for a in present
        for c in a.commands.values()
        if c.guild_id in (None, guild.id) and _in_guilds(c)
    ]
    return {
        "applications": [
            {
                "id": str(a.id),
                "name": a.name,
                "description": a.description,
                "icon": None,
                "bot": user_json(call.world.users[a.bot_id]),
            }
            for a in present
        ],
        "application_commands": commands,
        "version": str(max((c.version for a in present for c in a.commands.values()), default=0)),
    }


def _in_guilds(command: Command) -> bool:
    contexts = command.body.get("contexts")
    return contexts is None or 0 in contexts


def _scope(call: Call) -> tuple[Application, int | None]:
    application = call.application
    if call.id("application_id") != application.id:
        raise refusal(20012)
    if "guild_id" not in call.request.match_info:
        return application, None
    guild = call.world.guilds.get(call.id("guild_id"))
    if guild is None or application.bot_id not in guild.members:
        raise refusal(50001)
    return application, guild.id


def _found(call: Call) -> tuple[Application, Command]:
    application, scope = _scope(call)
    command = application.commands.get(call.id("command_id"))
    if command is None or command.guild_id != scope:
        raise refusal(10063)
    return application, command


def _command(call: Call, application: Application, scope: int | None, body: dict[str, Json]) -> Command:
    key = (scope, body["type"], body["name"])
    existing = next((c for c in application.commands.values() if (c.guild_id, c.type, c.name) == key), None)
    command = existing or Command(call.world.ids.next(), 0, application.id, scope, body["type"], body["name"], {})
    _fill(call, command, body)
    return command


def _fill(call: Call, command: Command, body: dict[str, Json]) -> None:
    command.name = body["name"]
    command.body = {k: v for k, v in body.items() if k not in ("type", "name")}
    command.version = call.world.ids.next()


def _announce(call: Call, application: Application) -> None:
    """People's clients fetch the index anew."""
    for guild in call.world.guilds_of(application.bot_id):
        body = {"guild_id": str(guild.id), "version": str(call.world.ids.next())}
        for user_id in guild.members:
            if not call.world.users[user_id].bot:
                call.realm.hub.to_user(user_id, "GUILD_APPLICATION_COMMAND_INDEX_UPDATE", body)


_GLOBAL = "/applications/{application_id}/commands"
_OF_GUILD = "/applications/{application_id}/guilds/{guild_id}/commands"

ENDPOINTS = (
    *(
        endpoint
        for base in (_GLOBAL, _OF_GUILD)
        for endpoint in (
            Endpoint("GET", base, list_commands),
            Endpoint("PUT", base, overwrite_commands),
            Endpoint("POST", base, create_command),
            Endpoint("GET", base + "/{command_id}", get_command),
            Endpoint("PATCH", base + "/{command_id}", edit_command),
            Endpoint("DELETE", base + "/{command_id}", delete_command),
        )
    ),
    Endpoint("GET", "/guilds/{guild_id}/application-command-index", command_index),
)
