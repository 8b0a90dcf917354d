"""Interactions: payloads for the bot, its responses, and the deadlines (3 s to respond, 15 min for the token)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping

from sandbox.drafts import UploadedFile, read_draft
from sandbox.message_payloads import Viewer
from sandbox.message_service import MessageService
from sandbox.payloads import channel_json, member_json, user_json
from sandbox.permissions import permissions_in
from sandbox.resolved import SELECT_KINDS, Resolved
from sandbox.responses import api_error
from sandbox.server_state import ServerState
from sandbox.state import Application, Channel, Interaction, Json, Message, MessageFlag, Payload, User
from sandbox.validation.commands import GROUP, INTEGER, MESSAGE_MENU, NUMBER, STRING, SUBCOMMAND, option_values
from sandbox.validation.forms import Form
from sandbox.validation.modals import check_modal, inputs_of

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
SLASH_COMMAND_RESPONSE, CONTEXT_MENU_RESPONSE = 20, 23
GUILD_CONTEXT = 0
CALLBACK_TYPES = {
    COMMAND: frozenset({MESSAGE, DEFERRED_MESSAGE, MODAL}),
    COMPONENT: frozenset({MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE, MODAL}),
    AUTOCOMPLETE: frozenset({CHOICES}),
    MODAL_SUBMIT: frozenset({MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE}),
}
NO_RESPONSE = 2
"""The reason code of INTERACTION_FAILURE when the application did not respond."""


class Interactions:
    """Creates the interactions and owns their deadlines."""

    def __init__(self, server: ServerState, messages: MessageService) -> None:
        self._server = server
        self._state = server.state
        self._messages = messages

    def begin(
        self,
        kind: int,
        application: Application,
        user: User,
        channel: Channel,
        data: dict[str, Json],
        *,
        nonce: str | None,
        session_id: str,
        locale: str,
        source: Message | None = None,
        opener: Interaction | None = None,
    ) -> Interaction:
        """Stores the interaction, notifies the user's client and the bot, and starts the deadline."""
        interaction = Interaction(
            id=self._state.ids.next(),
            token=secrets.token_urlsafe(48),
            type=kind,
            application_id=application.id,
            user_id=user.id,
            channel_id=channel.id,
            guild_id=channel.guild_id,
            nonce=nonce,
            session_id=session_id,
            data=data,
            created_at=self._server.clock.now(),
            locale=locale,
            source=source,
            opener=opener,
        )
        self._state.interactions[interaction.token] = interaction
        self._remove_oldest()
        self._notify_user(interaction, "INTERACTION_CREATE")
        payload = _interaction_json(self._server, interaction)
        self._server.sessions.send_to_user(application.bot_id, "INTERACTION_CREATE", payload, channel.guild_id)
        loop = asyncio.get_running_loop()
        interaction.deadline = loop.call_later(self._server.limits.interaction_deadline_s, self._expire, interaction)
        return interaction

    def respond(self, interaction: Interaction, body: dict[str, object], files: Mapping[int, UploadedFile]) -> Payload:
        """The initial response. Raises 10062 after the deadline, 40060 for a second one, 50035 for a malformed one."""
        if interaction.failed:
            raise api_error(10062)
        if interaction.response_type is not None:
            raise api_error(40060)
        form = Form(body)
        kind = form.choice("type", range(1, 13), required=True)
        allowed = CALLBACK_TYPES[interaction.type]
        updates = kind in (DEFERRED_UPDATE, UPDATE_MESSAGE)
        if kind is not None and (kind not in allowed or (updates and interaction.source is None)):
            listed = ", ".join(str(a) for a in sorted(allowed))
            form.add_error("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{listed}}}.")
        data = form.mapping("data") or {}
        form.raise_if_invalid()
        assert kind is not None  # noqa: S101 - required above
        self._apply_response(interaction, kind, data, files)
        interaction.response_type = kind
        if interaction.deadline is not None:
            interaction.deadline.cancel()
        if interaction.opener is not None:
            interaction.opener.modal = None  # it is answered, and closed
        if kind != CHOICES:
            self._notify_user(interaction, "INTERACTION_SUCCESS")
        return self._callback_json(interaction, kind)

    def find(self, application_id: int, token: str) -> Interaction:
        """By application and token. Raises 10015 for an unknown token, 50027 for an expired one."""
        interaction = self._state.interactions.get(token)
        if interaction is None or interaction.application_id != application_id:
            raise api_error(10015)
        if self._server.clock.now() - interaction.created_at > self._server.limits.interaction_token_s:
            raise api_error(50027)
        return interaction

    def follow_up(
        self, interaction: Interaction, body: dict[str, object], files: Mapping[int, UploadedFile]
    ) -> Message:
        """A further message. The first one after a deferral replaces the loading message."""
        if interaction.response_type is None:
            raise api_error(10015)
        original = interaction.original
        if original is not None and original.flags & MessageFlag.LOADING and self._state.exists(original):
            self._messages.edit(original, self._bot(interaction), body, files, quiet=True)
            return original
        return self._post(interaction, body, files)

    def close(self) -> None:
        for interaction in self._state.interactions.values():
            if interaction.deadline is not None:
                interaction.deadline.cancel()

    def _apply_response(
        self, interaction: Interaction, kind: int, data: dict[str, object], files: Mapping[int, UploadedFile]
    ) -> None:
        match kind:
            case 4:
                interaction.original = self._post(interaction, data, files)
            case 5:
                interaction.original = self._post_loading(interaction, data)
            case 6:
                interaction.original = interaction.source
            case 7 if interaction.source is not None:
                if not self._state.exists(interaction.source):
                    raise api_error(10008)
                self._messages.edit(interaction.source, self._bot(interaction), data, files)
                interaction.original = interaction.source
            case 8:
                self._offer_choices(interaction, data)
            case 9:
                self._open_modal(interaction, data)

    def _post(self, interaction: Interaction, body: dict[str, object], files: Mapping[int, UploadedFile]) -> Message:
        bot = self._bot(interaction)
        channel = self._channel(interaction)
        draft = read_draft(self._server, bot, channel.id, body, files, ephemeral_allowed=True)
        if draft.is_empty:
            raise api_error(50006)
        message = self._response_message(interaction, ephemeral=bool(draft.flags & MessageFlag.EPHEMERAL))
        return self._keep(interaction, self._messages.post(channel, bot, draft, like=message))

    def _post_loading(self, interaction: Interaction, data: dict[str, object]) -> Message:
        flags = Form(data).integer("flags") or 0
        bot, channel = self._bot(interaction), self._channel(interaction)
        draft = read_draft(self._server, bot, channel.id, {}, {})
        message = self._response_message(interaction, ephemeral=bool(flags & MessageFlag.EPHEMERAL))
        message.flags |= MessageFlag.LOADING
        return self._keep(interaction, self._messages.post(channel, bot, draft, like=message))

    def _keep(self, interaction: Interaction, message: Message) -> Message:
        interaction.message_ids.add(message.id)
        return message

    def _response_message(self, interaction: Interaction, *, ephemeral: bool) -> Message:
        kind = 0
        if interaction.type == COMMAND:
            kind = SLASH_COMMAND_RESPONSE if interaction.data.get("type", 1) == 1 else CONTEXT_MENU_RESPONSE
        return Message(
            id=0,
            channel_id=interaction.channel_id,
            author_id=self._bot(interaction).id,
            type=kind,
            interaction=_metadata_json(self._server, interaction),
            application_id=interaction.application_id,
            webhook_id=interaction.application_id,
            visible_to=interaction.user_id if ephemeral else None,
        )

    def _offer_choices(self, interaction: Interaction, data: dict[str, object]) -> None:
        form = Form(data, path=("data",))
        choices = form.forms("choices", high=25, required=True) or []
        for choice in choices:
            choice.text("name", low=1, high=100, required=True)
            if choice.body.get("value") is None:
                choice.add_error("value", "BASE_TYPE_REQUIRED", "This field is required")
        form.raise_if_invalid()
        kinds = _value_types(interaction)
        for choice in choices:
            value = choice.body.get("value")
            if value is not None and type(value) not in kinds:
                choice.add_error("value", "BASE_TYPE_CHOICES", "The value has another type than the option")
        form.raise_if_invalid()
        body = {"choices": [c.body for c in choices], "nonce": interaction.nonce}
        self._server.sessions.send_to_user(interaction.user_id, "APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE", body)

    def _open_modal(self, interaction: Interaction, data: dict[str, object]) -> None:
        """Raises 50035 for an invalid one."""
        form = Form(data, path=("data",))
        modal = check_modal(form)
        form.raise_if_invalid()
        interaction.modal = modal
        bot, user = self._bot(interaction), self._state.users[interaction.user_id]
        resolved = Resolved(self._server, self._channel(interaction), user, bot.id)
        for asked in inputs_of(modal):
            defaults = [value["id"] for value in asked.get("default_values") or []]
            resolved.named(SELECT_KINDS.get(asked["type"], frozenset()), defaults)
        application = self._state.applications[interaction.application_id]
        about = {"id": str(application.id), "name": application.name, "icon": None, "bot": user_json(bot)}
        self._notify_user(
            interaction,
            "INTERACTION_MODAL_CREATE",
            **{"channel_id": str(interaction.channel_id), "application": about, **modal, **resolved.field},
        )

    def _callback_json(self, interaction: Interaction, kind: int) -> Payload:
        about: Payload = {"id": str(interaction.id), "type": interaction.type}
        message = interaction.original
        if message is not None and kind != DEFERRED_UPDATE:
            about |= {
                "response_message_id": str(message.id),
                "response_message_loading": bool(message.flags & MessageFlag.LOADING),
                "response_message_ephemeral": message.visible_to is not None,
            }
        if message is None or kind not in (MESSAGE, UPDATE_MESSAGE, DEFERRED_MESSAGE):
            return {"interaction": about}
        shown = self._server.payloads.message(message, Viewer(message.author_id))
        resource = {"type": UPDATE_MESSAGE if kind == UPDATE_MESSAGE else MESSAGE, "message": shown}
        return {"interaction": about, "resource": resource}

    def _expire(self, interaction: Interaction) -> None:
        interaction.failed = True
        self._notify_user(interaction, "INTERACTION_FAILURE", reason_code=NO_RESPONSE)

    def _notify_user(self, interaction: Interaction, event: str, **more: object) -> None:
        body = {"id": str(interaction.id), "nonce": interaction.nonce, **more}
        self._server.sessions.send_to_user(interaction.user_id, event, body)

    def _channel(self, interaction: Interaction) -> Channel:
        """Raises 10003 if it has been deleted."""
        found = self._state.channels.get(interaction.channel_id)
        if found is None:
            raise api_error(10003)
        return found

    def _bot(self, interaction: Interaction) -> User:
        return self._state.users[self._state.applications[interaction.application_id].bot_id]

    def _remove_oldest(self) -> None:
        while len(self._state.interactions) > self._server.limits.interactions_kept:
            oldest = self._state.interactions.pop(next(iter(self._state.interactions)))
            if oldest.deadline is not None:
                oldest.deadline.cancel()


def _value_types(interaction: Interaction) -> tuple[type, ...]:
    """Of the option that is being completed."""
    focused = (one for one in option_values(interaction.data.get("options") or []) if one.get("focused"))
    kind = next((one.get("type") for one in focused), None)
    return {STRING: (str,), INTEGER: (int,), NUMBER: (int, float)}.get(kind or 0, (str, int, float))


def _interaction_json(server: ServerState, interaction: Interaction) -> Payload:
    """INTERACTION_CREATE for the bot."""
    state = server.state
    channel = state.channels[interaction.channel_id]
    application = state.applications[interaction.application_id]
    guild = state.guild_of(channel)
    user = state.users[interaction.user_id]
    body: Payload = {
        "id": str(interaction.id),
        "application_id": str(interaction.application_id),
        "type": interaction.type,
        "token": interaction.token,
        "version": 1,
        "channel_id": str(channel.id),
        "channel": channel_json(state, channel, user),
        "data": interaction.data,
        "app_permissions": str(permissions_in(state, channel, application.bot_id)),
        "locale": interaction.locale,
        "context": GUILD_CONTEXT,
        "entitlements": [],
        "entitlement_sku_ids": [],
        "authorizing_integration_owners": {"0": str(guild.id)},
        "attachment_size_limit": server.limits.file_bytes,
        "guild_id": str(guild.id),
        "guild_locale": "en-US",
        "guild": {"id": str(guild.id), "locale": "en-US", "features": []},
        "member": {
            **member_json(state, guild.members[user.id]),
            "permissions": str(permissions_in(state, channel, user.id)),
        },
    }
    if interaction.source is not None:
        body["message"] = server.payloads.message(interaction.source, Viewer(application.bot_id))
    return body


def _command_path(data: Json) -> Iterator[str]:
    """The names of a command, and of the group and the subcommand that were used of it."""
    yield data["name"]
    for option in data.get("options") or ():
        if option["type"] in (SUBCOMMAND, GROUP):
            yield from _command_path(option)


def _metadata_json(server: ServerState, interaction: Interaction) -> Payload:
    """The `interaction_metadata` of the messages that respond to it."""
    body: Payload = {
        "id": str(interaction.id),
        "type": interaction.type,
        "user": user_json(server.state.users[interaction.user_id]),
        "authorizing_integration_owners": {"0": str(interaction.guild_id)},
    }
    if interaction.original is not None and interaction.original is not interaction.source:
        body["original_response_message_id"] = str(interaction.original.id)
    if interaction.type == COMMAND:
        body["name"] = " ".join(_command_path(interaction.data))
        if interaction.data["type"] == MESSAGE_MENU:
            body["target_message_id"] = interaction.data["target_id"]
    elif interaction.opener is not None:
        body["triggering_interaction_metadata"] = _metadata_json(server, interaction.opener)
    elif interaction.source is not None:
        body["interacted_message_id"] = str(interaction.source.id)
    return body
