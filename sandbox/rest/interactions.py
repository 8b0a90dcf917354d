"""The user's side of interactions: commands, autocompletion, pressed components and submitted modals."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.drafts import AttachmentReader
from sandbox.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL_SUBMIT
from sandbox.permissions import (
    ADMINISTRATOR,
    READ_MESSAGE_HISTORY,
    USE_APPLICATION_COMMANDS,
    may_read,
    permissions_in,
)
from sandbox.resolved import SELECT_KINDS, Resolved
from sandbox.responses import ApiError, api_error, form_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Application, Attachment, Channel, Command, Interaction, Json, Message, Payload
from sandbox.validation.commands import ATTACHMENT, MESSAGE_MENU, SLASH, check_options, option_values
from sandbox.validation.forms import Form
from sandbox.validation.layout import walk
from sandbox.validation.modals import FILE_UPLOAD, check_answers, inputs_of, submitted
from sandbox.validation.selects import SELECTS, are_choices

LOCALES = frozenset(
    {"bg", "cs", "da", "de", "el", "en-GB", "en-US", "es-419", "es-ES", "fi", "fr", "hi", "hr", "hu", "id", "it", "ja",
     "ko", "lt", "nl", "no", "pl", "pt-BR", "ro", "ru", "sv-SE", "th", "tr", "uk", "vi", "zh-CN", "zh-TW"}
)  # fmt: skip


async def interact(request: Request) -> None:
    """Starts an interaction: 204; everything else arrives over the gateway."""
    form = Form(await request.body())
    kind = form.choice("type", (COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT), required=True)
    application_id = form.snowflake("application_id", required=True)
    channel_id = form.snowflake("channel_id", required=True)
    session_id = form.text("session_id", low=1, high=100, required=True)
    nonce = form.text("nonce", low=1, high=25)
    data = form.form("data", required=True)
    form.raise_if_invalid()
    assert channel_id is not None and data is not None and kind is not None  # noqa: S101 - required above
    application = request.state.applications.get(application_id or 0)
    if application is None:
        raise api_error(10002)
    channel = request.check_channel(channel_id)
    if form.snowflake("guild_id") not in (None, channel.guild_id):
        form.add_error("guild_id", "BASE_TYPE_CHOICES", "This is not the channel's guild.")
    form.raise_if_invalid()
    if request.user.bot:
        raise api_error(20001)
    if application.bot_id not in request.state.guild_of(channel).members:
        raise api_error(10002)
    source: Message | None = None
    opener: Interaction | None = None
    resolved = Resolved(request.server, channel, request.user, application.bot_id)
    if kind == COMPONENT:
        source = _source(request, form, channel, application)
        payload = _component_data(source, data, resolved)
    elif kind == MODAL_SUBMIT:
        opener = _opener(request, channel, data)
        source = opener.source
        payload = _modal_data(request, opener, channel, data, resolved)
    else:
        payload = _command_data(request, application, channel, data, resolved, partial=kind == AUTOCOMPLETE)
    request.services.interactions.begin(
        kind,
        application,
        request.user,
        channel,
        payload | resolved.field,
        nonce=nonce,
        session_id=session_id or "",
        locale=_locale(request),
        source=source,
        opener=opener,
    )
    return


def _locale(request: Request) -> str:
    stated = request.http.headers.get("X-Discord-Locale")
    return stated if stated in LOCALES else request.user.locale


# Commands


def _command_data(
    request: Request, application: Application, channel: Channel, data: Form, resolved: Resolved, *, partial: bool
) -> Payload:
    command = application.commands.get(data.snowflake("id", required=True) or 0)
    data.raise_if_invalid()
    if command is None:
        raise api_error(10063)
    _check_permission(request, command, channel)
    payload: dict[str, Json] = {"id": str(command.id), "name": command.name, "type": command.type}
    if command.type == SLASH:
        return payload | {"options": _options(request, command, channel, data, resolved, partial)}
    target = data.snowflake("target_id", required=True) or 0
    data.raise_if_invalid()
    if command.type == MESSAGE_MENU:
        message = channel.messages.get(target)
        if message is None:
            raise api_error(10008)
        request.require(channel, READ_MESSAGE_HISTORY)
        resolved.message(message)
    else:
        resolved.named(frozenset({"users"}), [target])
    return payload | {"target_id": str(target)}


def _check_permission(request: Request, command: Command, channel: Channel) -> None:
    parent = request.state.channels.get(channel.parent_id or 0) if channel.thread is not None else channel
    age_restricted = parent is not None and parent.nsfw
    if 0 not in (command.body["contexts"] or [0]) or (command.body["nsfw"] and not age_restricted):
        raise api_error(10063)
    permissions = permissions_in(request.state, channel, request.user.id)
    default = command.body["default_member_permissions"]
    # "0" means administrators only.
    needed = USE_APPLICATION_COMMANDS | (0 if default is None else int(default) or ADMINISTRATOR)
    if permissions & needed != needed:
        raise api_error(50013)


def _options(
    request: Request, command: Command, channel: Channel, data: Form, resolved: Resolved, partial: bool
) -> list[Json]:
    everywhere = (request.state.channels[c] for c in request.state.guild_of(channel).channel_ids)
    channels = {c.id: c.type for c in everywhere if may_read(request.state, c, request.user.id)}
    check_options(data, command.body.get("options") or [], channels, partial=partial)
    data.raise_if_invalid()
    options: list[Json] = data.body.get("options") or []  # type: ignore[assignment]  # checked above
    files = [] if partial else [o for o in option_values(options) if o.get("type") == ATTACHMENT]
    taken = _take_uploads(request, channel, data, [o["value"] for o in files])
    for option, attachment in zip(files, taken, strict=True):
        option["value"] = str(attachment.id)
    resolved.options(option_values(options))
    resolved.attachments(taken)
    return options


def _take_uploads(request: Request, channel: Channel, data: Form, wanted: Iterable[object]) -> list[Attachment]:
    """Stores uploaded files as ephemeral attachments. `wanted`: ids of entries of the data's `attachments`."""
    uploads = {str(item.body.get("id")): item for item in data.forms("attachments", high=10) or []}
    reader = AttachmentReader(request.server, request.user, channel.id, ephemeral=True)
    taken: list[Attachment] = []
    for upload_id in wanted:
        item = uploads.get(str(upload_id))
        attachment = None if item is None else reader.from_slot(item)
        if attachment is None:
            data.add_error("attachments", "MESSAGE_ATTACHMENT_NOT_FOUND", f"There is no upload '{upload_id}'")
        else:
            taken.append(attachment)
    data.raise_if_invalid()
    for attachment in taken:
        request.messages.keep_option_file(attachment)
    return taken


# Components


def _source(request: Request, form: Form, channel: Channel, application: Application) -> Message:
    message_id = form.snowflake("message_id", required=True) or 0
    form.raise_if_invalid()
    message = channel.messages.get(message_id) or request.state.ephemerals.get(message_id)
    mine = message is not None and message.visible_to in (None, request.user.id) and message.channel_id == channel.id
    if message is None or not mine or message.author_id != application.bot_id:
        raise api_error(10008)
    return message


def _component_data(source: Message, data: Form, resolved: Resolved) -> Payload:
    custom_id = data.text("custom_id", low=1, high=100, required=True)
    kind = data.integer("component_type", required=True)
    data.raise_if_invalid()
    found = next((c for c in walk(source.components) if c.get("custom_id") == custom_id), None)
    if found is None or found["type"] != kind or found.get("disabled"):
        raise _component_error("custom_id")
    payload: dict[str, Json] = {"custom_id": custom_id, "component_type": kind, "id": found.get("id")}
    if kind in SELECTS:
        chosen = data.array("values", high=25) or []
        if not are_choices(found, chosen) or not _are_known(kind, chosen, resolved):
            raise _component_error("values")
        payload["values"] = chosen
    return payload


def _are_known(kind: int, chosen: Iterable[object], resolved: Resolved) -> bool:
    return kind not in SELECT_KINDS or resolved.named(SELECT_KINDS[kind], chosen)


def _component_error(name: str) -> ApiError:
    return form_error(("data", name), "COMPONENT_VALIDATION_FAILED", "Component validation failed")


# Modals


def _opener(request: Request, channel: Channel, data: Form) -> Interaction:
    """The interaction whose open modal the user submits. Raises 10062 for one that was closed or is another's."""
    opener_id = data.snowflake("id", required=True)
    custom_id = data.text("custom_id", low=1, high=100, required=True)
    data.raise_if_invalid()
    found = next((i for i in request.state.interactions.values() if i.id == opener_id), None)
    mine = found is not None and (found.user_id, found.channel_id) == (request.user.id, channel.id)
    if found is None or not mine or found.modal is None or found.modal["custom_id"] != custom_id:
        raise api_error(10062)
    return found


def _modal_data(request: Request, opener: Interaction, channel: Channel, data: Form, resolved: Resolved) -> Payload:
    modal = opener.modal or {}
    answers = check_answers(data, modal)
    data.raise_if_invalid()
    asked = {one["custom_id"]: one for one in inputs_of(modal)}
    for custom_id, one in asked.items():
        if not _are_known(one["type"], answers[custom_id].get("values", []), resolved):
            raise _component_error("components")
    uploads = [name for name, one in asked.items() if one["type"] == FILE_UPLOAD]
    taken = _take_uploads(request, channel, data, [v for name in uploads for v in answers[name]["values"]])
    resolved.attachments(taken)
    for name in uploads:
        count = len(answers[name]["values"])
        answers[name]["values"] = [str(attachment.id) for attachment in taken[:count]]
        taken = taken[count:]
    return {"custom_id": modal["custom_id"], "components": submitted(modal, answers)}


ENDPOINTS = (Endpoint("POST", "/interactions", interact),)
