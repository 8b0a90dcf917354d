"""Messages: history, posting, replies and forwards, edits, deletions, typing."""

from __future__ import annotations

from sandbox.clock import snowflake_time
from sandbox.drafts import read_draft
from sandbox.errors import form_error, refusal
from sandbox.permissions import (
    ATTACH_FILES,
    EMBED_LINKS,
    MANAGE_MESSAGES,
    READ_MESSAGE_HISTORY,
    send_permission,
)
from sandbox.posting import REPLY_TYPE
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form
from sandbox.world import WRITABLE_TYPES, Channel, Json, Message, MessageFlag

FORWARD = 1
BULK_AGE_S = 14 * 24 * 3600
ORDINARY_TYPES = frozenset({0, REPLY_TYPE, 20, 23})


async def history(call: Call) -> Json:
    """Newest first, whichever way the page is cut."""
    channel = call.channel()
    page = read_page(call)
    if not call.can(channel, READ_MESSAGE_HISTORY):
        return []
    return [call.message_json(m) for m in page.cut(channel)]


async def get_message(call: Call) -> Json:
    return call.message_json(call.message(call.channel()))


async def post_message(call: Call) -> Json:
    channel = call.channel()
    body = await call.body()
    if channel.type not in WRITABLE_TYPES:
        raise refusal(50008)
    call.require(channel, send_permission(channel))
    if channel.thread is not None and channel.thread.archived and channel.thread.locked:
        raise refusal(50083)
    repeated = _repeated(channel, call.user.id, body)
    if repeated is not None:
        return call.message_json(repeated)
    message = _refer(call, channel, body)
    if body.get("attachments") or call.files:
        call.require(channel, ATTACH_FILES)
    if not call.can(channel, EMBED_LINKS):
        body.pop("embeds", None)
    draft = read_draft(call.realm, call.user, channel.id, body, call.files)
    if draft.is_empty and message.snapshot is None:
        raise refusal(50006)
    _enter_thread(call, channel)
    return call.message_json(call.api.poster.post(channel, call.user, draft, like=message))


async def edit_message(call: Call) -> Json:
    channel = call.channel()
    message = call.message(channel, history=False)
    body = await call.body()
    if message.author_id != call.user.id:
        if set(body) != {"flags"} or not call.can(channel, MANAGE_MESSAGES):
            raise refusal(50005)
        flags = Form(body).integer("flags") or 0
        call.api.poster.suppress_embeds(message, bool(flags & MessageFlag.SUPPRESS_EMBEDS))
        return call.message_json(message)
    if message.snapshot is not None or message.type not in ORDINARY_TYPES:
        raise refusal(50021)
    if not call.user.bot:
        body = {k: v for k, v in body.items() if k in ("content", "attachments", "flags", "allowed_mentions")}
    if call.files:
        call.require(channel, ATTACH_FILES)
    call.api.poster.edit(message, call.user, body, call.files)
    return call.message_json(message)


async def delete_message(call: Call) -> Json:
    channel = call.channel()
    message = channel.messages.get(call.id("message_id")) or call.world.ephemerals.get(call.id("message_id"))
    own = message is not None and call.user.id in (message.author_id, message.visible_to)
    if message is None or (message.visible_to is not None and not own):
        raise refusal(10008)
    if not own:
        call.require(channel, MANAGE_MESSAGES)
    call.api.poster.delete(message)
    return None


async def bulk_delete(call: Call) -> Json:
    channel = call.channel(MANAGE_MESSAGES)
    if channel.guild_id is None:
        raise refusal(50003)
    form = Form(await call.body())
    ids = form.snowflakes("messages", high=1000)
    form.settle()
    if ids is None:
        raise form_error(("messages",), "BASE_TYPE_REQUIRED", "This field is required")
    if not 2 <= len(set(ids)) <= 100:
        raise refusal(50016)
    oldest = call.realm.clock.now() - BULK_AGE_S
    if any(snowflake_time(i).timestamp() < oldest for i in ids):
        raise refusal(50034)
    found = [channel.messages[i] for i in dict.fromkeys(ids) if i in channel.messages]
    if found:
        call.api.poster.delete_many(channel, found)
    return None


async def typing(call: Call) -> Json:
    channel = call.channel()
    call.require(channel, send_permission(channel))
    call.api.announcer.typing(channel, call.user.id)
    return None


class _Page:
    """A window on a channel's history."""

    def __init__(self, limit: int, before: int | None, after: int | None, around: int | None) -> None:
        self.limit, self.before, self.after, self.around = limit, before, after, around

    def cut(self, channel: Channel) -> list[Message]:
        ids = list(channel.messages)
        if self.around is not None:
            newer = [i for i in ids if i > self.around][: self.limit // 2]
            rest = self.limit - len(newer)
            ids = [i for i in ids if i <= self.around][-rest:] + newer
        elif self.after is not None:
            ids = [i for i in ids if i > self.after][: self.limit]
        else:
            ids = [i for i in ids if self.before is None or i < self.before][-self.limit :]
        return [channel.messages[i] for i in reversed(ids)]


def read_page(call: Call) -> _Page:
    form = Form(dict(call.request.query))
    limit = form.integer("limit", low=1, high=100, default=50)
    cursors = {name: form.snowflake(name) for name in ("before", "after", "around")}
    form.settle()
    return _Page(limit or 50, **cursors)


def _repeated(channel: Channel, author_id: int, body: dict[str, Json]) -> Message | None:
    """`enforce_nonce`: the same nonce again, soon after, gives back the message that it made."""
    nonce = body.get("nonce")
    if nonce is None or not body.get("enforce_nonce"):
        return None
    recent = list(channel.messages.values())[-50:]
    return next((m for m in recent if m.author_id == author_id and m.nonce == nonce), None)


def _enter_thread(call: Call, channel: Channel) -> None:
    """Writing in an archived thread opens it again; writing joins."""
    thread = channel.thread
    if thread is None:
        return
    if thread.archived:
        thread.archived = False
        call.api.announcer.thread("THREAD_UPDATE", channel)
    if call.user.id not in thread.members:
        thread.members[call.user.id] = call.realm.clock.now()
        call.api.announcer.thread_members(channel, added=[call.user.id])


def _refer(call: Call, channel: Channel, body: dict[str, Json]) -> Message:
    """A message with its reference filled in: a reply's original, or a forward's snapshot."""
    message = Message(0, channel.id, call.user.id)
    form = Form(body)
    reference = form.form("message_reference")
    if reference is None:
        return message
    target_id = reference.snowflake("message_id", required=True)
    source_id = reference.snowflake("channel_id") or channel.id
    kind = reference.choice("type", (0, FORWARD)) or 0
    form.settle()
    if kind == FORWARD:
        source = call.check_channel(source_id, READ_MESSAGE_HISTORY)
        original = source.messages.get(target_id or 0)
        if original is None:
            raise refusal(10008)
        message.snapshot = call.api.poster.snapshot_of(original)
        message.flags |= MessageFlag.HAS_SNAPSHOT
    else:
        source = channel
        if not call.can(channel, READ_MESSAGE_HISTORY):
            raise refusal(160002)
        if target_id not in channel.messages:
            if not reference.boolean("fail_if_not_exists", default=True):
                return message
            raise form_error(("message_reference",), "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
        message.type = REPLY_TYPE
    message.reference = {"type": kind, "channel_id": str(source.id), "message_id": str(target_id)}
    if source.guild_id is not None:
        message.reference["guild_id"] = str(source.guild_id)
    return message


ENDPOINTS = (
    Endpoint("GET", "/channels/{channel_id}/messages", history),
    Endpoint("POST", "/channels/{channel_id}/messages", post_message),
    Endpoint("POST", "/channels/{channel_id}/messages/bulk-delete", bulk_delete),
    Endpoint("GET", "/channels/{channel_id}/messages/{message_id}", get_message),
    Endpoint("PATCH", "/channels/{channel_id}/messages/{message_id}", edit_message),
    Endpoint("DELETE", "/channels/{channel_id}/messages/{message_id}", delete_message),
    Endpoint("POST", "/channels/{channel_id}/typing", typing),
)
