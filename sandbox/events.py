"""Dispatches gateway events, each to the sessions that may receive it, in the shape that each receives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sandbox.message_payloads import Viewer
from sandbox.payloads import (
    bare_member_json,
    channel_json,
    full_guild_json,
    member_json,
    reaction_emoji_json,
    role_json,
    thread_member_json,
    user_json,
)
from sandbox.permissions import may_read
from sandbox.server_state import ServerState
from sandbox.sessions import Session
from sandbox.state import Channel, ChannelType, Guild, Member, Message, Payload, Role

GUILDS, GUILD_MEMBERS, GUILD_PRESENCES, GUILD_MESSAGES = 1 << 0, 1 << 1, 1 << 8, 1 << 9
GUILD_REACTIONS, GUILD_TYPING, MESSAGE_CONTENT = 1 << 10, 1 << 11, 1 << 15

VisibleChannels = dict[int, frozenset[int]]
"""The ids of the channels that each connected user sees in a guild."""


class Events:
    """Reads the state, never changes it."""

    def __init__(self, server: ServerState) -> None:
        self._state = server.state
        self._sessions = server.sessions
        self._payloads = server.payloads

    # Messages

    def message(self, event: str, message: Message) -> None:
        """MESSAGE_CREATE or MESSAGE_UPDATE. An ephemeral message reaches only the user it is for."""
        if message.visible_to is not None:
            body = self._payloads.event(message, Viewer(message.visible_to))
            self._sessions.send_to_user(message.visible_to, event, body)
            return
        channel = self._state.channels[message.channel_id]
        for session in self._readers(channel, GUILD_MESSAGES):
            self._sessions.dispatch(session, event, self._payloads.event(message, _viewer(session)))

    def message_deleted(self, message: Message) -> None:
        channel = self._state.channels[message.channel_id]
        body = _in_channel(channel, {"id": str(message.id)})
        if message.visible_to is not None:
            self._sessions.send_to_user(message.visible_to, "MESSAGE_DELETE", body)
            return
        self._to_readers(channel, "MESSAGE_DELETE", body, GUILD_MESSAGES)

    def messages_deleted(self, channel: Channel, ids: Iterable[int]) -> None:
        body = _in_channel(channel, {"ids": [str(i) for i in ids]})
        self._to_readers(channel, "MESSAGE_DELETE_BULK", body, GUILD_MESSAGES)

    def reaction(self, event: str, message: Message, user_id: int, emoji: str) -> None:
        channel = self._state.channels[message.channel_id]
        body: Payload = {
            "user_id": str(user_id),
            "message_id": str(message.id),
            "emoji": reaction_emoji_json(self._state, emoji),
            "burst": False,
            "type": 0,
        }
        member = self._state.guild_of(channel).members.get(user_id)
        if event == "MESSAGE_REACTION_ADD":
            body["message_author_id"] = str(message.author_id)
            if member is not None:
                body["member"] = member_json(self._state, member)
        self._to_readers(channel, event, _in_channel(channel, body), GUILD_REACTIONS)

    def reactions_cleared(self, message: Message) -> None:
        channel = self._state.channels[message.channel_id]
        body = _in_channel(channel, {"message_id": str(message.id)})
        self._to_readers(channel, "MESSAGE_REACTION_REMOVE_ALL", body, GUILD_REACTIONS)

    def typing(self, channel: Channel, user_id: int) -> None:
        body = _in_channel(channel, {"user_id": str(user_id), "timestamp": int(self._state.clock.now())})
        self._to_readers(channel, "TYPING_START", body, GUILD_TYPING)

    # Channels and threads

    def channel(self, event: str, channel: Channel) -> None:
        """CHANNEL_CREATE, CHANNEL_UPDATE, or CHANNEL_DELETE while the channel is still in the state."""
        for session in self._sessions_in(self._state.guild_of(channel)):
            user = session.user
            if user.bot or channel.type == ChannelType.CATEGORY or may_read(self._state, channel, user.id):
                self._sessions.dispatch(session, event, channel_json(self._state, channel, user))

    def thread(self, event: str, thread: Channel, **more: object) -> None:
        """THREAD_CREATE or THREAD_UPDATE."""
        for session in self._readers(thread, GUILDS):
            self._sessions.dispatch(session, event, {**channel_json(self._state, thread, session.user), **more})

    def thread_deleted(self, thread: Channel) -> None:
        """Call it while the thread is still in the state."""
        body = {
            "id": str(thread.id),
            "guild_id": str(thread.guild_id),
            "parent_id": str(thread.parent_id),
            "type": thread.type,
        }
        self._to_readers(thread, "THREAD_DELETE", body, GUILDS)

    def thread_members(self, thread: Channel, added: Iterable[int] = (), removed: Iterable[int] = ()) -> None:
        """Also reaches the members who were removed from a private thread, as with Discord."""
        assert thread.thread is not None  # noqa: S101 - callers hold threads
        removed = list(removed)
        body: Payload = {
            "id": str(thread.id),
            "guild_id": str(thread.guild_id),
            "member_count": len(thread.thread.members),
            "added_members": [thread_member_json(thread, u) for u in added],
            "removed_member_ids": [str(u) for u in removed],
        }
        recipients = list(self._readers(thread, GUILDS))
        in_guild = self._sessions_in(self._state.guild_of(thread))
        recipients += [s for s in in_guild if s.user.id in removed and s not in recipients]
        for session in recipients:
            self._sessions.dispatch(session, "THREAD_MEMBERS_UPDATE", body)

    # Guilds, members, roles

    def guild_created(self, guild: Guild, user_id: int) -> None:
        for session in self._sessions.of_user(user_id, guild.id):
            if session.wants(GUILDS):
                self._sessions.dispatch(session, "GUILD_CREATE", full_guild_json(self._state, guild, session.user))

    def guild_left(self, guild: Guild, user_id: int) -> None:
        for session in self._sessions.of_user(user_id, guild.id):
            if session.wants(GUILDS):
                self._sessions.dispatch(session, "GUILD_DELETE", {"id": str(guild.id)})

    def guild_outage(self, guild: Guild) -> None:
        for user_id in guild.members:
            if guild.unavailable:
                self._sessions.send_to_user(
                    user_id, "GUILD_DELETE", {"id": str(guild.id), "unavailable": True}, guild.id
                )
            else:
                self.guild_created(guild, user_id)

    def member(self, event: str, guild: Guild, member: Member) -> None:
        """GUILD_MEMBER_ADD, _UPDATE or _REMOVE. Without the members intent a bot only receives updates of itself."""
        user = user_json(self._state.users[member.user_id])
        body: Payload = {"guild_id": str(guild.id), "user": user}
        if event != "GUILD_MEMBER_REMOVE":
            body |= bare_member_json(member)
        for session in self._sessions_in(guild):
            own = session.user.id == member.user_id and event == "GUILD_MEMBER_UPDATE"
            if own or session.wants(GUILD_MEMBERS):
                self._sessions.dispatch(session, event, body)

    def role(self, event: str, guild: Guild, role: Role) -> None:
        body: Payload = {"guild_id": str(guild.id)}
        body |= {"role_id": str(role.id)} if event == "GUILD_ROLE_DELETE" else {"role": role_json(guild, role)}
        self._to_guild(guild, event, body)

    def _to_guild(self, guild: Guild, event: str, body: Payload) -> None:
        for session in self._sessions_in(guild):
            if session.wants(GUILDS):
                self._sessions.dispatch(session, event, body)

    # Channels that users gain and lose when permissions change

    def visible_channels(self, guild: Guild) -> VisibleChannels:
        people = {s.user.id for s in self._sessions_in(guild) if not s.user.bot}
        return {
            user: frozenset(c for c in guild.channel_ids if may_read(self._state, self._state.channels[c], user))
            for user in people
        }

    def visibility_changed(self, guild: Guild, before: VisibleChannels) -> None:
        """CHANNEL_CREATE or CHANNEL_DELETE for each channel that a user gained or lost. Bots receive all channels."""
        for user, now in self.visible_channels(guild).items():
            was = before.get(user, frozenset())
            for channel_id in sorted(now ^ was):
                channel = self._state.channels[channel_id]
                kind = "THREAD" if channel.thread is not None else "CHANNEL"
                event = f"{kind}_CREATE" if channel_id in now else f"{kind}_DELETE"
                self._sessions.send_to_user(user, event, channel_json(self._state, channel, self._state.users[user]))

    # Recipients

    def _readers(self, channel: Channel, intent: int) -> Iterator[Session]:
        allowed: dict[int, bool] = {}
        for session in self._sessions_in(self._state.guild_of(channel)):
            user = session.user.id
            if user not in allowed:
                allowed[user] = may_read(self._state, channel, user)
            if allowed[user] and session.wants(intent):
                yield session

    def _to_readers(self, channel: Channel, event: str, body: Payload, intent: int) -> None:
        for session in self._readers(channel, intent):
            self._sessions.dispatch(session, event, body)

    def _sessions_in(self, guild: Guild) -> list[Session]:
        return [s for s in self._sessions if s.user.id in guild.members and s.has_guild(guild.id)]


def _in_channel(channel: Channel, body: Payload) -> Payload:
    return {**body, "channel_id": str(channel.id), "guild_id": str(channel.guild_id)}


def _viewer(session: Session) -> Viewer:
    if session.application is None:
        return Viewer(session.user.id)
    reads = session.application.message_content and bool(session.intents & MESSAGE_CONTENT)
    return Viewer(session.user.id, reads_content=reads)
