"""The developer portal in brief: applications made, their bots given tokens and switches, and invited to servers."""

from __future__ import annotations

from sandbox.building import add_application, add_member, add_role, give_token
from sandbox.errors import form_error, refusal
from sandbox.payloads import CONTENT_SWITCH, MEMBERS_SWITCH, PRESENCES_SWITCH, application_json
from sandbox.permissions import ALL, MANAGE_GUILD, guild_permissions
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form, as_snowflake
from sandbox.world import Application, Json

MAX_APPLICATIONS = 50


async def create_application(call: Call) -> Json:
    """The privileged intents are off, as they are for new applications."""
    if call.user.bot or len(call.world.applications) >= MAX_APPLICATIONS:
        raise refusal(20001)
    form = Form(await call.body())
    name = form.text("name", low=1, high=32, required=True)
    form.settle()
    return _json(call, add_application(call.world, name or "", call.user, message_content=False))


async def get_application(call: Call) -> Json:
    return _json(call, _owned(call))


async def edit_application(call: Call) -> Json:
    application = _owned(call)
    form = Form(await call.body())
    name, description = form.text("name", low=1, high=32), form.text("description", high=400)
    flags = form.integer("flags")
    form.settle()
    application.name = name or application.name
    application.description = description if description is not None else application.description
    if flags is not None:
        # Each switch has two flags: that of reviewed applications is the one below.
        application.message_content = bool(flags & (CONTENT_SWITCH | CONTENT_SWITCH >> 1))
        application.guild_members = bool(flags & (MEMBERS_SWITCH | MEMBERS_SWITCH >> 1))
        application.guild_presences = bool(flags & (PRESENCES_SWITCH | PRESENCES_SWITCH >> 1))
    return _json(call, application)


async def reset_token(call: Call) -> Json:
    """A fresh token for the bot; it is shown this once, and the old one is void."""
    application = _owned(call)
    bot = call.world.users[application.bot_id]
    give_token(call.world, bot)
    return {"token": bot.token}


async def authorize(call: Call) -> Json:
    """POST /oauth2/authorize?client_id=…: invites a bot to a server that one manages."""
    form = Form(await call.body())
    guild_id = form.snowflake("guild_id", required=True)
    permissions = form.integer("permissions", high=ALL, default=0) or 0
    form.settle()
    application = call.world.applications.get(as_snowflake(call.request.query.get("client_id")) or 0)
    guild = call.world.guilds.get(guild_id or 0)
    member = None if guild is None else guild.members.get(call.user.id)
    if application is None:
        raise refusal(10002)
    if guild is None or member is None:
        raise refusal(10004)
    if not guild_permissions(guild, member, call.realm.clock.now()) & MANAGE_GUILD:
        raise refusal(50013)
    if not form.boolean("authorize", default=True):
        raise form_error(("authorize",), "AUTHORIZE_DENIED", "Not authorized")
    if application.bot_id not in guild.members:
        role = add_role(call.world, guild, application.name, permissions)
        joined = add_member(call.world, guild, call.world.users[application.bot_id], role)
        call.api.announcer.role("GUILD_ROLE_CREATE", guild, role)
        call.api.announcer.guild_created(guild, application.bot_id)
        call.api.announcer.member("GUILD_MEMBER_ADD", guild, joined)
    return {"location": f"{call.realm.base_url}/"}


def _owned(call: Call) -> Application:
    application = call.world.applications.get(call.id("application_id"))
    if application is None:
        raise refusal(10002)
    if application.owner_id != call.user.id:
        raise refusal(20012)
    return application


def _json(call: Call, application: Application) -> dict[str, Json]:
    world = call.world
    return application_json(application, world.users[application.owner_id], world.users[application.bot_id])


ENDPOINTS = (
    Endpoint("POST", "/applications", create_application),
    Endpoint("GET", "/applications/{application_id}", get_application),
    Endpoint("PATCH", "/applications/{application_id}", edit_application),
    Endpoint("POST", "/applications/{application_id}/bot", reset_token),
    Endpoint("POST", "/applications/{application_id}/bot/reset", reset_token),
    Endpoint("POST", "/oauth2/authorize", authorize),
)
