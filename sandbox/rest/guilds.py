"""Guilds, their roles and their members."""

from __future__ import annotations

from sandbox.events import VisibleChannels
from sandbox.guild_ops import add_role, remove_member
from sandbox.payloads import guild_json, member_json, role_json
from sandbox.permissions import (
    ALL,
    CHANGE_NICKNAME,
    KICK_MEMBERS,
    MANAGE_NICKNAMES,
    MANAGE_ROLES,
    MODERATE_MEMBERS,
)
from sandbox.responses import api_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Guild, Member, Payload, Role
from sandbox.validation.forms import Form

MAX_TIMEOUT_S = 28 * 24 * 3600


async def get_guild(request: Request) -> Payload:
    guild, _ = request.guild()
    body = guild_json(request.state, guild)
    if request.http.query.get("with_counts") in ("1", "true", "True"):
        body |= {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
    return body


async def list_roles(request: Request) -> list[Payload]:
    guild, _ = request.guild()
    return [role_json(guild, r) for r in guild.roles.values()]


async def create_role(request: Request) -> Payload:
    guild = request.managed_guild(MANAGE_ROLES)
    form = Form(await request.body())
    role = Role(0, "new role", guild.roles[guild.id].permissions)
    _read_role(form, role)
    made = add_role(request.state, guild, role.name, role.permissions, color=role.color)
    made.mentionable = role.mentionable
    request.events.role("GUILD_ROLE_CREATE", guild, made)
    return role_json(guild, made)


async def edit_role(request: Request) -> Payload:
    guild = request.managed_guild(MANAGE_ROLES)
    role = _role(request, guild)
    before = request.events.visible_channels(guild)
    _read_role(Form(await request.body()), role)
    request.events.role("GUILD_ROLE_UPDATE", guild, role)
    request.events.visibility_changed(guild, before)
    return role_json(guild, role)


async def delete_role(request: Request) -> None:
    guild = request.managed_guild(MANAGE_ROLES)
    role = _role(request, guild)
    if role.id == guild.id:
        raise api_error(50013)
    before = request.events.visible_channels(guild)
    del guild.roles[role.id]
    for member in guild.members.values():
        if role.id in member.roles:
            member.roles.remove(role.id)
    for channel in request.state.channels_of(guild):
        if channel.overwrites.pop(role.id, None) is not None:
            request.events.channel("CHANNEL_UPDATE", channel)
    request.events.role("GUILD_ROLE_DELETE", guild, role)
    request.events.visibility_changed(guild, before)
    return


async def get_member(request: Request) -> Payload:
    guild, _ = request.guild()
    return member_json(request.state, request.member_of(guild))


async def edit_member(request: Request) -> Payload:
    guild, _ = request.guild()
    member = request.member_of(guild)
    form = Form(await request.body())
    nick, roles = form.text("nick", high=32), form.snowflakes("roles")
    until = form.timestamp("communication_disabled_until")
    if until is not None and until > request.server.clock.now() + MAX_TIMEOUT_S:
        message = "Members cannot be timed out for more than 28 days."
        form.add_error("communication_disabled_until", "COMMUNICATION_DISABLED_UNTIL_TOO_FAR", message)
    form.raise_if_invalid()
    if form.has("nick"):
        request.managed_guild(CHANGE_NICKNAME if member.user_id == request.user.id else MANAGE_NICKNAMES)
    if form.has("roles"):
        request.managed_guild(MANAGE_ROLES)
    if form.has("communication_disabled_until"):
        request.managed_guild(MODERATE_MEMBERS)
    if any(r not in guild.roles for r in roles or ()):
        raise api_error(10011)
    before = request.events.visible_channels(guild)
    if form.has("nick"):
        member.nick = nick or None
    if roles is not None:
        member.roles = [r for r in roles if r != guild.id]
    if form.has("communication_disabled_until"):
        member.timeout_until = until
    _dispatch_update(request, guild, member, before)
    return member_json(request.state, member)


async def add_member_role(request: Request) -> None:
    guild, member, role_id = _role_of_member(request)
    before = request.events.visible_channels(guild)
    if role_id not in member.roles:
        member.roles.append(role_id)
        _dispatch_update(request, guild, member, before)
    return


async def remove_member_role(request: Request) -> None:
    guild, member, role_id = _role_of_member(request)
    before = request.events.visible_channels(guild)
    if role_id in member.roles:
        member.roles.remove(role_id)
        _dispatch_update(request, guild, member, before)
    return


async def kick_member(request: Request) -> None:
    guild = request.managed_guild(KICK_MEMBERS)
    member = request.member_of(guild)
    if member.user_id == guild.owner_id:
        raise api_error(50013)
    remove_member(request.state, request.events, guild, member)
    return


def _role(request: Request, guild: Guild) -> Role:
    role = guild.roles.get(request.id("role_id"))
    if role is None:
        raise api_error(10011)
    return role


def _read_role(form: Form, role: Role) -> None:
    name = form.text("name", low=1, high=100)
    permissions = form.integer("permissions", high=ALL, default=role.permissions)
    color = form.integer("color", high=0xFFFFFF, default=role.color)
    mentionable = form.boolean("mentionable", role.mentionable)
    form.raise_if_invalid()
    role.name = name or role.name
    role.permissions, role.color, role.mentionable = permissions or 0, color or 0, mentionable


def _role_of_member(request: Request) -> tuple[Guild, Member, int]:
    guild = request.managed_guild(MANAGE_ROLES)
    role_id = request.id("role_id")
    if role_id not in guild.roles:
        raise api_error(10011)
    return guild, request.member_of(guild), role_id


def _dispatch_update(request: Request, guild: Guild, member: Member, before: VisibleChannels) -> None:
    request.events.member("GUILD_MEMBER_UPDATE", guild, member)
    request.events.visibility_changed(guild, before)


_ROLE = "/guilds/{guild_id}/roles/{role_id}"
_MEMBER = "/guilds/{guild_id}/members/{user_id}"

ENDPOINTS = (
    Endpoint("GET", "/guilds/{guild_id}", get_guild),
    Endpoint("GET", "/guilds/{guild_id}/roles", list_roles),
    Endpoint("POST", "/guilds/{guild_id}/roles", create_role),
    Endpoint("PATCH", _ROLE, edit_role),
    Endpoint("DELETE", _ROLE, delete_role),
    Endpoint("GET", _MEMBER, get_member),
    Endpoint("PATCH", _MEMBER, edit_member),
    Endpoint("DELETE", _MEMBER, kick_member),
    Endpoint("PUT", _MEMBER + "/roles/{role_id}", add_member_role),
    Endpoint("DELETE", _MEMBER + "/roles/{role_id}", remove_member_role),
)
