"""Reads a request body into a draft of a message: content, files, embeds, components, mentions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sandbox.image_headers import content_type_of, image_size, is_animated
from sandbox.responses import api_error
from sandbox.server_state import ServerState
from sandbox.signed_urls import safe_filename
from sandbox.state import Attachment, Guild, Json, MessageFlag, State, Sticker, User
from sandbox.validation.forms import Form, as_snowflake
from sandbox.validation.layout import TEXT, check_embeds, check_message_components, walk
from sandbox.video_headers import read_video

MAX_CONTENT = 2000
MAX_ATTACHMENTS = 10
MAX_STICKERS = 3
LEGACY_FIELDS = ("content", "embeds", "sticker_ids", "poll")
LEGACY_CODE = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
SETTABLE_FLAGS = MessageFlag.SUPPRESS_EMBEDS | MessageFlag.SUPPRESS_NOTIFICATIONS | MessageFlag.COMPONENTS_V2


USER_MENTION = re.compile(r"<@!?(\d{1,20})>")
ROLE_MENTION = re.compile(r"<@&(\d{1,20})>")
EVERYONE_MENTION = re.compile(r"@(everyone|here)\b")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    filename: str
    content_type: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class AllowedMentions:
    """Whom a message may ping. None for a set: everyone of that kind."""

    everyone: bool = True
    users: frozenset[int] | None = None
    roles: frozenset[int] | None = None
    replied_user: bool = True


@dataclass(slots=True)
class Draft:
    content: str = ""
    flags: int = 0
    tts: bool = False
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    stickers: list[Sticker] = field(default_factory=list)
    allowed: AllowedMentions = field(default_factory=AllowedMentions)
    nonce: str | int | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.content or self.embeds or self.attachments or self.components or self.stickers)


def read_draft(
    server: ServerState,
    author: User,
    channel_id: int,
    body: dict[str, object],
    files: Mapping[int, UploadedFile],
    *,
    ephemeral_allowed: bool = False,
) -> Draft:
    """Of a new message. Raises 50035 with all errors of the body, 40005 for a file that is too large."""
    form = Form(body)
    settable = SETTABLE_FLAGS | (MessageFlag.EPHEMERAL if ephemeral_allowed else 0)
    flags = (form.integer("flags") or 0) & settable
    if not author.bot:
        flags &= ~MessageFlag.COMPONENTS_V2
    ephemeral = bool(flags & MessageFlag.EPHEMERAL)
    attachments = AttachmentReader(server, author, channel_id, ephemeral=ephemeral).read(form, files)
    draft = Draft(
        content=(form.text("content", high=MAX_CONTENT) or "").strip(),
        flags=flags,
        tts=form.boolean("tts"),
        attachments=attachments,
        allowed=read_allowed_mentions(form),
        nonce=_nonce(form),
    )
    draft.stickers = _read_stickers(server.state, channel_id, form)
    if author.bot:
        read_layout(form, draft, version_2=bool(flags & MessageFlag.COMPONENTS_V2))
    form.raise_if_invalid()
    return draft


def read_layout(form: Form, draft: Draft, *, version_2: bool) -> None:
    """Reads embeds and components into the draft. With components V2, the legacy fields must be absent."""
    names = {a.filename for a in draft.attachments}
    if version_2:
        for name in LEGACY_FIELDS:
            if form.body.get(name):
                message = f"The '{name}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2"
                form.add_error(name, LEGACY_CODE, message)
        if not form.body.get("components"):
            form.add_error("components", "BASE_TYPE_REQUIRED", "This field is required")
    else:
        draft.embeds = check_embeds(form)
    draft.components = check_message_components(form, version_2=version_2, files=names)


class AttachmentReader:
    """Makes attachments of the files and upload slots in one request. Slots are consumed when a message is stored."""

    def __init__(self, server: ServerState, author: User, channel_id: int, *, ephemeral: bool = False) -> None:
        self._server = server
        self._author = author
        self._channel_id = channel_id
        self._ephemeral = ephemeral
        self._slots: set[str] = set()

    def read(
        self, form: Form, files: Mapping[int, UploadedFile], kept: Mapping[int, Attachment] | None = None
    ) -> list[Attachment]:
        """The message's attachments after the request, in order.

        `kept`: those before it, of which the ones stay that the body lists; without `attachments` in the body, all.
        """
        kept = kept or {}
        listed = form.forms("attachments", high=MAX_ATTACHMENTS)
        found = list(kept.values()) if listed is None else []
        used: set[int] = set()
        for item in listed or []:
            number = as_snowflake(item.body.get("id", len(used)))
            key = -1 if number is None else number
            if item.body.get("uploaded_filename") is not None:
                attachment = self.from_slot(item)
                found += [] if attachment is None else [attachment]
            elif key in kept:
                description = item.text("description", high=1024) or kept[key].description
                spoiler = item.boolean("is_spoiler", kept[key].spoiler)
                found.append(replace(kept[key], description=description, spoiler=spoiler))
            elif key in files:
                used.add(key)
                found.append(self._make(files[key], item.body))
            else:
                item.add_error("id", "MESSAGE_ATTACHMENT_NOT_FOUND", f"Attachment {item.body.get('id')} not found")
        found += [self._make(file, {}) for number, file in files.items() if number not in used]
        if len(found) > MAX_ATTACHMENTS:
            message = f"Must be between 0 and {MAX_ATTACHMENTS} in length."
            form.add_error("attachments", "BASE_TYPE_BAD_LENGTH", message)
        return found

    def from_slot(self, item: Form) -> Attachment | None:
        """The file that was put into the author's upload slot. Adds an error to the item if there is none."""
        key = str(item.body.get("uploaded_filename"))
        upload = None if key in self._slots else self._server.state.uploads.get(key)
        owner = (self._author.id, self._channel_id)
        if upload is None or upload.data is None or (upload.user_id, upload.channel_id) != owner:
            message = f"Uploaded attachment {key} not found"
            item.add_error("uploaded_filename", "MESSAGE_ATTACHMENT_NOT_FOUND", message)
            return None
        self._slots.add(key)
        file = UploadedFile(upload.filename, upload.content_type, upload.data)
        return replace(self._make(file, item.body), upload_key=key)

    def _make(self, file: UploadedFile, described: Mapping[str, object]) -> Attachment:
        if len(file.data) > self._server.limits.file_bytes:
            raise api_error(40005)
        filename = safe_filename(str(described.get("filename") or file.filename))
        video = read_video(file.data)
        size = image_size(file.data) if video is None else (video.width, video.height)
        width, height = size or (None, None)
        description = described.get("description")
        return Attachment(
            id=self._server.state.ids.next(),
            channel_id=self._channel_id,
            filename=filename,
            content_type=content_type_of(filename, file.content_type),
            data=file.data,
            width=width,
            height=height,
            animated=is_animated(file.data),
            seconds=None if video is None else video.seconds,
            cover=None if video is None else video.cover,
            description=str(description)[:1024] if description else None,
            spoiler=filename.startswith("SPOILER_") or bool(described.get("is_spoiler")),
            ephemeral=self._ephemeral,
        )


def _read_stickers(state: State, channel_id: int, form: Form) -> list[Sticker]:
    """Raises 50081 for a sticker of another guild."""
    wanted = form.snowflakes("sticker_ids", high=MAX_STICKERS) or []
    guild_id = state.channels[channel_id].guild_id
    found = [state.stickers.get(sticker_id) for sticker_id in wanted]
    own = [sticker for sticker in found if sticker is not None and sticker.guild_id == guild_id]
    if len(own) < len(wanted):
        raise api_error(50081)
    return own


def _nonce(form: Form) -> str | int | None:
    value = form.body.get("nonce")
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and len(value) <= 25:
        return value
    form.add_error("nonce", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 25 in length.")
    return None


def read_allowed_mentions(form: Form) -> AllowedMentions:
    inner = form.form("allowed_mentions")
    if inner is None:
        return AllowedMentions()
    parse = inner.array("parse", high=3) or []
    users = inner.snowflakes("users")
    roles = inner.snowflakes("roles")
    for name, ids in (("users", users), ("roles", roles)):
        if ids and name in parse:
            message = f'parse:["{name}"] and {name}: [ids...] are mutually exclusive.'
            inner.add_error(name, "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", message)
    return AllowedMentions(
        everyone="everyone" in parse,
        users=None if "users" in parse else frozenset(users or ()),
        roles=None if "roles" in parse else frozenset(roles or ()),
        replied_user=inner.boolean("replied_user"),
    )


@dataclass(frozen=True, slots=True)
class Mentions:
    users: tuple[int, ...] = ()
    roles: tuple[int, ...] = ()
    everyone: bool = False


def find_mentions(
    content: str, components: list[Json], allowed: AllowedMentions, guild: Guild, *, may_everyone: bool
) -> Mentions:
    """`may_everyone`: the author has MENTION_EVERYONE, which also allows roles that are not mentionable."""
    texts = [content, *(str(c.get("content", "")) for c in walk(components) if c.get("type") == TEXT)]
    text = "\n".join(texts)
    users = dict.fromkeys(int(u) for u in USER_MENTION.findall(text))
    roles = dict.fromkeys(int(r) for r in ROLE_MENTION.findall(text))
    return Mentions(
        users=tuple(u for u in users if allowed.users is None or u in allowed.users),
        roles=tuple(
            r
            for r in roles
            if r in guild.roles
            and (guild.roles[r].mentionable or may_everyone)
            and (allowed.roles is None or r in allowed.roles)
        ),
        everyone=allowed.everyone and may_everyone and EVERYONE_MENTION.search(text) is not None,
    )
