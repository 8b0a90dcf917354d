"""Messages: history, posting with replies and forwards, upload slots, edits, deletions, reactions, typing."""

from __future__ import annotations

import secrets
from urllib.parse import unquote

from sandbox.drafts import read_draft
from sandbox.message_service import REPLY_TYPE
from sandbox.payloads import custom_emoji
from sandbox.permissions import (
    ADD_REACTIONS,
    ATTACH_FILES,
    EMBED_LINKS,
    MANAGE_MESSAGES,
    READ_MESSAGE_HISTORY,
    send_permission,
)
from sandbox.responses import api_error, form_error
from sandbox.rest.request import Endpoint, Request
from sandbox.signed_urls import safe_filename
from sandbox.state import WRITABLE_TYPES, Channel, Json, Message, MessageFlag, Payload, Upload, snowflake_time
from sandbox.validation.forms import Form

FORWARD = 1
BULK_DELETE_MAX_AGE_S = 14 * 24 * 3600
EDITABLE_TYPES = frozenset({0, REPLY_TYPE, 20, 23})
MAX_REACTION_EMOJI = 20


async def get_history(request: Request) -> list[Payload]:
    """Newest first, with any of the parameters `before`, `after`, `around`."""
    channel = request.channel()
    form = Form(dict(request.http.query))
    limit = form.integer("limit", low=1, high=100, default=50) or 50
    before, after, around = (form.snowflake(name) for name in ("before", "after", "around"))
    form.raise_if_invalid()
    if not request.can(channel, READ_MESSAGE_HISTORY):
        return []
    ids = list(channel.messages)
    if around is not None:
        newer = [i for i in ids if i > around][: limit // 2]
        ids = [i for i in ids if i <= around][-(limit - len(newer)) :] + newer
    elif after is not None:
        ids = [i for i in ids if i > after][:limit]
    else:
        ids = [i for i in ids if before is None or i < before][-limit:]
    return [request.message_json(channel.messages[i]) for i in reversed(ids)]


async def get_message(request: Request) -> Payload:
    return request.message_json(request.message(request.channel()))


async def create_upload_slots(request: Request) -> Payload:
    """URLs to upload files to before they are attached to a message."""
    channel = request.channel(ATTACH_FILES)
    form = Form(await request.body())
    slots: list[Json] = []
    opened: dict[str, Upload] = {}
    for position, item in enumerate(form.forms("files", low=1, high=10, required=True) or []):
        name = item.text("filename", low=1, high=1024, required=True)
        size = item.integer("file_size", low=1, required=True)
        if size is not None and size > request.server.limits.file_bytes:
            raise api_error(40005)
        if name is None or size is None:
            continue
        key = f"{secrets.token_urlsafe(24)}/{safe_filename(name)}"
        opened[key] = Upload(key, request.user.id, channel.id, name, size)
        slots.append(
            {
                "id": item.body.get("id", str(position)),
                "upload_url": f"{request.server.base_url}/uploads/{key}",
                "upload_filename": key,
            }
        )
    form.raise_if_invalid()
    request.state.uploads |= opened
    while len(request.state.uploads) > request.server.limits.open_uploads:
        del request.state.uploads[next(iter(request.state.uploads))]
    return {"attachments": slots}


async def post_message(request: Request) -> Payload:
    channel = request.channel()
    body = await request.body()
    if channel.type not in WRITABLE_TYPES:
        raise api_error(50008)
    request.require(channel, send_permission(channel))
    if channel.thread is not None and channel.thread.archived and channel.thread.locked:
        raise api_error(50083)
    repeated = _repeated(channel, request.user.id, body)
    if repeated is not None:
        return request.message_json(repeated)
    message = _new_message(request, channel, body)
    if body.get("attachments") or request.files:
        request.require(channel, ATTACH_FILES)
    if not request.can(channel, EMBED_LINKS):
        body.pop("embeds", None)
    draft = read_draft(request.server, request.user, channel.id, body, request.files)
    if draft.is_empty and message.snapshot is None:
        raise api_error(50006)
    _join_thread(request, channel)
    return request.message_json(request.messages.post(channel, request.user, draft, like=message))


async def edit_message(request: Request) -> Payload:
    channel = request.channel()
    message = request.message(channel, history=False)
    body = await request.body()
    if message.author_id != request.user.id:
        if set(body) != {"flags"} or not request.can(channel, MANAGE_MESSAGES):
            raise api_error(50005)
        flags = Form(body).integer("flags") or 0
        request.messages.suppress_embeds(message, bool(flags & MessageFlag.SUPPRESS_EMBEDS))
        return request.message_json(message)
    if message.snapshot is not None or message.type not in EDITABLE_TYPES:
        raise api_error(50021)
    if not request.user.bot:
        body = {k: v for k, v in body.items() if k in ("content", "attachments", "flags", "allowed_mentions")}
    if request.files:
        request.require(channel, ATTACH_FILES)
    request.messages.edit(message, request.user, body, request.files)
    return request.message_json(message)


async def delete_message(request: Request) -> None:
    channel = request.channel()
    message = channel.messages.get(request.id("message_id")) or request.state.ephemerals.get(request.id("message_id"))
    own = message is not None and request.user.id in (message.author_id, message.visible_to)
    if message is None or (message.visible_to is not None and not own):
        raise api_error(10008)
    if not own:
        request.require(channel, MANAGE_MESSAGES)
    request.messages.delete(message)
    return


async def bulk_delete(request: Request) -> None:
    channel = request.channel(MANAGE_MESSAGES)
    form = Form(await request.body())
    ids = form.snowflakes("messages", high=1000)
    form.raise_if_invalid()
    if ids is None:
        raise form_error(("messages",), "BASE_TYPE_REQUIRED", "This field is required")
    if not 2 <= len(set(ids)) <= 100:
        raise api_error(50016)
    oldest = request.server.clock.now() - BULK_DELETE_MAX_AGE_S
    if any(snowflake_time(i).timestamp() < oldest for i in ids):
        raise api_error(50034)
    found = [channel.messages[i] for i in dict.fromkeys(ids) if i in channel.messages]
    if found:
        request.messages.bulk_delete(channel, found)
    return


async def start_typing(request: Request) -> None:
    channel = request.channel()
    request.require(channel, send_permission(channel))
    request.events.typing(channel, request.user.id)
    return


async def add_reaction(request: Request) -> None:
    channel, message, emoji = _reaction_target(request)
    request.require(channel, READ_MESSAGE_HISTORY)
    who = message.reactions.get(emoji)
    if not who:
        request.require(channel, ADD_REACTIONS)
        if len(message.reactions) >= MAX_REACTION_EMOJI:
            raise api_error(30010)
        who = message.reactions[emoji] = []
    if request.user.id not in who:
        who.append(request.user.id)
        request.events.reaction("MESSAGE_REACTION_ADD", message, request.user.id, emoji)
    return


async def remove_reaction(request: Request) -> None:
    """The caller's (`@me`) or, with MANAGE_MESSAGES, any user's."""
    channel, message, emoji = _reaction_target(request)
    user_id = request.id("user_id")
    if user_id != request.user.id:
        request.require(channel, MANAGE_MESSAGES)
    who = message.reactions.get(emoji, [])
    if user_id in who:
        who.remove(user_id)
        if not who:
            del message.reactions[emoji]
        request.events.reaction("MESSAGE_REACTION_REMOVE", message, user_id, emoji)
    return


async def clear_reactions(request: Request) -> None:
    channel = request.channel(MANAGE_MESSAGES)
    message = request.message(channel)
    message.reactions.clear()
    request.events.reactions_cleared(message)
    return


def _reaction_target(request: Request) -> tuple[Channel, Message, str]:
    channel = request.channel()
    message = request.message(channel, history=False)
    emoji = unquote(request.http.match_info["emoji"])
    own = custom_emoji(request.state, emoji)
    # An emoji of another guild can be used by the message's readers once somebody has reacted with it.
    known = _is_emoji(emoji) if own is None else own.guild_id == channel.guild_id or emoji in message.reactions
    if not known:
        raise api_error(10014)
    return channel, message, emoji


def _is_emoji(text: str) -> bool:
    """Roughly: has a character of an emoji block, and no ASCII letters."""
    return (
        0 < len(text) <= 16
        and any(ord(c) > 0x2000 or c in "\u00a9\u00ae" for c in text)
        and not any(c.isalpha() and c.isascii() for c in text)
    )


def _repeated(channel: Channel, author_id: int, body: dict[str, object]) -> Message | None:
    """With `enforce_nonce`: the recent message of the same author and nonce."""
    nonce = body.get("nonce")
    if nonce is None or not body.get("enforce_nonce"):
        return None
    recent = list(channel.messages.values())[-50:]
    return next((m for m in recent if m.author_id == author_id and m.nonce == nonce), None)


def _join_thread(request: Request, channel: Channel) -> None:
    """Posting in a thread joins it, and unarchives it."""
    thread = channel.thread
    if thread is None:
        return
    if thread.archived:
        thread.archived = False
        request.events.thread("THREAD_UPDATE", channel)
    if request.user.id not in thread.members:
        thread.members[request.user.id] = request.server.clock.now()
        request.events.thread_members(channel, added=[request.user.id])


def _new_message(request: Request, channel: Channel, body: dict[str, object]) -> Message:
    """With its reference: to the original of a reply, or with the snapshot of a forward."""
    message = Message(0, channel.id, request.user.id)
    form = Form(body)
    reference = form.form("message_reference")
    if reference is None:
        return message
    target_id = reference.snowflake("message_id", required=True)
    source_id = reference.snowflake("channel_id") or channel.id
    kind = reference.choice("type", (0, FORWARD)) or 0
    form.raise_if_invalid()
    if kind == FORWARD:
        source = request.check_channel(source_id, READ_MESSAGE_HISTORY)
        original = source.messages.get(target_id or 0)
        if original is None:
            raise api_error(10008)
        message.snapshot = request.messages.snapshot_of(original)
        message.flags |= MessageFlag.HAS_SNAPSHOT
    else:
        source = channel
        if not request.can(channel, READ_MESSAGE_HISTORY):
            raise api_error(160002)
        if target_id not in channel.messages:
            if not reference.boolean("fail_if_not_exists", default=True):
                return message
            raise form_error(("message_reference",), "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
        message.type = REPLY_TYPE
    message.reference = {
        "type": kind,
        "guild_id": str(source.guild_id),
        "channel_id": str(source.id),
        "message_id": str(target_id),
    }
    return message


_CHANNEL = "/channels/{channel_id}"
_MESSAGE = "/channels/{channel_id}/messages/{message_id}"

ENDPOINTS = (
    Endpoint("GET", _CHANNEL + "/messages", get_history),
    Endpoint("POST", _CHANNEL + "/messages", post_message),
    Endpoint("POST", _CHANNEL + "/messages/bulk-delete", bulk_delete),
    Endpoint("POST", _CHANNEL + "/attachments", create_upload_slots),
    Endpoint("POST", _CHANNEL + "/typing", start_typing),
    Endpoint("GET", _MESSAGE, get_message),
    Endpoint("PATCH", _MESSAGE, edit_message),
    Endpoint("DELETE", _MESSAGE, delete_message),
    Endpoint("PUT", _MESSAGE + "/reactions/{emoji}/@me", add_reaction),
    Endpoint("DELETE", _MESSAGE + "/reactions/{emoji}/{user_id}", remove_reaction),
    Endpoint("DELETE", _MESSAGE + "/reactions", clear_reactions),
)
