"""A person's side of an interaction: invoking commands, typing into options, pressing buttons, sending modals."""

from __future__ import annotations

from sandbox.drafts import read_option_upload
from sandbox.errors import form_error, refusal
from sandbox.interaction_payloads import resolve_message, resolve_options, resolve_user
from sandbox.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL, bad_component
from sandbox.permissions import READ_MESSAGE_HISTORY, USE_APPLICATION_COMMANDS, permissions_in
from sandbox.rest.call import Call, Endpoint
from sandbox.rest.users import LOCALES
from sandbox.validation.commands import MESSAGE_MENU, SLASH, USER_MENU
from sandbox.validation.components import SELECT, SELECTS, walk
from sandbox.validation.forms import Form, as_snowflake
from sandbox.validation.options import ATTACHMENT, check_options, values
from sandbox.world import Application, Attachment, Channel, ChannelType, Command, Json, Message


async def interact(call: Call) -> Json:
    """POST /interactions: 204, and everything else comes by the gateway."""
    form = Form(await call.body())
    kind = form.choice("type", (COMMAND, COMPONENT, AUTOCOMPLETE, MODAL), required=True)
    application_id = form.snowflake("application_id", required=True)
    channel_id = form.snowflake("channel_id", required=True)
    session_id = form.text("session_id", low=1, high=100, required=True)
    nonce = form.text("nonce", low=1, high=25)
    data = form.form("data", required=True)
    form.settle()
    assert channel_id is not None and data is not None and kind is not None  # noqa: S101 - required above
    application = call.world.applications.get(application_id or 0)
    if application is None:
        raise refusal(10002)
    channel = call.check_channel(channel_id)
    if form.snowflake("guild_id") not in (None, channel.guild_id):
        form.complain("guild_id", "BASE_TYPE_CHOICES", "This is not the channel's server.")
    form.settle()
    _check_present(call, application, channel)
    source: Message | None = None
    if kind == COMPONENT:
        source = _source(call, form, channel, application)
        payload = _component_data(source, data)
    elif kind == MODAL:
        payload, source = _modal_data(call, application, data)
    else:
        payload = _command_data(call, application, channel, data, partial=kind == AUTOCOMPLETE)
    call.api.interactions.begin(
        kind,
        application,
        call.user,
        channel,
        payload,
        nonce=nonce,
        session_id=session_id or "",
        locale=_locale(call),
        source=source,
    )
    return None


def _locale(call: Call) -> str:
    stated = call.request.headers.get("X-Discord-Locale")
    return stated if stated in LOCALES else call.user.locale


def _check_present(call: Call, application: Application, channel: Channel) -> None:
    guild = call.world.guild_of(channel)
    present = channel.recipients if guild is None else guild.members
    if call.user.bot:
        raise refusal(20001)
    if application.bot_id not in present:
        raise refusal(10002)


def _command_data(
    call: Call, application: Application, channel: Channel, data: Form, *, partial: bool
) -> dict[str, Json]:
    command = application.commands.get(data.snowflake("id", required=True) or 0)
    data.settle()
    if command is None or command.guild_id not in (None, channel.guild_id):
        raise refusal(10063)
    _check_right(call, command, channel)
    payload: dict[str, Json] = {"id": str(command.id), "name": command.name, "type": command.type}
    if command.guild_id is not None:
        payload["guild_id"] = str(command.guild_id)
    if command.type == SLASH:
        return payload | _slash_data(call, command, channel, data, partial)
    target = data.snowflake("target_id", required=True) or 0
    data.settle()
    payload["target_id"] = str(target)
    if command.type == MESSAGE_MENU:
        message = channel.messages.get(target)
        if message is None:
            raise refusal(10008)
        call.require(channel, READ_MESSAGE_HISTORY)
        payload["resolved"] = resolve_message(call.realm.payloads, message, application.bot_id)
    elif command.type == USER_MENU:
        payload["resolved"] = resolve_user(call.realm, call.world.guild_of(channel), target)
    return payload


def _check_right(call: Call, command: Command, channel: Channel) -> None:
    contexts = command.body.get("contexts")
    in_guild = channel.type != ChannelType.DM
    if contexts is not None and (0 if in_guild else 1) not in contexts:
        raise refusal(10063)
    parent = call.world.channels.get(channel.parent_id or 0) if channel.thread is not None else channel
    if command.body.get("nsfw") and in_guild and not (parent is not None and parent.nsfw):
        raise refusal(10063)
    permissions = permissions_in(call.world, channel, call.user.id)
    wanted = command.body.get("default_member_permissions")
    if not permissions & USE_APPLICATION_COMMANDS:
        raise refusal(50013)
    if in_guild and wanted is not None:
        bits = int(wanted) or 1 << 3
        if permissions & bits != bits:
            raise refusal(50013)


def _slash_data(call: Call, command: Command, channel: Channel, data: Form, partial: bool) -> dict[str, Json]:
    guild = call.world.guild_of(channel)
    there = {} if guild is None else {c: call.world.channels[c].type for c in guild.channel_ids}
    check_options(data, command.body.get("options") or [], there, partial=partial)
    data.settle()
    options = data.body.get("options") or []
    attachments = {} if partial else _take_uploads(call, channel, data, options)
    resolved = resolve_options(call.realm, guild, call.user.id, options, attachments)
    return {"options": options, **({"resolved": resolved} if resolved else {})}


def _take_uploads(call: Call, channel: Channel, data: Form, options: list[Json]) -> dict[str, Attachment]:
    """Turns uploaded files into ephemeral attachments and puts their ids where the options had places."""
    offered = {str(item.body.get("id")): item for item in data.forms("attachments", high=10) or []}
    places: list[tuple[dict[str, Json], Attachment]] = []
    taken: set[str] = set()
    for option in values(options):
        if option.get("type") != ATTACHMENT:
            continue
        item = offered.get(str(option.get("value")))
        attachment = None if item is None else read_option_upload(call.realm, call.user, channel.id, item, taken)
        if attachment is None:
            data.complain("attachments", "MESSAGE_ATTACHMENT_NOT_FOUND", f"No upload for option '{option['name']}'")
            continue
        places.append((option, attachment))
    data.settle()
    for option, attachment in places:
        call.api.poster.keep_option_file(attachment)
        option["value"] = str(attachment.id)
    return {str(attachment.id): attachment for _, attachment in places}


def _source(call: Call, form: Form, channel: Channel, application: Application) -> Message:
    message_id = form.snowflake("message_id", required=True) or 0
    form.settle()
    message = channel.messages.get(message_id) or call.world.ephemerals.get(message_id)
    mine = message is not None and message.visible_to in (None, call.user.id) and message.channel_id == channel.id
    if message is None or not mine or message.author_id != application.bot_id:
        raise refusal(10008)
    return message


def _component_data(source: Message, data: Form) -> dict[str, Json]:
    custom_id = data.text("custom_id", low=1, high=100, required=True)
    kind = data.integer("component_type", required=True)
    data.settle()
    found = next((c for c in walk(source.components) if c.get("custom_id") == custom_id), None)
    if found is None or found["type"] != kind or found.get("disabled"):
        raise bad_component("custom_id")
    payload: dict[str, Json] = {"custom_id": custom_id, "component_type": kind, "id": found.get("id")}
    if kind in SELECTS:
        chosen = data.array("values", high=25) or []
        low, high = found.get("min_values", 1), found.get("max_values", 1)
        offered = {o["value"] for o in found.get("options") or []}
        if not all(isinstance(c, str) for c in chosen) or not low <= len(chosen) <= high:
            raise bad_component("values")
        if not (set(chosen) <= offered if kind == SELECT else all(as_snowflake(c) is not None for c in chosen)):
            raise bad_component("values")
        payload["values"] = chosen
    return payload


def _modal_data(call: Call, application: Application, data: Form) -> tuple[dict[str, Json], Message | None]:
    """Each modal is answered at most once, by the person to whom it was shown."""
    opened_id = data.snowflake("id", required=True)
    custom_id = data.text("custom_id", low=1, high=100, required=True)
    components = data.array("components", low=1, high=5, required=True)
    data.settle()
    opened = next((i for i in call.world.interactions.values() if i.id == opened_id), None)
    if opened is None or opened.modal is None or opened.user_id != call.user.id:
        raise refusal(10062)
    if opened.application_id != application.id or opened.modal["custom_id"] != custom_id:
        raise form_error(("data", "custom_id"), "MODAL_CUSTOM_ID_MISMATCH", "This modal is not open")
    filled = {c["custom_id"]: c for c in walk(components) if isinstance(c.get("custom_id"), str)}
    shown = _filled_tree(opened.modal["components"], filled)
    opened.modal = None
    return {"custom_id": custom_id, "components": shown}, opened.source


def _filled_tree(shown: list[Json], filled: dict[str, Json]) -> list[Json]:
    """The modal's own tree with what the person entered: the client's copy cannot change its shape."""
    return [_filled_component(c, filled) for c in shown]


def _filled_component(component: dict[str, Json], filled: dict[str, Json]) -> dict[str, Json]:
    result: dict[str, Json] = {"type": component["type"], "id": component.get("id")}
    if "component" in component:
        result["component"] = _filled_component(component["component"], filled)
    elif "components" in component:
        result["components"] = _filled_tree(component["components"], filled)
    elif "custom_id" in component:
        result["custom_id"] = component["custom_id"]
        _fill_in(result, component, filled.get(component["custom_id"], {}))
    return result


def _fill_in(result: dict[str, Json], component: dict[str, Json], entered: dict[str, Json]) -> None:
    place = ("data", "components", component["custom_id"])
    if component["type"] == 4:
        text = entered.get("value") or ""
        low, high = component.get("min_length") or 0, component.get("max_length") or 4000
        missing = component.get("required", True) and not text
        if missing or not isinstance(text, str) or len(text) > high or (text and len(text) < low):
            raise form_error(place, "BASE_TYPE_BAD_LENGTH", f"Must be between {max(low, 1)} and {high} in length.")
        result["value"] = text
    elif component["type"] == 23:
        result["value"] = bool(entered.get("value"))
    else:
        chosen = entered.get("values") or []
        if not isinstance(chosen, list) or not all(isinstance(c, str) for c in chosen):
            raise form_error(place, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        if component.get("required", True) and not chosen and component["type"] != 19:
            raise form_error(place, "BASE_TYPE_REQUIRED", "This field is required")
        result["values"] = chosen


ENDPOINTS = (Endpoint("POST", "/interactions", interact),)
