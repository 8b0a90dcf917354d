"""From the body of a request to what a message will be: content, files, components, checked by Discord's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sandbox.errors import refusal
from sandbox.mentions import AllowedMentions, read_allowed_mentions
from sandbox.pictures import content_type_of, dimensions
from sandbox.realm import Realm
from sandbox.signing import safe_filename
from sandbox.validation.components import check_message_components
from sandbox.validation.embeds import check_embeds
from sandbox.validation.forms import Form, as_snowflake
from sandbox.world import Attachment, Json, MessageFlag, User

MAX_CONTENT = 2000
MAX_ATTACHMENTS = 10
LEGACY_FIELDS = ("content", "embeds", "sticker_ids", "poll")
LEGACY_CODE = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
SETTABLE_FLAGS = MessageFlag.SUPPRESS_EMBEDS | MessageFlag.SUPPRESS_NOTIFICATIONS | MessageFlag.COMPONENTS_V2


@dataclass(frozen=True, slots=True)
class IncomingFile:
    filename: str
    content_type: str | None
    data: bytes


@dataclass(slots=True)
class Draft:
    """What a new message will hold."""

    content: str = ""
    flags: int = 0
    tts: bool = False
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    allowed: AllowedMentions = field(default_factory=AllowedMentions)
    nonce: str | int | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.content or self.embeds or self.attachments or self.components)


def read_draft(
    realm: Realm,
    author: User,
    channel_id: int,
    body: dict[str, Json],
    files: Mapping[int, IncomingFile],
    *,
    ephemeral_allowed: bool = False,
) -> Draft:
    """A new message. Raises ApiError 50035 with all complaints, 40005 for a file too large."""
    form = Form(body)
    settable = SETTABLE_FLAGS | (MessageFlag.EPHEMERAL if ephemeral_allowed else 0)
    flags = (form.integer("flags") or 0) & settable
    if not author.bot:
        flags &= ~MessageFlag.COMPONENTS_V2
    ephemeral = bool(flags & MessageFlag.EPHEMERAL)
    attachments = read_files(realm, author, channel_id, form, files, ephemeral=ephemeral)
    draft = Draft(
        content=(form.text("content", high=MAX_CONTENT) or "").strip(),
        flags=flags,
        tts=form.boolean("tts"),
        attachments=attachments,
        allowed=read_allowed_mentions(form),
        nonce=_nonce(form),
    )
    if author.bot:
        read_layout(form, draft, version_2=bool(flags & MessageFlag.COMPONENTS_V2))
    form.settle()
    return draft


def read_layout(form: Form, draft: Draft, *, version_2: bool) -> None:
    """Embeds and components into the draft. With version 2, the older fields must be absent."""
    names = {a.filename for a in draft.attachments}
    if version_2:
        for name in LEGACY_FIELDS:
            if form.body.get(name):
                message = f"The '{name}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2"
                form.complain(name, LEGACY_CODE, message)
        if not form.body.get("components"):
            form.complain("components", "BASE_TYPE_REQUIRED", "This field is required")
    else:
        draft.embeds = check_embeds(form)
    draft.components = check_message_components(form, version_2=version_2, files=names)


def read_files(
    realm: Realm,
    author: User,
    channel_id: int,
    form: Form,
    files: Mapping[int, IncomingFile],
    *,
    kept: Mapping[int, Attachment] | None = None,
    ephemeral: bool = False,
) -> list[Attachment]:
    """The attachments that a message has afterwards, in order: of `kept` those that the body lists, then the new ones.

    A body without `attachments` keeps all and adds every file. Changes nothing: upload slots are used up, and kept
    attachments described anew, when a message holds what is returned.
    """
    kept = kept or {}
    listed = form.forms("attachments", high=MAX_ATTACHMENTS)
    if listed is None:
        new = [_attachment(realm, channel_id, f, {}, ephemeral) for f in files.values()]
        return _counted(form, [*kept.values(), *new])
    found: list[Attachment] = []
    used: set[int] = set()
    taken: set[str] = set()
    for item in listed:
        key = _key(item.body.get("id", len(used)))
        if item.body.get("uploaded_filename") is not None:
            found += _from_upload(realm, author, channel_id, item, taken, ephemeral)
        elif key in kept:
            description = item.text("description", high=1024) or kept[key].description
            found.append(replace(kept[key], description=description))
        elif key in files:
            used.add(key)
            found.append(_attachment(realm, channel_id, files[key], item.body, ephemeral))
        else:
            item.complain("id", "MESSAGE_ATTACHMENT_NOT_FOUND", f"Attachment {item.body.get('id')} not found")
    found += [_attachment(realm, channel_id, f, {}, ephemeral) for n, f in files.items() if n not in used]
    return _counted(form, found)


def _counted(form: Form, found: list[Attachment]) -> list[Attachment]:
    if len(found) > MAX_ATTACHMENTS:
        message = f"Must be between 0 and {MAX_ATTACHMENTS} in length."
        form.complain("attachments", "BASE_TYPE_BAD_LENGTH", message)
    return found


def _from_upload(
    realm: Realm, author: User, channel_id: int, item: Form, taken: set[str], ephemeral: bool
) -> list[Attachment]:
    """`taken`: slots that this request has named before."""
    key = str(item.body.get("uploaded_filename"))
    upload = None if key in taken else realm.world.uploads.get(key)
    if upload is None or upload.data is None or upload.user_id != author.id or upload.channel_id != channel_id:
        item.complain("uploaded_filename", "MESSAGE_ATTACHMENT_NOT_FOUND", f"Uploaded attachment {key} not found")
        return []
    taken.add(key)
    file = IncomingFile(upload.filename, upload.content_type, upload.data)
    return [replace(_attachment(realm, channel_id, file, item.body, ephemeral), upload_key=key)]


def _attachment(
    realm: Realm, channel_id: int, file: IncomingFile, described: Mapping[str, Json], ephemeral: bool
) -> Attachment:
    if len(file.data) > realm.limits.file_bytes:
        raise refusal(40005)
    filename = safe_filename(str(described.get("filename") or file.filename))
    size = dimensions(file.data)
    description = described.get("description")
    return Attachment(
        id=realm.world.ids.next(),
        channel_id=channel_id,
        filename=filename,
        content_type=content_type_of(filename, file.content_type),
        data=file.data,
        width=None if size is None else size[0],
        height=None if size is None else size[1],
        description=str(description)[:1024] if description else None,
        spoiler=filename.startswith("SPOILER_") or bool(described.get("is_spoiler")),
        ephemeral=ephemeral,
    )


def read_option_upload(realm: Realm, author: User, channel_id: int, item: Form, taken: set[str]) -> Attachment | None:
    """The file behind an attachment option of a command. `taken`: slots that other options have named."""
    found = _from_upload(realm, author, channel_id, item, taken, ephemeral=True)
    return found[0] if found else None


def _nonce(form: Form) -> str | int | None:
    value = form.body.get("nonce")
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and len(value) <= 25:
        return value
    form.complain("nonce", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 25 in length.")
    return None


def _key(value: Json) -> int:
    """The id of a kept attachment or the number of a file; -1 for neither."""
    found = as_snowflake(value)
    return -1 if found is None else found
