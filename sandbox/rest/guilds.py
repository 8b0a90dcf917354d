"""Servers and their roles: looked at, made, changed, deleted."""

from __future__ import annotations

from sandbox.building import add_channel, add_guild, add_role
from sandbox.errors import refusal
from sandbox.payloads import full_guild_json, guild_json, role_json
from sandbox.permissions import ALL, MANAGE_GUILD, MANAGE_ROLES, guild_permissions
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form
from sandbox.world import Guild, Json, Role

MAX_GUILDS = 200


async def get_guild(call: Call) -> Json:
    guild, _ = call.guild()
    body = guild_json(call.world, guild)
    if call.request.query.get("with_counts") in ("1", "true", "True"):
        body |= {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
    return body


async def create_guild(call: Call) -> Json:
    """As people's apps do it; a fresh server has one channel."""
    if call.user.bot or len(call.world.guilds) >= MAX_GUILDS:
        raise refusal(20001)
    form = Form(await call.body())
    name = form.text("name", low=2, high=100, required=True)
    form.settle()
    guild = add_guild(call.world, name or "", call.user)
    add_channel(call.world, guild, "general")
    call.api.announcer.guild_created(guild, call.user.id)
    return full_guild_json(call.world, guild, call.user)


async def edit_guild(call: Call) -> Json:
    guild = _managed(call, MANAGE_GUILD)
    form = Form(await call.body())
    name = form.text("name", low=2, high=100)
    form.settle()
    guild.name = name or guild.name
    call.api.announcer.guild_updated(guild)
    return guild_json(call.world, guild)


async def delete_guild(call: Call) -> Json:
    guild, member = call.guild()
    if guild.owner_id != member.user_id:
        raise refusal(50001)
    for user_id in list(guild.members):
        call.api.announcer.guild_left(guild, user_id)
    for channel_id in guild.channel_ids:
        call.api.poster.drop_channel(call.world.channels[channel_id])
        del call.world.channels[channel_id]
    del call.world.guilds[guild.id]
    return None


async def list_roles(call: Call) -> Json:
    guild, _ = call.guild()
    return [role_json(guild, r) for r in guild.roles.values()]


async def create_role(call: Call) -> Json:
    guild = _managed(call, MANAGE_ROLES)
    form = Form(await call.body())
    role = Role(0, "new role", guild.roles[guild.id].permissions)
    _read_role(form, role)
    made = add_role(call.world, guild, role.name, role.permissions, color=role.color)
    made.mentionable = role.mentionable
    call.api.announcer.role("GUILD_ROLE_CREATE", guild, made)
    return role_json(guild, made)


async def edit_role(call: Call) -> Json:
    guild = _managed(call, MANAGE_ROLES)
    role = _role(call, guild)
    before = call.api.announcer.seen(guild)
    _read_role(Form(await call.body()), role)
    call.api.announcer.role("GUILD_ROLE_UPDATE", guild, role)
    call.api.announcer.seen_changed(guild, before)
    return role_json(guild, role)


async def delete_role(call: Call) -> Json:
    guild = _managed(call, MANAGE_ROLES)
    role = _role(call, guild)
    if role.id == guild.id:
        raise refusal(50013)
    before = call.api.announcer.seen(guild)
    del guild.roles[role.id]
    for member in guild.members.values():
        if role.id in member.roles:
            member.roles.remove(role.id)
    for channel in call.world.channels_of(guild):
        if channel.overwrites.pop(role.id, None) is not None:
            call.api.announcer.channel("CHANNEL_UPDATE", channel)
    call.api.announcer.role("GUILD_ROLE_DELETE", guild, role)
    call.api.announcer.seen_changed(guild, before)
    return None


def _managed(call: Call, wanted: int) -> Guild:
    guild, member = call.guild()
    if guild_permissions(guild, member, call.realm.clock.now()) & wanted != wanted:
        raise refusal(50013)
    return guild


def _role(call: Call, guild: Guild) -> Role:
    role = guild.roles.get(call.id("role_id"))
    if role is None:
        raise refusal(10011)
    return role


def _read_role(form: Form, role: Role) -> None:
    name = form.text("name", low=1, high=100)
    permissions = form.integer("permissions", high=ALL, default=role.permissions)
    color = form.integer("color", high=0xFFFFFF, default=role.color)
    mentionable = form.boolean("mentionable", role.mentionable)
    form.settle()
    role.name = name or role.name
    role.permissions, role.color, role.mentionable = permissions or 0, color or 0, mentionable


ENDPOINTS = (
    Endpoint("POST", "/guilds", create_guild),
    Endpoint("GET", "/guilds/{guild_id}", get_guild),
    Endpoint("PATCH", "/guilds/{guild_id}", edit_guild),
    Endpoint("DELETE", "/guilds/{guild_id}", delete_guild),
    Endpoint("POST", "/guilds/{guild_id}/delete", delete_guild),
    Endpoint("GET", "/guilds/{guild_id}/roles", list_roles),
    Endpoint("POST", "/guilds/{guild_id}/roles", create_role),
    Endpoint("PATCH", "/guilds/{guild_id}/roles/{role_id}", edit_role),
    Endpoint("DELETE", "/guilds/{guild_id}/roles/{role_id}", delete_role),
)
