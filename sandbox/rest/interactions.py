"""Both sides of interactions: users start them, the bot responds with the interaction's token."""

from __future__ import annotations

from sandbox.drafts import AttachmentReader
from sandbox.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, resolve_options, resolve_user
from sandbox.message_payloads import Viewer
from sandbox.permissions import ADMINISTRATOR, READ_MESSAGE_HISTORY, USE_APPLICATION_COMMANDS, permissions_in
from sandbox.responses import ApiError, api_error, form_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Application, Attachment, Channel, Command, Interaction, Json, Message, MessageFlag, Payload
from sandbox.validation.commands import ATTACHMENT, MESSAGE_MENU, SLASH, USER_MENU, check_options, option_values
from sandbox.validation.forms import Form, as_snowflake
from sandbox.validation.layout import SELECT, SELECTS, walk

LOCALES = frozenset(
    {"bg", "cs", "da", "de", "el", "en-GB", "en-US", "es-419", "es-ES", "fi", "fr", "hi", "hr", "hu", "id", "it", "ja",
     "ko", "lt", "nl", "no", "pl", "pt-BR", "ro", "ru", "sv-SE", "th", "tr", "uk", "vi", "zh-CN", "zh-TW"}
)  # fmt: skip


async def interact(request: Request) -> None:
    """Starts an interaction: 204; everything else arrives over the gateway."""
    form = Form(await request.body())
    kind = form.choice("type", (COMMAND, COMPONENT, AUTOCOMPLETE), required=True)
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
    if kind == COMPONENT:
        source = _source(request, form, channel, application)
        payload = _component_data(source, data)
    else:
        payload = _command_data(request, application, channel, data, partial=kind == AUTOCOMPLETE)
    request.services.interactions.begin(
        kind,
        application,
        request.user,
        channel,
        payload,
        nonce=nonce,
        session_id=session_id or "",
        locale=_locale(request),
        source=source,
    )
    return


def _locale(request: Request) -> str:
    stated = request.http.headers.get("X-Discord-Locale")
    return stated if stated in LOCALES else request.user.locale


def _command_data(
    request: Request, application: Application, channel: Channel, data: Form, *, partial: bool
) -> Payload:
    command = application.commands.get(data.snowflake("id", required=True) or 0)
    data.raise_if_invalid()
    if command is None:
        raise api_error(10063)
    _check_permission(request, command, channel)
    payload: dict[str, Json] = {"id": str(command.id), "name": command.name, "type": command.type}
    if command.type == SLASH:
        return payload | _slash_data(request, command, channel, data, partial)
    target = data.snowflake("target_id", required=True) or 0
    data.raise_if_invalid()
    payload["target_id"] = str(target)
    if command.type == MESSAGE_MENU:
        message = channel.messages.get(target)
        if message is None:
            raise api_error(10008)
        request.require(channel, READ_MESSAGE_HISTORY)
        shown = request.server.payloads.message(message, Viewer(application.bot_id))
        payload["resolved"] = {"messages": {str(message.id): shown}}
    elif command.type == USER_MENU:
        payload["resolved"] = resolve_user(request.server, request.state.guild_of(channel), target)
    return payload


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


def _slash_data(request: Request, command: Command, channel: Channel, data: Form, partial: bool) -> Payload:
    guild = request.state.guild_of(channel)
    channels = {c: request.state.channels[c].type for c in guild.channel_ids}
    check_options(data, command.body.get("options") or [], channels, partial=partial)
    data.raise_if_invalid()
    options: Json = data.body.get("options") or []
    attachments = {} if partial else _take_uploads(request, channel, data, options)
    resolved = resolve_options(request.server, guild, request.user, options, attachments)
    return {"options": options, **({"resolved": resolved} if resolved else {})}


def _take_uploads(request: Request, channel: Channel, data: Form, options: list[Json]) -> dict[str, Attachment]:
    """Stores the uploaded files as ephemeral attachments and puts their ids into the options."""
    uploads = {str(item.body.get("id")): item for item in data.forms("attachments", high=10) or []}
    found: list[tuple[dict[str, Json], Attachment]] = []
    reader = AttachmentReader(request.server, request.user, channel.id, ephemeral=True)
    for option in option_values(options):
        if option.get("type") != ATTACHMENT:
            continue
        item = uploads.get(str(option.get("value")))
        attachment = None if item is None else reader.from_slot(item)
        if attachment is None:
            data.add_error("attachments", "MESSAGE_ATTACHMENT_NOT_FOUND", f"No upload for option '{option['name']}'")
            continue
        found.append((option, attachment))
    data.raise_if_invalid()
    for option, attachment in found:
        request.messages.keep_option_file(attachment)
        option["value"] = str(attachment.id)
    return {str(attachment.id): attachment for _, attachment in found}


def _source(request: Request, form: Form, channel: Channel, application: Application) -> Message:
    message_id = form.snowflake("message_id", required=True) or 0
    form.raise_if_invalid()
    message = channel.messages.get(message_id) or request.state.ephemerals.get(message_id)
    mine = message is not None and message.visible_to in (None, request.user.id) and message.channel_id == channel.id
    if message is None or not mine or message.author_id != application.bot_id:
        raise api_error(10008)
    return message


def _component_data(source: Message, data: Form) -> Payload:
    custom_id = data.text("custom_id", low=1, high=100, required=True)
    kind = data.integer("component_type", required=True)
    data.raise_if_invalid()
    found = next((c for c in walk(source.components) if c.get("custom_id") == custom_id), None)
    if found is None or found["type"] != kind or found.get("disabled"):
        raise _component_error("custom_id")
    payload: dict[str, Json] = {"custom_id": custom_id, "component_type": kind, "id": found.get("id")}
    if kind in SELECTS:
        chosen = data.array("values", high=25) or []
        low, high = found.get("min_values", 1), found.get("max_values", 1)
        offered = {o["value"] for o in found.get("options") or []}
        if not all(isinstance(c, str) for c in chosen) or not low <= len(chosen) <= high:
            raise _component_error("values")
        if not (set(chosen) <= offered if kind == SELECT else all(as_snowflake(c) is not None for c in chosen)):
            raise _component_error("values")
        payload["values"] = chosen
    return payload


def _component_error(name: str) -> ApiError:
    return form_error(("data", name), "COMPONENT_VALIDATION_FAILED", "Component validation failed")


async def respond(request: Request) -> Payload | None:
    """The bot's initial response. JSON with `with_response`, else 204."""
    interaction = request.state.interactions.get(request.http.match_info["token"])
    if interaction is None or interaction.id != request.id("interaction_id"):
        raise api_error(10062)
    body = await request.body()
    result = request.services.interactions.respond(interaction, body, request.files)
    return result if request.http.query.get("with_response") in ("1", "true", "True") else None


async def follow_up(request: Request) -> Payload:
    interaction = _interaction(request)
    body = await request.body()
    return _response_json(
        request, interaction, request.services.interactions.follow_up(interaction, body, request.files)
    )


async def get_response(request: Request) -> Payload:
    interaction = _interaction(request)
    return _response_json(request, interaction, _response(request, interaction))


async def edit_response(request: Request) -> Payload:
    interaction = _interaction(request)
    message = _response(request, interaction)
    body = await request.body()
    loading = bool(message.flags & MessageFlag.LOADING)
    request.messages.edit(message, request.state.users[message.author_id], body, request.files, quiet=loading)
    return _response_json(request, interaction, message)


async def delete_response(request: Request) -> None:
    request.messages.delete(_response(request, _interaction(request)))
    return


def _interaction(request: Request) -> Interaction:
    return request.services.interactions.find(request.id("application_id"), request.http.match_info["token"])


def _response(request: Request, interaction: Interaction) -> Message:
    """`@original` or a follow-up of this interaction. Raises 10008 for other and for deleted messages."""
    raw = request.http.match_info["message_id"]
    if raw == "@original":
        if interaction.original is None:
            raise api_error(10015)
        wanted = interaction.original.id
    else:
        wanted = request.id("message_id")
        if wanted not in interaction.message_ids:
            raise api_error(10008)
    found = request.state.message(interaction.channel_id, wanted) or request.state.ephemerals.get(wanted)
    if found is None:
        raise api_error(10008)
    return found


def _response_json(request: Request, interaction: Interaction, message: Message) -> Payload:
    bot_id = request.state.applications[interaction.application_id].bot_id
    return request.server.payloads.message(message, Viewer(bot_id))


_TOKEN = "/webhooks/{application_id}/{token}"  # noqa: S105 - a path

ENDPOINTS = (
    Endpoint("POST", "/interactions", interact),
    Endpoint("POST", "/interactions/{interaction_id}/{token}/callback", respond, open=True),
    Endpoint("POST", _TOKEN, follow_up, open=True),
    Endpoint("GET", _TOKEN + "/messages/{message_id}", get_response, open=True),
    Endpoint("PATCH", _TOKEN + "/messages/{message_id}", edit_response, open=True),
    Endpoint("DELETE", _TOKEN + "/messages/{message_id}", delete_response, open=True),
)
