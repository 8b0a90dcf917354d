"""Channels: looked at, made, changed, deleted; their permission overwrites and invitations."""

from __future__ import annotations

import secrets

from sandbox.building import add_channel, add_member
from sandbox.errors import form_error, refusal
from sandbox.payloads import channel_json, guild_json
from sandbox.permissions import (
    ALL,
    CREATE_INSTANT_INVITE,
    MANAGE_CHANNELS,
    MANAGE_ROLES,
    MANAGE_THREADS,
    guild_permissions,
    may_read,
)
from sandbox.rest.call import Call, Endpoint
from sandbox.rest.threads import edit_thread, remove_thread
from sandbox.validation.forms import Form
from sandbox.world import Channel, ChannelType, Guild, Json, Member, Overwrite

MAKEABLE = frozenset({0, 2, 4, 5, 13, 15})


async def get_channel(call: Call) -> Json:
    channel = call.channel()
    return channel_json(call.world, channel, annotated(call, channel))


async def list_channels(call: Call) -> Json:
    """Bots see every channel's name; people the channels that they may open."""
    guild, member = call.guild()
    channels = call.world.channels_of(guild)
    if not call.user.bot:
        channels = [c for c in channels if c.type == ChannelType.CATEGORY or may_read(call.world, c, member.user_id)]
    return [channel_json(call.world, c, annotated(call, c)) for c in channels]


async def create_channel(call: Call) -> Json:
    guild, member = call.guild()
    _require_in_guild(call, guild, member, MANAGE_CHANNELS)
    form = Form(await call.body())
    name = form.text("name", low=1, high=100, required=True)
    kind = form.choice("type", MAKEABLE) or 0
    topic = form.text("topic", high=1024)
    nsfw = form.boolean("nsfw")
    parent_id = _parent(guild, call, form)
    overwrites = [_read_overwrite(o, None) for o in form.forms("permission_overwrites", high=100) or []]
    form.settle()
    shown_name = name.lower().replace(" ", "-") if name and kind in (0, 5, 15) else name
    channel = add_channel(
        call.world, guild, shown_name or "", kind, *overwrites, topic=topic, nsfw=nsfw, parent_id=parent_id
    )
    call.api.announcer.channel("CHANNEL_CREATE", channel)
    return channel_json(call.world, channel, annotated(call, channel))


async def edit_channel(call: Call) -> Json:
    channel = call.channel()
    form = Form(await call.body())
    if channel.thread is not None:
        return await edit_thread(call, channel, form)
    call.require(channel, MANAGE_CHANNELS)
    guild = _guild(call, channel)
    name, topic = form.text("name", low=1, high=100), form.text("topic", high=1024)
    nsfw, position = form.boolean("nsfw", channel.nsfw), form.integer("position", default=channel.position)
    parent_id = _parent(guild, call, form) if form.has("parent_id") else channel.parent_id
    overwrites = [_read_overwrite(o, None) for o in form.forms("permission_overwrites", high=100) or []]
    form.settle()
    before = call.api.announcer.seen(guild)
    channel.name = name or channel.name
    channel.topic = topic if form.has("topic") else channel.topic
    channel.nsfw, channel.position, channel.parent_id = nsfw, position or 0, parent_id
    if form.has("permission_overwrites"):
        channel.overwrites = {o.target_id: o for o in overwrites}
    _announce_change(call, guild, channel, before)
    return channel_json(call.world, channel, annotated(call, channel))


async def delete_channel(call: Call) -> Json:
    channel = call.channel()
    body = channel_json(call.world, channel, annotated(call, channel))
    if channel.type == ChannelType.DM:
        return body
    if channel.thread is not None:
        call.require(channel, MANAGE_THREADS)
        remove_thread(call, channel)
        return body
    call.require(channel, MANAGE_CHANNELS)
    remove_channel(call, _guild(call, channel), channel)
    return body


def remove_channel(call: Call, guild: Guild, channel: Channel) -> None:
    """With its threads, of which clients hear nothing: that their parent is gone says it, as with Discord."""
    call.api.announcer.channel("CHANNEL_DELETE", channel)
    doomed = [t for t in call.world.threads_of(guild) if t.parent_id == channel.id]
    for gone in (*doomed, channel):
        call.api.poster.drop_channel(gone)
        guild.channel_ids.remove(gone.id)
        del call.world.channels[gone.id]
    for child in call.world.channels_of(guild):
        if child.parent_id == channel.id:
            child.parent_id = None
            call.api.announcer.channel("CHANNEL_UPDATE", child)


async def set_overwrite(call: Call) -> Json:
    channel = call.channel()
    guild = _guild(call, channel)
    _require_overwrite_right(call, channel)
    form = Form(await call.body())
    target = call.id("target_id")
    overwrite = _read_overwrite(form, target)
    form.settle()
    if overwrite.type == 0 and target not in guild.roles:
        raise refusal(10009)
    before = call.api.announcer.seen(guild)
    channel.overwrites[target] = overwrite
    _announce_change(call, guild, channel, before)
    return None


async def delete_overwrite(call: Call) -> Json:
    channel = call.channel()
    guild = _guild(call, channel)
    _require_overwrite_right(call, channel)
    if call.id("target_id") not in channel.overwrites:
        raise refusal(10009)
    before = call.api.announcer.seen(guild)
    del channel.overwrites[call.id("target_id")]
    _announce_change(call, guild, channel, before)
    return None


async def create_invite(call: Call) -> Json:
    channel = call.channel(CREATE_INSTANT_INVITE)
    code = secrets.token_urlsafe(6)
    call.world.invites[code] = channel.id
    while len(call.world.invites) > 1000:
        del call.world.invites[next(iter(call.world.invites))]
    return _invite_json(call, code, channel)


async def get_invite(call: Call) -> Json:
    return _invite_json(call, *_invite(call))


async def accept_invite(call: Call) -> Json:
    code, channel = _invite(call)
    guild = _guild(call, channel)
    if call.user.bot:
        raise refusal(20001)
    if call.user.id not in guild.members:
        member = add_member(call.world, guild, call.user)
        call.api.announcer.guild_created(guild, call.user.id)
        call.api.announcer.member("GUILD_MEMBER_ADD", guild, member)
    return _invite_json(call, code, channel)


def annotated(call: Call, channel: Channel) -> int | None:
    """People get their own `permissions` on a channel, and on threads everyone gets their membership."""
    return call.user.id if not call.user.bot or channel.thread is not None else None


def _announce_change(call: Call, guild: Guild, channel: Channel, before: dict[int, frozenset[int]]) -> None:
    call.api.announcer.channel("CHANNEL_UPDATE", channel)
    call.api.announcer.seen_changed(guild, before)


def _guild(call: Call, channel: Channel) -> Guild:
    guild = call.world.guild_of(channel)
    if guild is None:
        raise refusal(50003)
    return guild


def _require_overwrite_right(call: Call, channel: Channel) -> None:
    if channel.thread is not None:
        raise refusal(50024)
    call.require(channel, MANAGE_ROLES)


def _require_in_guild(call: Call, guild: Guild, member: Member, wanted: int) -> None:
    if guild_permissions(guild, member, call.realm.clock.now()) & wanted != wanted:
        raise refusal(50013)


def _parent(guild: Guild, call: Call, form: Form) -> int | None:
    parent_id = form.snowflake("parent_id")
    if parent_id is None:
        return None
    parent = call.world.channels.get(parent_id)
    if parent is None or parent.guild_id != guild.id or parent.type != ChannelType.CATEGORY:
        form.complain("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
        return None
    return parent_id


def _read_overwrite(form: Form, target: int | None) -> Overwrite:
    target = target or form.snowflake("id", required=True) or 0
    kind = form.choice("type", (0, 1), required=True) or 0
    allow, deny = form.integer("allow", high=ALL, default=0) or 0, form.integer("deny", high=ALL, default=0) or 0
    return Overwrite(target, kind, allow, deny)


def _invite(call: Call) -> tuple[str, Channel]:
    code = call.request.match_info["code"]
    channel = call.world.channels.get(call.world.invites.get(code, 0))
    if channel is None:
        raise refusal(10006)
    return code, channel


def _invite_json(call: Call, code: str, channel: Channel) -> dict[str, Json]:
    guild = call.world.guild_of(channel)
    if guild is None:
        raise form_error((), "CHANNEL_TYPE_INVALID", "Invalid channel type")
    return {
        "type": 0,
        "code": code,
        "expires_at": None,
        "guild": guild_json(call.world, guild),
        "guild_id": str(guild.id),
        "channel": {"id": str(channel.id), "type": channel.type, "name": channel.name},
    }


ENDPOINTS = (
    Endpoint("GET", "/guilds/{guild_id}/channels", list_channels),
    Endpoint("POST", "/guilds/{guild_id}/channels", create_channel),
    Endpoint("GET", "/channels/{channel_id}", get_channel),
    Endpoint("PATCH", "/channels/{channel_id}", edit_channel),
    Endpoint("DELETE", "/channels/{channel_id}", delete_channel),
    Endpoint("PUT", "/channels/{channel_id}/permissions/{target_id}", set_overwrite),
    Endpoint("DELETE", "/channels/{channel_id}/permissions/{target_id}", delete_overwrite),
    Endpoint("POST", "/channels/{channel_id}/invites", create_invite),
    Endpoint("GET", "/invites/{code}", get_invite),
    Endpoint("POST", "/invites/{code}", accept_invite),
)
