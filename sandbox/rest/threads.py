"""Threads: begun, joined and left, archived, listed."""

from __future__ import annotations

from sandbox.building import add_thread
from sandbox.errors import refusal
from sandbox.payloads import active_threads, channel_json, member_json, thread_member_json
from sandbox.permissions import (
    CREATE_PRIVATE_THREADS,
    CREATE_PUBLIC_THREADS,
    MANAGE_THREADS,
    READ_MESSAGE_HISTORY,
    SEND_MESSAGES_IN_THREADS,
    may_read,
)
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form
from sandbox.world import Channel, ChannelType, Json, MessageFlag, ThreadState

ARCHIVE_AFTER = (60, 1440, 4320, 10080)
PARENTS = frozenset({ChannelType.TEXT, ChannelType.ANNOUNCEMENT})


async def begin_on_message(call: Call) -> Json:
    channel = call.channel(CREATE_PUBLIC_THREADS)
    message = call.message(channel)
    if message.thread_id is not None:
        raise refusal(160004)
    kind = ChannelType.ANNOUNCEMENT_THREAD if channel.type == ChannelType.ANNOUNCEMENT else ChannelType.PUBLIC_THREAD
    thread = await _begin(call, channel, kind, thread_id=message.id)
    message.thread_id = thread.id
    message.flags |= MessageFlag.HAS_THREAD
    call.api.announcer.message("MESSAGE_UPDATE", message)
    return channel_json(call.world, thread, call.user.id)


async def begin(call: Call) -> Json:
    channel = call.channel()
    form = Form(await call.body())
    kind = form.choice("type", (10, 11, 12)) or ChannelType.PRIVATE_THREAD
    form.settle()
    private = kind == ChannelType.PRIVATE_THREAD
    call.require(channel, CREATE_PRIVATE_THREADS if private else CREATE_PUBLIC_THREADS)
    return channel_json(call.world, await _begin(call, channel, kind), call.user.id)


async def edit_thread(call: Call, thread: Channel, form: Form) -> Json:
    """PATCH /channels/{thread}: the owner may rename and archive, MANAGE_THREADS may all."""
    state = _state(thread)
    manages = call.can(thread, MANAGE_THREADS)
    name = form.text("name", low=1, high=100)
    archived, locked = form.boolean("archived", state.archived), form.boolean("locked", state.locked)
    minutes = form.choice("auto_archive_duration", ARCHIVE_AFTER) or state.auto_archive_minutes
    form.settle()
    reopening = set(form.body) == {"archived"} and not archived and not state.locked
    if not manages and state.owner_id != call.user.id and not reopening:
        raise refusal(50013)
    if locked != state.locked and not manages:
        raise refusal(50013)
    thread.name = name or thread.name
    if archived != state.archived:
        state.archived_at = call.realm.clock.now()
    state.archived, state.locked, state.auto_archive_minutes = archived, locked, minutes
    call.api.announcer.thread("THREAD_UPDATE", thread)
    return channel_json(call.world, thread, call.user.id)


def remove_thread(call: Call, thread: Channel) -> None:
    guild = call.world.guilds[thread.guild_id or 0]
    call.api.announcer.thread_deleted(thread)
    call.api.poster.drop_channel(thread)
    guild.channel_ids.remove(thread.id)
    del call.world.channels[thread.id]


async def active(call: Call) -> Json:
    guild, _ = call.guild()
    if not call.user.bot:
        raise refusal(20002)
    return {**_listing(call, active_threads(call.world, guild, call.user.id)), "has_more": False}


async def archived_public(call: Call) -> Json:
    channel = call.channel(READ_MESSAGE_HISTORY)
    return _archived(call, channel, private=False)


async def archived_private(call: Call) -> Json:
    channel = call.channel(READ_MESSAGE_HISTORY | MANAGE_THREADS)
    return _archived(call, channel, private=True)


async def archived_joined(call: Call) -> Json:
    channel = call.channel(READ_MESSAGE_HISTORY)
    return _archived(call, channel, private=True, joined_by=call.user.id)


async def list_members(call: Call) -> Json:
    thread = call.channel()
    call.require_members_intent()
    return [_member_json(call, thread, user) for user in _state(thread).members]


async def get_member(call: Call) -> Json:
    thread = call.channel()
    user = call.id("user_id")
    if user not in _state(thread).members:
        raise refusal(10007)
    return _member_json(call, thread, user)


async def add_member(call: Call) -> Json:
    """`@me` joins; others are added by whoever may write there."""
    thread = call.channel()
    state, user = _state(thread), call.id("user_id")
    if state.archived:
        raise refusal(50083)
    if user != call.user.id:
        call.require(thread, SEND_MESSAGES_IN_THREADS)
    guild = call.world.guilds[thread.guild_id or 0]
    if user not in guild.members:
        raise refusal(10013)
    if user not in state.members:
        state.members[user] = call.realm.clock.now()
        if user != call.user.id:
            _introduce(call, thread, user)
        call.api.announcer.thread_members(thread, added=[user])
    return None


async def remove_member(call: Call) -> Json:
    thread = call.channel()
    state, user = _state(thread), call.id("user_id")
    own_private = thread.type == ChannelType.PRIVATE_THREAD and state.owner_id == call.user.id
    if user != call.user.id and not own_private:
        call.require(thread, MANAGE_THREADS)
    if user not in state.members:
        raise refusal(10007)
    del state.members[user]
    call.api.announcer.thread_members(thread, removed=[user])
    return None


async def _begin(call: Call, channel: Channel, kind: int, thread_id: int | None = None) -> Channel:
    form = Form(await call.body())
    name = form.text("name", low=1, high=100, required=True)
    minutes = form.choice("auto_archive_duration", ARCHIVE_AFTER) or 1440
    form.settle()
    if channel.type not in PARENTS:
        raise refusal(50024)
    guild = call.world.guilds[channel.guild_id or 0]
    thread = add_thread(call.world, guild, channel, name or "", kind, call.user, thread_id=thread_id)
    _state(thread).auto_archive_minutes = minutes
    call.api.announcer.thread("THREAD_CREATE", thread, newly_created=True)
    return thread


def _introduce(call: Call, thread: Channel, user: int) -> None:
    """Who is taken into a thread learns of it as of a new one."""
    call.realm.hub.to_user(user, "THREAD_CREATE", channel_json(call.world, thread, user))


def _archived(call: Call, channel: Channel, *, private: bool, joined_by: int | None = None) -> Json:
    """Latest archived first; `before` is a timestamp, or for joined threads a thread's id."""
    form = Form(dict(call.request.query))
    limit = form.integer("limit", low=2, high=100, default=50) or 50
    before = form.timestamp("before") if joined_by is None else form.snowflake("before")
    form.settle()
    guild = call.world.guild_of(channel)
    if guild is None:
        raise refusal(50024)
    kinds = {ChannelType.PRIVATE_THREAD} if private else {ChannelType.PUBLIC_THREAD, ChannelType.ANNOUNCEMENT_THREAD}
    found = [
        t
        for t in call.world.threads_of(guild)
        if t.parent_id == channel.id
        and t.type in kinds
        and _state(t).archived
        and (joined_by is None or joined_by in _state(t).members)
    ]
    if joined_by is None:
        found.sort(key=lambda t: _state(t).archived_at, reverse=True)
        found = [t for t in found if before is None or _state(t).archived_at < before]
    else:
        found.sort(key=lambda t: t.id, reverse=True)
        found = [t for t in found if before is None or t.id < before]
    return {**_listing(call, found[:limit]), "has_more": len(found) > limit}


def _listing(call: Call, threads: list[Channel]) -> dict[str, Json]:
    mine = [t for t in threads if call.user.id in _state(t).members]
    return {
        "threads": [
            channel_json(call.world, t, call.user.id) for t in threads if may_read(call.world, t, call.user.id)
        ],
        "members": [thread_member_json(t, call.user.id) for t in mine],
    }


def _member_json(call: Call, thread: Channel, user: int) -> dict[str, Json]:
    body = thread_member_json(thread, user)
    member = call.world.member(thread, user)
    if member is not None and call.request.query.get("with_member") in ("1", "true", "True"):
        body["member"] = member_json(call.world, member)
    return body


def _state(thread: Channel) -> ThreadState:
    if thread.thread is None:
        raise refusal(50024)
    return thread.thread


_MEMBERS = "/channels/{channel_id}/thread-members"

ENDPOINTS = (
    Endpoint("POST", "/channels/{channel_id}/messages/{message_id}/threads", begin_on_message),
    Endpoint("POST", "/channels/{channel_id}/threads", begin),
    Endpoint("GET", "/guilds/{guild_id}/threads/active", active),
    Endpoint("GET", "/channels/{channel_id}/threads/archived/public", archived_public),
    Endpoint("GET", "/channels/{channel_id}/threads/archived/private", archived_private),
    Endpoint("GET", "/channels/{channel_id}/users/@me/threads/archived/private", archived_joined),
    Endpoint("GET", _MEMBERS, list_members),
    Endpoint("GET", _MEMBERS + "/{user_id}", get_member),
    Endpoint("PUT", _MEMBERS + "/{user_id}", add_member),
    Endpoint("DELETE", _MEMBERS + "/{user_id}", remove_member),
)
