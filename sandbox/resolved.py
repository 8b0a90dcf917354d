"""The `resolved` field of interactions: the objects that options, select menus and modals name by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sandbox.message_payloads import Viewer
from sandbox.payloads import bare_member_json, channel_json, role_json, user_json
from sandbox.permissions import may_read, permissions_in
from sandbox.server_state import ServerState
from sandbox.state import Attachment, Channel, Json, Message, Payload, User
from sandbox.validation import commands, selects
from sandbox.validation.forms import as_snowflake

KINDS: Mapping[int, frozenset[str]] = {
    commands.USER: frozenset({"users"}),
    commands.ROLE: frozenset({"roles"}),
    commands.MENTIONABLE: frozenset({"users", "roles"}),
    commands.CHANNEL: frozenset({"channels"}),
}
"""By the type of an option: what its value may name."""
SELECT_KINDS: Mapping[int, frozenset[str]] = {
    selects.USER_SELECT: KINDS[commands.USER],
    selects.ROLE_SELECT: KINDS[commands.ROLE],
    selects.MENTIONABLE_SELECT: KINDS[commands.MENTIONABLE],
    selects.CHANNEL_SELECT: KINDS[commands.CHANNEL],
}


class Resolved:
    """Collects the objects that one interaction names, in the channel where it began."""

    def __init__(self, server: ServerState, channel: Channel, user: User, bot_id: int) -> None:
        self._server = server
        self._state = server.state
        self._channel = channel
        self._guild = server.state.guild_of(channel)
        self._user = user
        self._bot_id = bot_id
        self._body: dict[str, dict[str, Json]] = {}

    @property
    def field(self) -> Payload:
        """`{"resolved": …}`, empty where nothing was resolved."""
        return {"resolved": self._body} if self._body else {}

    def options(self, options: Iterable[Mapping[str, Json]]) -> None:
        for option in options:
            self.named(KINDS.get(option["type"], frozenset()), [option.get("value")])

    def named(self, kinds: frozenset[str], values: Iterable[object]) -> bool:
        """False where a value names nothing of these kinds that the user may see."""
        return all([any([self._one(kind, as_snowflake(value) or 0) for kind in kinds]) for value in values])

    def attachments(self, attachments: Iterable[Attachment]) -> None:
        for attachment in attachments:
            self._add("attachments", attachment.id, self._server.payloads.attachment(attachment))

    def message(self, message: Message) -> None:
        self._add("messages", message.id, self._server.payloads.message(message, Viewer(self._bot_id)))

    def _one(self, kind: str, named: int) -> bool:
        if kind == "users" and named in self._state.users:
            self._add("users", named, user_json(self._state.users[named]))
            member = self._guild.members.get(named)
            if member is not None:
                rights = permissions_in(self._state, self._channel, named)
                self._add("members", named, {**bare_member_json(member), "permissions": str(rights)})
            return True
        if kind == "roles" and named in self._guild.roles:
            self._add("roles", named, role_json(self._guild, self._guild.roles[named]))
            return True
        channel = self._state.channels.get(named) if named in self._guild.channel_ids else None
        if kind == "channels" and channel is not None and may_read(self._state, channel, self._user.id):
            rights = permissions_in(self._state, channel, self._bot_id)
            body = {**channel_json(self._state, channel, self._user), "app_permissions": str(rights)}
            self._add("channels", named, body)
            return True
        return False

    def _add(self, kind: str, named: int, body: Payload) -> None:
        self._body.setdefault(kind, {})[str(named)] = body
