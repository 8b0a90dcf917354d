"""Threads: starting, joining, leaving, archiving and listing them."""

from __future__ import annotations

from sandbox.drafts import read_draft
from sandbox.guild_ops import add_thread
from sandbox.payloads import active_threads, channel_json, member_json, thread_member_json
from sandbox.permissions import (
    ATTACH_FILES,
    CREATE_PRIVATE_THREADS,
    CREATE_PUBLIC_THREADS,
    MANAGE_THREADS,
    READ_MESSAGE_HISTORY,
    SEND_MESSAGES,
    SEND_MESSAGES_IN_THREADS,
    may_read,
)
from sandbox.responses import api_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Channel, ChannelType, Message, MessageFlag, Payload, ThreadMetadata
from sandbox.validation.forms import Form

ARCHIVE_AFTER = (60, 1440, 4320, 10080)
PARENTS = frozenset({ChannelType.TEXT, ChannelType.ANNOUNCEMENT, ChannelType.FORUM})


async def start_on_message(request: Request) -> Payload:
    channel = request.channel(CREATE_PUBLIC_THREADS)
    message = request.message(channel)
    if message.thread_id is not None:
        raise api_error(160004)
    kind = ChannelType.ANNOUNCEMENT_THREAD if channel.type == ChannelType.ANNOUNCEMENT else ChannelType.PUBLIC_THREAD
    thread = _start(request, channel, kind, Form(await request.body()), thread_id=message.id)
    message.thread_id = thread.id
    message.flags |= MessageFlag.HAS_THREAD
    request.events.message("MESSAGE_UPDATE", message)
    return channel_json(request.state, thread, request.user)


async def start(request: Request) -> Payload:
    channel = request.channel()
    if channel.type == ChannelType.FORUM:
        return await _start_post(request, channel)
    form = Form(await request.body())
    kind = form.choice("type", (10, 11, 12)) or ChannelType.PRIVATE_THREAD
    form.raise_if_invalid()
    private = kind == ChannelType.PRIVATE_THREAD
    request.require(channel, CREATE_PRIVATE_THREADS if private else CREATE_PUBLIC_THREADS)
    return channel_json(request.state, _start(request, channel, kind, form), request.user)


async def edit_thread(request: Request, thread: Channel, form: Form) -> Payload:
    """PATCH /channels/{thread}: the owner may rename and archive; locking needs MANAGE_THREADS."""
    metadata = _metadata(thread)
    manages = request.can(thread, MANAGE_THREADS)
    name = form.text("name", low=1, high=100)
    archived, locked = form.boolean("archived", metadata.archived), form.boolean("locked", metadata.locked)
    minutes = form.choice("auto_archive_duration", ARCHIVE_AFTER) or metadata.auto_archive_minutes
    form.raise_if_invalid()
    reopening = set(form.body) == {"archived"} and not archived and not metadata.locked
    if not manages and metadata.owner_id != request.user.id and not reopening:
        raise api_error(50013)
    if locked != metadata.locked and not manages:
        raise api_error(50013)
    thread.name = name or thread.name
    if archived != metadata.archived:
        metadata.archived_at = request.server.clock.now()
    metadata.archived, metadata.locked, metadata.auto_archive_minutes = archived, locked, minutes
    request.events.thread("THREAD_UPDATE", thread)
    return channel_json(request.state, thread, request.user)


async def list_active(request: Request) -> Payload:
    guild, _ = request.guild()
    if not request.user.bot:
        raise api_error(20002)
    return {**_listing(request, active_threads(request.state, guild, request.user.id)), "has_more": False}


async def list_archived_public(request: Request) -> Payload:
    channel = request.channel(READ_MESSAGE_HISTORY)
    return _archived_json(request, channel, private=False)


async def list_archived_private(request: Request) -> Payload:
    channel = request.channel(READ_MESSAGE_HISTORY | MANAGE_THREADS)
    return _archived_json(request, channel, private=True)


async def list_archived_joined(request: Request) -> Payload:
    channel = request.channel(READ_MESSAGE_HISTORY)
    return _archived_json(request, channel, private=True, joined_by=request.user.id)


async def get_member(request: Request) -> Payload:
    thread = request.channel()
    user = request.id("user_id")
    if user not in _metadata(thread).members:
        raise api_error(10007)
    return _member_json(request, thread, user)


async def add_member(request: Request) -> None:
    """`@me` joins; adding others needs SEND_MESSAGES_IN_THREADS."""
    thread = request.channel()
    metadata, user = _metadata(thread), request.id("user_id")
    if metadata.archived:
        raise api_error(50083)
    if user != request.user.id:
        request.require(thread, SEND_MESSAGES_IN_THREADS)
    guild = request.state.guild_of(thread)
    if user not in guild.members:
        raise api_error(10013)
    if user not in metadata.members:
        metadata.members[user] = request.server.clock.now()
        if user != request.user.id:
            _send_thread_create(request, thread, user)
        request.events.thread_members(thread, added=[user])
    return


async def remove_member(request: Request) -> None:
    thread = request.channel()
    metadata, user = _metadata(thread), request.id("user_id")
    own_private = thread.type == ChannelType.PRIVATE_THREAD and metadata.owner_id == request.user.id
    if user != request.user.id and not own_private:
        request.require(thread, MANAGE_THREADS)
    if user not in metadata.members:
        raise api_error(10007)
    del metadata.members[user]
    request.events.thread_members(thread, removed=[user])
    return


def _start(request: Request, channel: Channel, kind: int, form: Form, *, thread_id: int | None = None) -> Channel:
    name = form.text("name", low=1, high=100, required=True)
    minutes = form.choice("auto_archive_duration", ARCHIVE_AFTER) or 1440
    form.raise_if_invalid()
    if channel.type not in PARENTS:
        raise api_error(50024)
    thread = add_thread(request.state, channel, name or "", kind, request.user, thread_id=thread_id)
    _metadata(thread).auto_archive_minutes = minutes
    request.events.thread("THREAD_CREATE", thread, newly_created=True)
    return thread


async def _start_post(request: Request, forum: Channel) -> Payload:
    """A forum's thread and its first message, which have the same id."""
    request.require(forum, SEND_MESSAGES)
    form = Form(await request.body())
    inner = form.form("message", required=True)
    form.text("name", low=1, high=100, required=True)
    form.raise_if_invalid()
    assert inner is not None  # noqa: S101 - required above
    if inner.body.get("attachments") or request.files:
        request.require(forum, ATTACH_FILES)
    draft = read_draft(request.server, request.user, forum.id, inner.body, request.files)
    if draft.is_empty:
        raise api_error(50006)
    thread = _start(request, forum, ChannelType.PUBLIC_THREAD, form)
    first = Message(thread.id, thread.id, request.user.id)
    message = request.messages.post(thread, request.user, draft, like=first)
    return {**channel_json(request.state, thread, request.user), "message": request.message_json(message)}


def _send_thread_create(request: Request, thread: Channel, user: int) -> None:
    """Like Discord, sends a THREAD_CREATE to a user who was added."""
    body = channel_json(request.state, thread, request.state.users[user])
    request.server.sessions.send_to_user(user, "THREAD_CREATE", body, thread.guild_id)


def _archived_json(request: Request, channel: Channel, *, private: bool, joined_by: int | None = None) -> Payload:
    """Latest archived first. `before` is a timestamp; for joined threads, a thread's id."""
    form = Form(dict(request.http.query))
    limit = form.integer("limit", low=2, high=100, default=50) or 50
    before = form.timestamp("before") if joined_by is None else form.snowflake("before")
    form.raise_if_invalid()
    guild = request.state.guild_of(channel)
    kinds = {ChannelType.PRIVATE_THREAD} if private else {ChannelType.PUBLIC_THREAD, ChannelType.ANNOUNCEMENT_THREAD}
    found = [
        t
        for t in request.state.threads_of(guild)
        if t.parent_id == channel.id
        and t.type in kinds
        and _metadata(t).archived
        and (joined_by is None or joined_by in _metadata(t).members)
    ]
    if joined_by is None:
        found.sort(key=lambda t: _metadata(t).archived_at, reverse=True)
        found = [t for t in found if before is None or _metadata(t).archived_at < before]
    else:
        found.sort(key=lambda t: t.id, reverse=True)
        found = [t for t in found if before is None or t.id < before]
    return {**_listing(request, found[:limit]), "has_more": len(found) > limit}


def _listing(request: Request, threads: list[Channel]) -> Payload:
    mine = [t for t in threads if request.user.id in _metadata(t).members]
    return {
        "threads": [
            channel_json(request.state, t, request.user) for t in threads if may_read(request.state, t, request.user.id)
        ],
        "members": [thread_member_json(t, request.user.id) for t in mine],
    }


def _member_json(request: Request, thread: Channel, user: int) -> Payload:
    body = thread_member_json(thread, user)
    member = request.state.guild_of(thread).members.get(user)
    if member is not None and request.http.query.get("with_member") in ("1", "true", "True"):
        body["member"] = member_json(request.state, member)
    return body


def _metadata(thread: Channel) -> ThreadMetadata:
    if thread.thread is None:
        raise api_error(50024)
    return thread.thread


_MEMBERS = "/channels/{channel_id}/thread-members"

ENDPOINTS = (
    Endpoint("POST", "/channels/{channel_id}/messages/{message_id}/threads", start_on_message, status=201),
    Endpoint("POST", "/channels/{channel_id}/threads", start, status=201),
    Endpoint("GET", "/guilds/{guild_id}/threads/active", list_active),
    Endpoint("GET", "/channels/{channel_id}/threads/archived/public", list_archived_public),
    Endpoint("GET", "/channels/{channel_id}/threads/archived/private", list_archived_private),
    Endpoint("GET", "/channels/{channel_id}/users/@me/threads/archived/private", list_archived_joined),
    Endpoint("GET", _MEMBERS + "/{user_id}", get_member),
    Endpoint("PUT", _MEMBERS + "/{user_id}", add_member),
    Endpoint("DELETE", _MEMBERS + "/{user_id}", remove_member),
)
