"""Members of a server: looked up, changed, given roles, sent away."""

from __future__ import annotations

from sandbox.errors import refusal
from sandbox.leaving import leave
from sandbox.payloads import member_json
from sandbox.permissions import (
    CHANGE_NICKNAME,
    KICK_MEMBERS,
    MANAGE_NICKNAMES,
    MANAGE_ROLES,
    MODERATE_MEMBERS,
    guild_permissions,
)
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form
from sandbox.world import Guild, Json, Member

MAX_TIMEOUT_S = 28 * 24 * 3600


async def get_member(call: Call) -> Json:
    guild, _ = call.guild()
    return member_json(call.world, _member(call, guild))


async def list_members(call: Call) -> Json:
    guild, _ = call.guild()
    call.require_members_intent()
    form = Form(dict(call.request.query))
    limit, after = form.integer("limit", low=1, high=1000, default=1), form.snowflake("after") or 0
    form.settle()
    found = sorted((m for m in guild.members.values() if m.user_id > after), key=lambda m: m.user_id)
    return [member_json(call.world, m) for m in found[:limit]]


async def edit_member(call: Call) -> Json:
    guild, _ = call.guild()
    member = _member(call, guild)
    form = Form(await call.body())
    nick, roles = form.text("nick", high=32), form.snowflakes("roles")
    until = form.timestamp("communication_disabled_until")
    if until is not None and until > call.realm.clock.now() + MAX_TIMEOUT_S:
        message = "Members cannot be timed out for more than 28 days."
        form.complain("communication_disabled_until", "COMMUNICATION_DISABLED_UNTIL_TOO_FAR", message)
    form.settle()
    if form.has("nick"):
        _require(call, guild, CHANGE_NICKNAME if member.user_id == call.user.id else MANAGE_NICKNAMES)
    if form.has("roles"):
        _require(call, guild, MANAGE_ROLES)
    if form.has("communication_disabled_until"):
        _require(call, guild, MODERATE_MEMBERS)
    if any(r not in guild.roles for r in roles or ()):
        raise refusal(10011)
    before = call.api.announcer.seen(guild)
    if form.has("nick"):
        member.nick = nick or None
    if roles is not None:
        member.roles = [r for r in roles if r != guild.id]
    if form.has("communication_disabled_until"):
        member.timeout_until = until
    _announce(call, guild, member, before)
    return member_json(call.world, member)


async def add_role(call: Call) -> Json:
    guild, member, role_id = _role_target(call)
    before = call.api.announcer.seen(guild)
    if role_id not in member.roles:
        member.roles.append(role_id)
        _announce(call, guild, member, before)
    return None


async def remove_role(call: Call) -> Json:
    guild, member, role_id = _role_target(call)
    before = call.api.announcer.seen(guild)
    if role_id in member.roles:
        member.roles.remove(role_id)
        _announce(call, guild, member, before)
    return None


async def kick(call: Call) -> Json:
    guild, _ = call.guild()
    _require(call, guild, KICK_MEMBERS)
    member = _member(call, guild)
    if member.user_id == guild.owner_id:
        raise refusal(50013)
    leave(call.world, call.api.announcer, guild, member)
    return None


def _role_target(call: Call) -> tuple[Guild, Member, int]:
    guild, _ = call.guild()
    _require(call, guild, MANAGE_ROLES)
    role_id = call.id("role_id")
    if role_id not in guild.roles:
        raise refusal(10011)
    return guild, _member(call, guild), role_id


def _member(call: Call, guild: Guild) -> Member:
    member = guild.members.get(call.id("user_id"))
    if member is None:
        raise refusal(10007)
    return member


def _require(call: Call, guild: Guild, wanted: int) -> None:
    own = guild.members[call.user.id]
    if guild_permissions(guild, own, call.realm.clock.now()) & wanted != wanted:
        raise refusal(50013)


def _announce(call: Call, guild: Guild, member: Member, before: dict[int, frozenset[int]]) -> None:
    call.api.announcer.member("GUILD_MEMBER_UPDATE", guild, member)
    call.api.announcer.seen_changed(guild, before)


_MEMBER = "/guilds/{guild_id}/members/{user_id}"

ENDPOINTS = (
    Endpoint("GET", "/guilds/{guild_id}/members", list_members),
    Endpoint("GET", _MEMBER, get_member),
    Endpoint("PATCH", _MEMBER, edit_member),
    Endpoint("DELETE", _MEMBER, kick),
    Endpoint("PUT", _MEMBER + "/roles/{role_id}", add_role),
    Endpoint("DELETE", _MEMBER + "/roles/{role_id}", remove_role),
)
