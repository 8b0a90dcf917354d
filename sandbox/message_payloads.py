"""Messages and attachments in the shapes of Discord's API, for one viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.image_headers import sniffed_type
from sandbox.payloads import bare_member_json, channel_json, reaction_emoji_json, sticker_item_json, user_json
from sandbox.signed_urls import Signer
from sandbox.state import Attachment, Json, Message, MessageFlag, Payload, Snapshot, State, iso, snowflake_time
from sandbox.validation.layout import FILE

SPOILER, ANIMATED = 1 << 3, 1 << 5
"""Flags of attachments."""
ATTACHMENT_SCHEME = "attachment://"
MEDIA_FIELDS = frozenset({"media", "file", "image", "thumbnail", "video"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """The recipient of a payload. `reads_content` is False for a bot without the MESSAGE_CONTENT intent."""

    user_id: int
    reads_content: bool = True


@dataclass(frozen=True, slots=True)
class _Files:
    """The files that embeds and components may refer to: those of their message, or of its snapshot."""

    message_id: int
    attachments: Sequence[Attachment]


class MessagePayloads:
    """Builds message objects: takes names from the state and URLs from the signer."""

    def __init__(self, state: State, signer: Signer) -> None:
        self._state = state
        self._signer = signer

    def attachment(self, attachment: Attachment) -> Payload:
        body: Payload = {
            "id": str(attachment.id),
            "filename": attachment.filename,
            "size": len(attachment.data),
            "url": self._signer.attachment_url(attachment),
            "proxy_url": self._signer.proxy_url(attachment),
            "flags": (SPOILER if attachment.spoiler else 0) | (ANIMATED if attachment.animated else 0),
        }
        if attachment.content_type:
            body["content_type"] = attachment.content_type
        if attachment.width and attachment.height:
            body |= {"width": attachment.width, "height": attachment.height}
        if attachment.seconds is not None:
            body["duration_secs"] = attachment.seconds
        if attachment.description:
            body["description"] = attachment.description
        if attachment.ephemeral:
            body["ephemeral"] = True
        return body

    def message(self, message: Message, viewer: Viewer, *, nested: bool = True) -> Payload:
        """As in REST responses. `nested`: with the message that it replies to."""
        body = self._identity(message, viewer)
        body |= self._content(message) if self._may_read(message, viewer) else _NO_CONTENT
        body |= self._links(message, viewer, nested)
        return body

    def event(self, message: Message, viewer: Viewer) -> Payload:
        """As in gateway events: with the guild id and the members."""
        body = self.message(message, viewer)
        channel = self._state.channels.get(message.channel_id)
        if channel is None:
            return body
        body["guild_id"] = str(channel.guild_id)
        members = self._state.guild_of(channel).members
        if message.author_id in members:
            body["member"] = bare_member_json(members[message.author_id])
        body["mentions"] = [
            {**user_json(self._state.users[u]), **({"member": bare_member_json(members[u])} if u in members else {})}
            for u in message.mentions
        ]
        return body

    def _identity(self, message: Message, viewer: Viewer) -> Payload:
        users = self._state.users
        body: Payload = {
            "id": str(message.id),
            "channel_id": str(message.channel_id),
            "type": message.type,
            "author": user_json(users[message.author_id]),
            "timestamp": iso(snowflake_time(message.id)),
            "edited_timestamp": None if message.edited_at is None else iso(message.edited_at),
            "flags": message.flags,
            "tts": message.tts,
            "pinned": message.pinned,
            "mentions": [user_json(users[u]) for u in message.mentions if u in users],
            "mention_roles": [str(r) for r in message.mention_roles],
            "mention_everyone": message.mention_everyone,
        }
        if message.reactions:
            reactions = message.reactions.items()
            body["reactions"] = [_reaction(self._state, e, who, viewer.user_id) for e, who in reactions if who]
        if message.stickers:
            body["sticker_items"] = [sticker_item_json(sticker) for sticker in message.stickers]
        if message.nonce is not None:
            body["nonce"] = message.nonce
        return body

    def _content(self, message: Message) -> Payload:
        embeds = [] if message.flags & MessageFlag.SUPPRESS_EMBEDS else [*message.embeds, *message.previews]
        body: Payload = {
            "content": message.content,
            **self._media_of(_Files(message.id, message.attachments), embeds, message.components),
        }
        if message.snapshot is not None:
            body["message_snapshots"] = [{"message": self._snapshot(message.id, message.snapshot)}]
        return body

    def _media_of(self, files: _Files, embeds: list[Json], components: list[Json]) -> Payload:
        shown = _names_shown(components) | _names_shown(embeds)
        return {
            "attachments": [self.attachment(a) for a in files.attachments if a.filename not in shown],
            "embeds": self._resolved(embeds, files),
            "components": self._resolved(components, files),
        }

    def _links(self, message: Message, viewer: Viewer, nested: bool) -> Payload:
        body: Payload = {}
        if message.application_id is not None:
            body["application_id"] = str(message.application_id)
        if message.webhook_id is not None:
            body["webhook_id"] = str(message.webhook_id)
        if message.interaction is not None:
            body["interaction_metadata"] = message.interaction
            if "name" in message.interaction:
                keys = ("id", "type", "name", "user")
                body["interaction"] = {k: message.interaction[k] for k in keys}
        if message.thread_id in self._state.channels:
            body["thread"] = channel_json(self._state, self._state.channels[message.thread_id or 0])
        if message.reference is not None:
            body["message_reference"] = message.reference
            if message.type == 19 and nested:
                original = self._state.message(message.channel_id, int(message.reference["message_id"]))
                body["referenced_message"] = original and self.message(original, viewer, nested=False)
        return body

    def _may_read(self, message: Message, viewer: Viewer) -> bool:
        """Without the intent, bots still read their own messages and those that mention them."""
        own = viewer.user_id in (message.author_id, message.visible_to)
        return viewer.reads_content or own or viewer.user_id in message.mentions

    def _snapshot(self, message_id: int, snapshot: Snapshot) -> Payload:
        return {
            "type": snapshot.type,
            "content": snapshot.content,
            **self._media_of(_Files(message_id, snapshot.attachments), snapshot.embeds, snapshot.components),
            **({"sticker_items": [sticker_item_json(s) for s in snapshot.stickers]} if snapshot.stickers else {}),
            "flags": snapshot.flags,
            "timestamp": snapshot.timestamp,
            "edited_timestamp": snapshot.edited_timestamp,
            "mentions": [],
            "mention_roles": [],
        }

    def _resolved(self, node: Json, files: _Files, key: str = "") -> Json:
        """Fills in size, type and fresh URLs of each image that a component or embed shows."""
        if isinstance(node, list):
            return [self._resolved(n, files, key) for n in node]
        if not isinstance(node, dict):
            return node
        url = node.get("url")
        if key in MEDIA_FIELDS and isinstance(url, str):
            return {"width": None, "height": None, **node, **self._shown(url, files, key)}
        filled = {name: self._resolved(value, files, name) for name, value in node.items()}
        return filled | self._file_facts(node, files) if node.get("type") == FILE else filled

    def _file_facts(self, node: Payload, files: _Files) -> Payload:
        file = node.get("file")
        name = str(file.get("url") if isinstance(file, dict) else "").removeprefix(ATTACHMENT_SCHEME)
        found = next((a for a in files.attachments if a.filename == name), None)
        return {"name": name, "size": None if found is None else len(found.data)}

    def _shown(self, url: str, files: _Files, key: str) -> Payload:
        """A file of the message, a file of another message, or an external URL behind the media proxy."""
        if url.startswith(ATTACHMENT_SCHEME):
            name = url[len(ATTACHMENT_SCHEME) :]
            found = next((a for a in files.attachments if a.filename == name), None)
            return {} if found is None else {**self._media(found), "attachment_id": str(found.id)}
        posted = self._state.attachments.get(self._signer.attachment_in(url) or 0)
        if posted is not None:
            asks_for_still = posted.cover is not None and "format=" in url.partition("?")[2]
            return self._still(posted) if asks_for_still else self._media(posted)
        preview = "format=webp" if key == "thumbnail" and url.endswith(".mp4") else ""
        return {"id": str(files.message_id), "proxy_url": self._signer.external_url(url) + preview}

    def _media(self, attachment: Attachment) -> Payload:
        return {
            "id": str(attachment.id),
            "url": self._signer.attachment_url(attachment),
            "proxy_url": self._signer.proxy_url(attachment),
            "width": attachment.width,
            "height": attachment.height,
            "content_type": attachment.content_type,
        }

    def _still(self, video: Attachment) -> Payload:
        """The picture that the media proxy shows of it."""
        url = self._signer.proxy_url(video) + "format=webp"
        return {**self._media(video), "url": url, "proxy_url": url, "content_type": sniffed_type(video.cover or b"")}


_NO_CONTENT: Payload = {"content": "", "attachments": [], "embeds": [], "components": []}


def _reaction(state: State, emoji: str, who: list[int], viewer: int) -> Payload:
    return {
        "emoji": reaction_emoji_json(state, emoji),
        "count": len(who),
        "count_details": {"burst": 0, "normal": len(who)},
        "burst_colors": [],
        "me": viewer in who,
        "me_burst": False,
    }


def _names_shown(node: Json) -> set[str]:
    """Names of the files that components or embeds show: Discord leaves those out of `attachments`."""
    if isinstance(node, list):
        return set().union(*(_names_shown(n) for n in node)) if node else set()
    if not isinstance(node, dict):
        return set()
    url = node.get("url")
    own = {url[len(ATTACHMENT_SCHEME) :]} if isinstance(url, str) and url.startswith(ATTACHMENT_SCHEME) else set()
    return own.union(*(_names_shown(v) for v in node.values()))
