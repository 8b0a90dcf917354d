"""The life of an interaction: begun by a person, answered within three seconds, alive for fifteen minutes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from sandbox.drafts import IncomingFile, read_draft
from sandbox.errors import form_error, refusal
from sandbox.interaction_payloads import interaction_json, metadata_json
from sandbox.message_payloads import Viewer
from sandbox.posting import Poster
from sandbox.realm import Realm
from sandbox.validation.components import check_modal
from sandbox.validation.forms import Form
from sandbox.world import Application, Channel, Interaction, Json, Message, MessageFlag, User

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5
MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE, CHOICES, OPEN_MODAL = 4, 5, 6, 7, 8, 9
CHAT_INPUT_ANSWER, CONTEXT_MENU_ANSWER = 20, 23
CALLBACK_TYPES = {
    COMMAND: frozenset({MESSAGE, DEFERRED_MESSAGE, OPEN_MODAL}),
    COMPONENT: frozenset({MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE, OPEN_MODAL}),
    AUTOCOMPLETE: frozenset({CHOICES}),
    MODAL: frozenset({MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE}),
}
NO_RESPONSE = 2
"""The reason code of INTERACTION_FAILURE when the application stayed silent."""


class Interactions:
    """Owns every interaction and its deadline."""

    def __init__(self, realm: Realm, poster: Poster) -> None:
        self._realm = realm
        self._world = realm.world
        self._poster = poster

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
    ) -> Interaction:
        """Registers the interaction, tells the person's client and the bot, and sets the deadline."""
        interaction = Interaction(
            id=self._world.ids.next(),
            token=secrets.token_urlsafe(48),
            type=kind,
            application_id=application.id,
            user_id=user.id,
            channel_id=channel.id,
            guild_id=channel.guild_id,
            nonce=nonce,
            session_id=session_id,
            data=data,
            created_at=self._realm.clock.now(),
            locale=locale,
            source=source,
        )
        self._world.interactions[interaction.token] = interaction
        self._forget_oldest()
        self._tell(interaction, "INTERACTION_CREATE")
        self._realm.hub.to_user(application.bot_id, "INTERACTION_CREATE", interaction_json(self._realm, interaction))
        loop = asyncio.get_running_loop()
        interaction.deadline = loop.call_later(self._realm.limits.interaction_deadline_s, self._expire, interaction)
        return interaction

    def respond(
        self, interaction: Interaction, body: dict[str, Json], files: Mapping[int, IncomingFile]
    ) -> dict[str, Json]:
        """The initial response. Raises 10062 when too late, 40060 when there was one, 50035 when it is malformed."""
        if interaction.failed:
            raise refusal(10062)
        if interaction.response_type is not None:
            raise refusal(40060)
        form = Form(body)
        kind = form.choice("type", range(1, 13), required=True)
        allowed = CALLBACK_TYPES[interaction.type]
        updates = kind in (DEFERRED_UPDATE, UPDATE_MESSAGE)
        if kind is not None and (kind not in allowed or (updates and interaction.source is None)):
            listed = ", ".join(str(a) for a in sorted(allowed))
            form.complain("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{listed}}}.")
        data = form.mapping("data") or {}
        form.settle()
        assert kind is not None  # noqa: S101 - a missing type has been complained of
        self._carry_out(interaction, kind, data, files)
        interaction.response_type = kind
        if interaction.deadline is not None:
            interaction.deadline.cancel()
        if kind != CHOICES:
            self._tell(interaction, "INTERACTION_SUCCESS")
        return self._callback_json(interaction, kind)

    def find(self, application_id: int, token: str) -> Interaction:
        """By the webhook path that follow-ups use. Raises 10015 for an unknown token, 50027 for one grown old."""
        interaction = self._world.interactions.get(token)
        if interaction is None or interaction.application_id != application_id:
            raise refusal(10015)
        if self._realm.clock.now() - interaction.created_at > self._realm.limits.interaction_token_s:
            raise refusal(50027)
        return interaction

    def follow_up(self, interaction: Interaction, body: dict[str, Json], files: Mapping[int, IncomingFile]) -> Message:
        """A further message; the first one after a deferral takes the place of the waiting one."""
        if interaction.response_type is None:
            raise refusal(10015)
        original = interaction.original
        if original is not None and original.flags & MessageFlag.LOADING and self._world.still_holds(original):
            self._poster.edit(original, self._bot(interaction), body, files, quiet=True)
            return original
        return self._post(interaction, body, files)

    def close(self) -> None:
        for interaction in self._world.interactions.values():
            if interaction.deadline is not None:
                interaction.deadline.cancel()

    def _carry_out(
        self, interaction: Interaction, kind: int, data: dict[str, Json], files: Mapping[int, IncomingFile]
    ) -> None:
        match kind:
            case 4:
                interaction.original = self._post(interaction, data, files)
            case 5:
                interaction.original = self._post_loading(interaction, data)
            case 6:
                interaction.original = interaction.source
            case 7 if interaction.source is not None:
                if not self._world.still_holds(interaction.source):
                    raise refusal(10008)
                self._poster.edit(interaction.source, self._bot(interaction), data, files)
                interaction.original = interaction.source
            case 8:
                self._offer_choices(interaction, data)
            case 9:
                self._open_modal(interaction, data)

    def _post(self, interaction: Interaction, body: dict[str, Json], files: Mapping[int, IncomingFile]) -> Message:
        bot = self._bot(interaction)
        channel = self._channel(interaction)
        draft = read_draft(self._realm, bot, channel.id, body, files, ephemeral_allowed=True)
        if draft.is_empty:
            raise refusal(50006)
        message = self._answer(interaction, ephemeral=bool(draft.flags & MessageFlag.EPHEMERAL))
        return self._keep(interaction, self._poster.post(channel, bot, draft, like=message))

    def _post_loading(self, interaction: Interaction, data: dict[str, Json]) -> Message:
        flags = Form(data).integer("flags") or 0
        bot, channel = self._bot(interaction), self._channel(interaction)
        draft = read_draft(self._realm, bot, channel.id, {}, {})
        message = self._answer(interaction, ephemeral=bool(flags & MessageFlag.EPHEMERAL))
        message.flags |= MessageFlag.LOADING
        return self._keep(interaction, self._poster.post(channel, bot, draft, like=message))

    def _keep(self, interaction: Interaction, message: Message) -> Message:
        interaction.message_ids.add(message.id)
        return message

    def _answer(self, interaction: Interaction, *, ephemeral: bool) -> Message:
        kind = 0
        if interaction.type == COMMAND:
            kind = CHAT_INPUT_ANSWER if interaction.data.get("type", 1) == 1 else CONTEXT_MENU_ANSWER
        return Message(
            id=0,
            channel_id=interaction.channel_id,
            author_id=self._bot(interaction).id,
            type=kind,
            interaction=metadata_json(self._realm, interaction),
            application_id=interaction.application_id,
            webhook_id=interaction.application_id,
            visible_to=interaction.user_id if ephemeral else None,
        )

    def _offer_choices(self, interaction: Interaction, data: dict[str, Json]) -> None:
        form = Form(data, path=("data",))
        choices = form.forms("choices", high=25, required=True) or []
        for choice in choices:
            choice.text("name", low=1, high=100, required=True)
            if choice.body.get("value") is None:
                choice.complain("value", "BASE_TYPE_REQUIRED", "This field is required")
        form.settle()
        body = {"choices": [c.body for c in choices], "nonce": interaction.nonce}
        self._realm.hub.to_user(interaction.user_id, "APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE", body)

    def _open_modal(self, interaction: Interaction, data: dict[str, Json]) -> None:
        form = Form(data, path=("data",))
        check_modal(form)
        form.settle()
        interaction.modal = data
        application = self._world.applications[interaction.application_id]
        body = {
            "id": str(interaction.id),
            "nonce": interaction.nonce,
            "channel_id": str(interaction.channel_id),
            "custom_id": data["custom_id"],
            "title": data["title"],
            "components": data["components"],
            "application": {
                "id": str(application.id),
                "name": application.name,
                "description": application.description,
            },
        }
        self._realm.hub.to_user(interaction.user_id, "INTERACTION_MODAL_CREATE", body)

    def _callback_json(self, interaction: Interaction, kind: int) -> dict[str, Json]:
        about: dict[str, Json] = {"id": str(interaction.id), "type": interaction.type}
        message = interaction.original
        if message is not None and kind != DEFERRED_UPDATE:
            about |= {
                "response_message_id": str(message.id),
                "response_message_loading": bool(message.flags & MessageFlag.LOADING),
                "response_message_ephemeral": message.visible_to is not None,
            }
        if message is None or kind not in (MESSAGE, UPDATE_MESSAGE, DEFERRED_MESSAGE):
            return {"interaction": about}
        shown = self._realm.payloads.message(message, Viewer(message.author_id))
        resource = {"type": UPDATE_MESSAGE if kind == UPDATE_MESSAGE else MESSAGE, "message": shown}
        return {"interaction": about, "resource": resource}

    def _expire(self, interaction: Interaction) -> None:
        interaction.failed = True
        self._tell(interaction, "INTERACTION_FAILURE", reason_code=NO_RESPONSE)

    def _tell(self, interaction: Interaction, event: str, **more: Json) -> None:
        body = {"id": str(interaction.id), "nonce": interaction.nonce, **more}
        self._realm.hub.to_user(interaction.user_id, event, body)

    def _channel(self, interaction: Interaction) -> Channel:
        """It may have been deleted since."""
        found = self._world.channels.get(interaction.channel_id)
        if found is None:
            raise refusal(10003)
        return found

    def _bot(self, interaction: Interaction) -> User:
        return self._world.users[self._world.applications[interaction.application_id].bot_id]

    def _forget_oldest(self) -> None:
        while len(self._world.interactions) > self._realm.limits.interactions_kept:
            oldest = self._world.interactions.pop(next(iter(self._world.interactions)))
            if oldest.deadline is not None:
                oldest.deadline.cancel()


def bad_component(name: str) -> Exception:
    """A press on something that the message does not have, or not any more."""
    return form_error(("data", name), "COMPONENT_VALIDATION_FAILED", "Component validation failed")
