"""Channels and their permission overwrites."""

from __future__ import annotations

from sandbox.events import VisibleChannels
from sandbox.guild_ops import add_channel, remove_channel, remove_thread
from sandbox.payloads import channel_json
from sandbox.permissions import ALL, MANAGE_CHANNELS, MANAGE_ROLES, MANAGE_THREADS, may_read
from sandbox.responses import api_error
from sandbox.rest.request import Endpoint, Request
from sandbox.rest.threads import edit_thread
from sandbox.state import Channel, ChannelType, Guild, Overwrite, Payload
from sandbox.validation.forms import Form

CREATABLE_TYPES = frozenset({0, 2, 4, 5, 13, 15})


async def get_channel(request: Request) -> Payload:
    channel = request.channel()
    return channel_json(request.state, channel, request.user)


async def list_channels(request: Request) -> list[Payload]:
    """All channels for bots, those that they may open for people."""
    guild, member = request.guild()
    channels = request.state.channels_of(guild)
    if not request.user.bot:
        channels = [c for c in channels if c.type == ChannelType.CATEGORY or may_read(request.state, c, member.user_id)]
    return [channel_json(request.state, c, request.user) for c in channels]


async def create_channel(request: Request) -> Payload:
    guild = request.managed_guild(MANAGE_CHANNELS)
    form = Form(await request.body())
    name = form.text("name", low=1, high=100, required=True)
    kind = form.choice("type", CREATABLE_TYPES) or 0
    topic = form.text("topic", high=1024)
    nsfw = form.boolean("nsfw")
    parent_id = _parent(guild, request, form)
    overwrites = [_read_overwrite(o, None) for o in form.forms("permission_overwrites", high=100) or []]
    form.raise_if_invalid()
    shown_name = name.lower().replace(" ", "-") if name and kind in (0, 5, 15) else name
    channel = add_channel(
        request.state, guild, shown_name or "", kind, *overwrites, topic=topic, nsfw=nsfw, parent_id=parent_id
    )
    request.events.channel("CHANNEL_CREATE", channel)
    return channel_json(request.state, channel, request.user)


async def edit_channel(request: Request) -> Payload:
    channel = request.channel()
    form = Form(await request.body())
    if channel.thread is not None:
        return await edit_thread(request, channel, form)
    request.require(channel, MANAGE_CHANNELS)
    guild = request.state.guild_of(channel)
    name, topic = form.text("name", low=1, high=100), form.text("topic", high=1024)
    nsfw, position = form.boolean("nsfw", channel.nsfw), form.integer("position", default=channel.position)
    parent_id = _parent(guild, request, form) if form.has("parent_id") else channel.parent_id
    overwrites = [_read_overwrite(o, None) for o in form.forms("permission_overwrites", high=100) or []]
    form.raise_if_invalid()
    before = request.events.visible_channels(guild)
    channel.name = name or channel.name
    channel.topic = topic if form.has("topic") else channel.topic
    channel.nsfw, channel.position, channel.parent_id = nsfw, position or 0, parent_id
    if form.has("permission_overwrites"):
        channel.overwrites = {o.target_id: o for o in overwrites}
    _dispatch_update(request, guild, channel, before)
    return channel_json(request.state, channel, request.user)


async def delete_channel(request: Request) -> Payload:
    channel = request.channel()
    body = channel_json(request.state, channel, request.user)
    if channel.thread is not None:
        request.require(channel, MANAGE_THREADS)
        remove_thread(request.state, request.events, request.messages, channel)
    else:
        request.require(channel, MANAGE_CHANNELS)
        remove_channel(request.state, request.events, request.messages, channel)
    return body


async def set_overwrite(request: Request) -> None:
    channel = request.channel()
    guild = request.state.guild_of(channel)
    _require_manage_roles(request, channel)
    form = Form(await request.body())
    target = request.id("target_id")
    overwrite = _read_overwrite(form, target)
    form.raise_if_invalid()
    if overwrite.type == 0 and target not in guild.roles:
        raise api_error(10009)
    before = request.events.visible_channels(guild)
    channel.overwrites[target] = overwrite
    _dispatch_update(request, guild, channel, before)
    return


async def delete_overwrite(request: Request) -> None:
    channel = request.channel()
    guild = request.state.guild_of(channel)
    _require_manage_roles(request, channel)
    if request.id("target_id") not in channel.overwrites:
        raise api_error(10009)
    before = request.events.visible_channels(guild)
    del channel.overwrites[request.id("target_id")]
    _dispatch_update(request, guild, channel, before)
    return


def _dispatch_update(request: Request, guild: Guild, channel: Channel, before: VisibleChannels) -> None:
    request.events.channel("CHANNEL_UPDATE", channel)
    request.events.visibility_changed(guild, before)


def _require_manage_roles(request: Request, channel: Channel) -> None:
    if channel.thread is not None:
        raise api_error(50024)
    request.require(channel, MANAGE_ROLES)


def _parent(guild: Guild, request: Request, form: Form) -> int | None:
    parent_id = form.snowflake("parent_id")
    if parent_id is None:
        return None
    parent = request.state.channels.get(parent_id)
    if parent is None or parent.guild_id != guild.id or parent.type != ChannelType.CATEGORY:
        form.add_error("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
        return None
    return parent_id


def _read_overwrite(form: Form, target: int | None) -> Overwrite:
    target = target or form.snowflake("id", required=True) or 0
    kind = form.choice("type", (0, 1), required=True) or 0
    allow, deny = form.integer("allow", high=ALL, default=0) or 0, form.integer("deny", high=ALL, default=0) or 0
    return Overwrite(target, kind, allow, deny)


ENDPOINTS = (
    Endpoint("GET", "/guilds/{guild_id}/channels", list_channels),
    Endpoint("POST", "/guilds/{guild_id}/channels", create_channel),
    Endpoint("GET", "/channels/{channel_id}", get_channel),
    Endpoint("PATCH", "/channels/{channel_id}", edit_channel),
    Endpoint("DELETE", "/channels/{channel_id}", delete_channel),
    Endpoint("PUT", "/channels/{channel_id}/permissions/{target_id}", set_overwrite),
    Endpoint("DELETE", "/channels/{channel_id}/permissions/{target_id}", delete_overwrite),
)
