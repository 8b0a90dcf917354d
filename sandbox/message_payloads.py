"""Messages, attachments and their media in the shapes of Discord's API, for one viewer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.clock import iso, snowflake_time
from sandbox.payloads import bare_member_json, channel_json, user_json
from sandbox.signing import Signer
from sandbox.validation.components import FILE
from sandbox.world import Attachment, ChannelType, Json, Message, MessageFlag, Snapshot, World

Body = dict[str, Json]
ATTACHMENT_SCHEME = "attachment://"
MEDIA_FIELDS = frozenset({"media", "file", "image", "thumbnail"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who a payload is for. `reads_content` is False for a bot without the MESSAGE CONTENT intent."""

    user_id: int
    reads_content: bool = True


@dataclass(frozen=True, slots=True)
class _Held:
    """What embeds and components may refer to: the files of their message, or of the snapshot in it."""

    message_id: int
    files: Sequence[Attachment]


class MessagePayloads:
    """Builds message objects; holds what they need: the world for names, the signer for addresses."""

    def __init__(self, world: World, signer: Signer) -> None:
        self._world = world
        self._signer = signer

    def attachment(self, attachment: Attachment) -> Body:
        body: Body = {
            "id": str(attachment.id),
            "filename": attachment.filename,
            "size": len(attachment.data),
            "url": self._signer.attachment_url(attachment),
            "proxy_url": self._signer.proxy_url(attachment),
            "flags": 1 << 3 if attachment.spoiler else 0,
        }
        if attachment.content_type:
            body["content_type"] = attachment.content_type
        if attachment.width and attachment.height:
            body |= {"width": attachment.width, "height": attachment.height}
        if attachment.description:
            body["description"] = attachment.description
        if attachment.ephemeral:
            body["ephemeral"] = True
        return body

    def message(self, message: Message, viewer: Viewer, *, nested: bool = True) -> Body:
        """As REST answers it. `nested`: with the message that it replies to."""
        body = self._identity(message, viewer)
        body |= self._content(message) if self._may_read(message, viewer) else _WITHOUT_CONTENT
        body |= self._links(message, viewer, nested)
        return body

    def event(self, message: Message, viewer: Viewer) -> Body:
        """As the gateway dispatches it: with server and member, which ephemeral messages lack for bots."""
        body = self.message(message, viewer)
        channel = self._world.channels.get(message.channel_id)
        if channel is None or channel.guild_id is None:
            return body
        body["guild_id"] = str(channel.guild_id)
        member = self._world.member(channel, message.author_id)
        if member is not None:
            body["member"] = bare_member_json(member)
        for mention in body["mentions"]:
            mentioned = self._world.member(channel, int(mention["id"]))
            if mentioned is not None:
                mention["member"] = bare_member_json(mentioned)
        return body

    def _identity(self, message: Message, viewer: Viewer) -> Body:
        users = self._world.users
        body: Body = {
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
            body["reactions"] = [_reaction(e, who, viewer.user_id) for e, who in message.reactions.items() if who]
        if message.nonce is not None:
            body["nonce"] = message.nonce
        return body

    def _content(self, message: Message) -> Body:
        embeds = [] if message.flags & MessageFlag.SUPPRESS_EMBEDS else [*message.embeds, *message.previews]
        body: Body = {
            "content": message.content,
            **self._media_of(_Held(message.id, message.attachments), embeds, message.components),
        }
        if message.snapshot is not None:
            body["message_snapshots"] = [{"message": self._snapshot(message.id, message.snapshot)}]
        return body

    def _media_of(self, held: _Held, embeds: list[Json], components: list[Json]) -> Body:
        shown = _names_shown(components) | _names_shown(embeds)
        return {
            "attachments": [self.attachment(a) for a in held.files if a.filename not in shown],
            "embeds": self._resolved(embeds, held),
            "components": self._resolved(components, held),
        }

    def _links(self, message: Message, viewer: Viewer, nested: bool) -> Body:
        body: Body = {}
        if message.application_id is not None:
            body["application_id"] = str(message.application_id)
        if message.webhook_id is not None:
            body["webhook_id"] = str(message.webhook_id)
        if message.interaction is not None:
            body["interaction_metadata"] = message.interaction
            if "name" in message.interaction:
                keys = ("id", "type", "name", "user")
                body["interaction"] = {k: message.interaction[k] for k in keys}
        if message.thread_id in self._world.channels:
            body["thread"] = channel_json(self._world, self._world.channels[message.thread_id or 0])
        if message.reference is not None:
            body["message_reference"] = message.reference
            if message.type == 19 and nested:
                original = self._world.message(message.channel_id, int(message.reference["message_id"]))
                body["referenced_message"] = original and self.message(original, viewer, nested=False)
        return body

    def _may_read(self, message: Message, viewer: Viewer) -> bool:
        """The exceptions to the intent: what the app wrote, what mentions it, what is between it and one person."""
        if viewer.reads_content or viewer.user_id in (message.author_id, message.visible_to):
            return True
        channel = self._world.channels.get(message.channel_id)
        return viewer.user_id in message.mentions or (channel is not None and channel.type == ChannelType.DM)

    def _snapshot(self, message_id: int, snapshot: Snapshot) -> Body:
        return {
            "type": snapshot.type,
            "content": snapshot.content,
            **self._media_of(_Held(message_id, snapshot.attachments), snapshot.embeds, snapshot.components),
            "flags": snapshot.flags,
            "timestamp": snapshot.timestamp,
            "edited_timestamp": snapshot.edited_timestamp,
            "mentions": [],
            "mention_roles": [],
        }

    def _resolved(self, node: Json, held: _Held, key: str = "") -> Json:
        """Fills in what is known about each picture that a component or embed shows, with fresh addresses."""
        if isinstance(node, list):
            return [self._resolved(n, held, key) for n in node]
        if not isinstance(node, dict):
            return node
        url = node.get("url")
        if key in MEDIA_FIELDS and isinstance(url, str):
            return {"width": None, "height": None, **node, **self._shown(url, held)}
        filled = {name: self._resolved(value, held, name) for name, value in node.items()}
        return filled | self._file_facts(node, held) if node.get("type") == FILE else filled

    def _file_facts(self, node: Body, held: _Held) -> Body:
        file = node.get("file")
        name = str(file.get("url") if isinstance(file, dict) else "").removeprefix(ATTACHMENT_SCHEME)
        found = next((a for a in held.files if a.filename == name), None)
        return {"name": name, "size": None if found is None else len(found.data)}

    def _shown(self, url: str, held: _Held) -> Body:
        """A file of the message, a file posted elsewhere, or a foreign address behind the proxy's."""
        if url.startswith(ATTACHMENT_SCHEME):
            name = url[len(ATTACHMENT_SCHEME) :]
            found = next((a for a in held.files if a.filename == name), None)
            return {} if found is None else {**self._media(found), "attachment_id": str(found.id)}
        posted = self._world.attachments.get(self._signer.attachment_in(url) or 0)
        if posted is not None:
            return self._media(posted)
        return {"id": str(held.message_id), "proxy_url": self._signer.external_url(url)}

    def _media(self, attachment: Attachment) -> Body:
        return {
            "id": str(attachment.id),
            "url": self._signer.attachment_url(attachment),
            "proxy_url": self._signer.proxy_url(attachment),
            "width": attachment.width,
            "height": attachment.height,
            "content_type": attachment.content_type,
        }


_WITHOUT_CONTENT: Body = {"content": "", "attachments": [], "embeds": [], "components": []}


def _reaction(emoji: str, who: list[int], viewer: int) -> Body:
    return {
        "emoji": {"id": None, "name": emoji},
        "count": len(who),
        "count_details": {"burst": 0, "normal": len(who)},
        "burst_colors": [],
        "me": viewer in who,
        "me_burst": False,
    }


def _names_shown(node: Json) -> set[str]:
    """Files that a component or embed shows; Discord leaves those out of `attachments`."""
    if isinstance(node, list):
        return set().union(*(_names_shown(n) for n in node)) if node else set()
    if not isinstance(node, dict):
        return set()
    url = node.get("url")
    own = {url[len(ATTACHMENT_SCHEME) :]} if isinstance(url, str) and url.startswith(ATTACHMENT_SCHEME) else set()
    return own.union(*(_names_shown(v) for v in node.values()))
