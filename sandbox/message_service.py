"""Creates, edits and deletes messages: stores them, dispatches the events and keeps within the limits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sandbox.drafts import (
    LEGACY_CODE,
    AllowedMentions,
    AttachmentReader,
    Draft,
    UploadedFile,
    find_mentions,
    read_allowed_mentions,
    read_layout,
)
from sandbox.events import Events
from sandbox.permissions import EMBED_LINKS, MENTION_EVERYONE, may
from sandbox.previews import Previews
from sandbox.responses import api_error
from sandbox.server_state import ServerState
from sandbox.state import Attachment, Channel, Message, MessageFlag, Snapshot, User, iso, snowflake_time
from sandbox.validation.forms import Form

REPLY_TYPE = 19
OPTION_FILES_KEPT = 100


class MessageService:
    """All changes to messages go through here."""

    def __init__(self, server: ServerState, events: Events, previews: Previews) -> None:
        self._server = server
        self._state = server.state
        self._events = events
        self._previews = previews
        self._stored_bytes = 0
        self._option_files: deque[int] = deque()

    def post(self, channel: Channel, author: User, draft: Draft, *, like: Message | None = None) -> Message:
        """`like`: a message with the fields that are not in the draft (type, reference, interaction …) already set.

        It keeps its id unless that is 0: a forum's first message has its thread's.
        """
        message = like or Message(0, channel.id, author.id)
        message.id = message.id or self._state.ids.next()
        message.content, message.tts, message.nonce = draft.content, draft.tts, draft.nonce
        message.flags |= draft.flags
        message.embeds, message.components = draft.embeds, draft.components
        message.attachments, message.stickers = draft.attachments, draft.stickers
        message.previews = []
        if message.visible_to is not None:
            message.flags |= MessageFlag.EPHEMERAL
        self._set_mentions(message, channel, draft.allowed)
        self._store(message, channel)
        self._events.message("MESSAGE_CREATE", message)
        self._preview(message)
        self._enforce_limits(channel)
        return message

    def edit(
        self,
        message: Message,
        author: User,
        body: dict[str, object],
        files: Mapping[int, UploadedFile],
        *,
        quiet: bool = False,
    ) -> None:
        """Applies a PATCH body; absent fields stay as they are. Raises ApiError before anything has changed.

        `quiet`: do not mark it as edited, as for the first response after a deferral.
        """
        form = Form(body)
        flags = message.flags
        if form.has("flags"):
            settable = int(MessageFlag.SUPPRESS_EMBEDS | MessageFlag.COMPONENTS_V2)
            wanted = (form.integer("flags") or 0) & settable
            flags = (flags & ~MessageFlag.SUPPRESS_EMBEDS) | wanted
        version_2 = bool(flags & MessageFlag.COMPONENTS_V2)
        kept = {a.id: a for a in message.attachments}
        ephemeral = message.visible_to is not None
        draft = Draft(message.content, embeds=message.embeds, components=message.components, stickers=message.stickers)
        reader = AttachmentReader(self._server, author, message.channel_id, ephemeral=ephemeral)
        draft.attachments = reader.read(form, files, kept)
        if form.has("content") or version_2:
            draft.content = (form.text("content", high=2000) or "").strip()
        self._edit_layout(form, draft, message, version_2)
        allowed = read_allowed_mentions(form)
        form.raise_if_invalid()
        if draft.is_empty and message.snapshot is None:
            raise api_error(50006)
        self._apply(message, draft, flags, allowed, edited=not quiet)

    def suppress_embeds(self, message: Message, suppressed: bool) -> None:
        flag = MessageFlag.SUPPRESS_EMBEDS
        message.flags = message.flags | flag if suppressed else message.flags & ~flag
        self._events.message("MESSAGE_UPDATE", message)
        self._preview(message)

    def delete(self, message: Message) -> None:
        self._events.message_deleted(message)
        self._drop(message)

    def bulk_delete(self, channel: Channel, messages: Iterable[Message]) -> None:
        removed = list(messages)
        self._events.messages_deleted(channel, [m.id for m in removed])
        for message in removed:
            self._drop(message)

    def drop_channel(self, channel: Channel) -> None:
        """Deletes the messages of a channel that is being deleted; like Discord, without an event for each."""
        for message in list(channel.messages.values()):
            self._drop(message)
        for message in [m for m in self._state.ephemerals.values() if m.channel_id == channel.id]:
            self._drop(message)

    def keep_option_file(self, attachment: Attachment) -> None:
        """Stores the file of a command's option, which belongs to no message, until its space is needed."""
        self._hold(attachment, attachment.id)
        self._option_files.append(attachment.id)
        while len(self._option_files) > OPTION_FILES_KEPT:
            self._drop_option_file(self._option_files[0])
        self._free_bytes()

    def snapshot_of(self, message: Message) -> Snapshot:
        """For a forward of the message. A forward of a forward has the first one's snapshot."""
        if message.snapshot is not None:
            return replace(message.snapshot)
        return Snapshot(
            type=message.type,
            content=message.content,
            embeds=[] if message.flags & MessageFlag.SUPPRESS_EMBEDS else [*message.embeds, *message.previews],
            attachments=list(message.attachments),
            components=message.components,
            stickers=message.stickers,
            flags=message.flags,
            timestamp=iso(snowflake_time(message.id)),
            edited_timestamp=None if message.edited_at is None else iso(message.edited_at),
        )

    def _edit_layout(self, form: Form, draft: Draft, message: Message, version_2: bool) -> None:
        if version_2 and not message.flags & MessageFlag.COMPONENTS_V2:
            _check_switch(form, message)
        body = dict(form.body)
        if not version_2:
            body.setdefault("embeds", message.embeds)
        if not form.has("components"):
            body["components"] = message.components
        read_layout(Form(body, form.errors, form.path), draft, version_2=version_2)

    def _apply(self, message: Message, draft: Draft, flags: int, allowed: AllowedMentions, *, edited: bool) -> None:
        before = {a.id: a for a in message.attachments}
        message.content, message.embeds, message.components = draft.content, draft.embeds, draft.components
        message.attachments = draft.attachments
        message.flags = flags & ~MessageFlag.LOADING
        if edited:
            message.edited_at = self._server.clock.now()
        self._set_mentions(message, self._state.channels[message.channel_id], allowed)
        self._hold_files(message)
        for removed in before.keys() - {a.id for a in message.attachments}:
            self._release(removed, message.id)
        wanted = self._previews.embeds_for(message)
        message.previews = [p for p in message.previews if p in wanted]
        self._events.message("MESSAGE_UPDATE", message)
        self._preview(message)
        self._free_bytes()

    def _preview(self, message: Message) -> None:
        """Like Discord, sends previews of new links in a further update that is not an edit."""
        channel = self._state.channels[message.channel_id]
        found = self._previews.embeds_for(message)
        if found != message.previews and may(self._state, channel, message.author_id, EMBED_LINKS):
            message.previews = found
            self._events.message("MESSAGE_UPDATE", message)

    def _set_mentions(self, message: Message, channel: Channel, allowed: AllowedMentions) -> None:
        guild = self._state.guild_of(channel)
        may_everyone = may(self._state, channel, message.author_id, MENTION_EVERYONE)
        found = find_mentions(message.content, message.components, allowed, guild, may_everyone=may_everyone)
        users = [u for u in found.users if u in self._state.users]
        if message.type == REPLY_TYPE and allowed.replied_user and message.reference is not None:
            original = self._state.message(channel.id, int(message.reference["message_id"]))
            if original is not None and original.author_id not in users:
                users.append(original.author_id)
        message.mentions, message.mention_roles, message.mention_everyone = users, list(found.roles), found.everyone

    def _store(self, message: Message, channel: Channel) -> None:
        if message.visible_to is not None:
            self._state.ephemerals[message.id] = message
        else:
            channel.messages[message.id] = message
            channel.last_message_id = message.id
        self._hold_files(message)

    def _hold_files(self, message: Message) -> None:
        snapshot = [] if message.snapshot is None else message.snapshot.attachments
        for attachment in [*message.attachments, *snapshot]:
            self._hold(attachment, message.id)

    def _hold(self, attachment: Attachment, holder: int) -> None:
        if attachment.id not in self._state.attachments:
            self._stored_bytes += len(attachment.data)
        self._state.attachments[attachment.id] = attachment
        self._state.uploads.pop(attachment.upload_key or "", None)
        attachment.holders.add(holder)

    def _drop(self, message: Message) -> None:
        channel = self._state.channels.get(message.channel_id)
        if message.visible_to is not None:
            self._state.ephemerals.pop(message.id, None)
        elif channel is not None:
            channel.messages.pop(message.id, None)
        snapshot = [] if message.snapshot is None else message.snapshot.attachments
        for attachment in [*message.attachments, *snapshot]:
            self._release(attachment.id, message.id)

    def _release(self, attachment_id: int, message_id: int) -> None:
        attachment = self._state.attachments.get(attachment_id)
        if attachment is None:
            return
        attachment.holders.discard(message_id)
        if not attachment.holders:
            del self._state.attachments[attachment_id]
            self._stored_bytes -= len(attachment.data)

    def _enforce_limits(self, channel: Channel) -> None:
        limits = self._server.limits
        while len(channel.messages) > limits.messages_per_channel:
            self.delete(next(iter(channel.messages.values())))
        while len(self._state.ephemerals) > limits.messages_per_channel:
            self._drop(next(iter(self._state.ephemerals.values())))
        self._free_bytes()

    def _free_bytes(self) -> None:
        """Deletes the oldest messages with files, and the oldest option files, until the rest fits."""
        while self._stored_bytes > self._server.limits.attachment_bytes:
            oldest = min((h for a in self._state.attachments.values() for h in a.holders), default=None)
            if oldest is None:
                return
            message = self._find_message(oldest)
            if message is not None:
                self.delete(message)
            else:
                self._drop_option_file(oldest)

    def _find_message(self, message_id: int) -> Message | None:
        found = self._state.ephemerals.get(message_id)
        everywhere = (c.messages.get(message_id) for c in self._state.channels.values())
        return found or next((m for m in everywhere if m is not None), None)

    def _drop_option_file(self, attachment_id: int) -> None:
        self._option_files.remove(attachment_id)
        self._release(attachment_id, attachment_id)


def _check_switch(form: Form, message: Message) -> None:
    """An edit that switches to components V2 must clear the fields that V2 messages cannot have."""
    for name, held in (("content", message.content), ("embeds", message.embeds)):
        if held and not form.has(name):
            form.add_error(
                name, LEGACY_CODE, f"The '{name}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2"
            )
