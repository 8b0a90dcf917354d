"""Tells connected clients what happened: each event to those who may know of it, in the shape that is theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sandbox.hub import Session
from sandbox.message_payloads import Viewer
from sandbox.payloads import (
    bare_member_json,
    channel_json,
    full_guild_json,
    guild_json,
    member_json,
    role_json,
    thread_member_json,
    user_json,
)
from sandbox.permissions import may_read
from sandbox.realm import Realm
from sandbox.world import Channel, ChannelType, Guild, Json, Member, Message, Role

GUILD_PRESENCES = 1 << 8
GUILDS, GUILD_MEMBERS, GUILD_MESSAGES, GUILD_REACTIONS, GUILD_TYPING = 1 << 0, 1 << 1, 1 << 9, 1 << 10, 1 << 11
DIRECT_MESSAGES, DIRECT_REACTIONS, DIRECT_TYPING, MESSAGE_CONTENT = 1 << 12, 1 << 13, 1 << 14, 1 << 15

Seen = dict[int, frozenset[int]]
"""Channel ids that each connected person sees in a server."""


class Announcer:
    """Dispatches events. Reads the world, never changes it."""

    def __init__(self, realm: Realm) -> None:
        self._world = realm.world
        self._hub = realm.hub
        self._payloads = realm.payloads

    # Messages

    def message(self, event: str, message: Message) -> None:
        """MESSAGE_CREATE or MESSAGE_UPDATE. An ephemeral one reaches its one reader and nobody else."""
        if message.visible_to is not None:
            body = self._payloads.event(message, Viewer(message.visible_to))
            self._hub.to_user(message.visible_to, event, body)
            return
        channel = self._world.channels[message.channel_id]
        for session in self._readers(channel, GUILD_MESSAGES, DIRECT_MESSAGES):
            self._hub.dispatch(session, event, self._payloads.event(message, _viewer(session)))

    def message_deleted(self, message: Message) -> None:
        channel = self._world.channels[message.channel_id]
        body = self._placed(channel, {"id": str(message.id)})
        if message.visible_to is not None:
            self._hub.to_user(message.visible_to, "MESSAGE_DELETE", body)
            return
        self._to_readers(channel, "MESSAGE_DELETE", body, GUILD_MESSAGES, DIRECT_MESSAGES)

    def messages_deleted(self, channel: Channel, ids: Iterable[int]) -> None:
        body = self._placed(channel, {"ids": [str(i) for i in ids]})
        self._to_readers(channel, "MESSAGE_DELETE_BULK", body, GUILD_MESSAGES, DIRECT_MESSAGES)

    def reaction(self, event: str, message: Message, user_id: int, emoji: str) -> None:
        channel = self._world.channels[message.channel_id]
        body: dict[str, Json] = {
            "user_id": str(user_id),
            "message_id": str(message.id),
            "emoji": {"id": None, "name": emoji, "animated": False},
            "burst": False,
            "type": 0,
        }
        member = self._world.member(channel, user_id)
        if event == "MESSAGE_REACTION_ADD":
            body["message_author_id"] = str(message.author_id)
            if member is not None:
                body["member"] = member_json(self._world, member)
        self._to_readers(channel, event, self._placed(channel, body), GUILD_REACTIONS, DIRECT_REACTIONS)

    def reactions_cleared(self, message: Message) -> None:
        channel = self._world.channels[message.channel_id]
        body = self._placed(channel, {"message_id": str(message.id)})
        self._to_readers(channel, "MESSAGE_REACTION_REMOVE_ALL", body, GUILD_REACTIONS, DIRECT_REACTIONS)

    def typing(self, channel: Channel, user_id: int) -> None:
        body = self._placed(channel, {"user_id": str(user_id), "timestamp": int(self._world.clock.now())})
        self._to_readers(channel, "TYPING_START", body, GUILD_TYPING, DIRECT_TYPING)

    # Channels and threads

    def channel(self, event: str, channel: Channel) -> None:
        """CHANNEL_CREATE, CHANNEL_UPDATE, CHANNEL_DELETE (the last before the channel is gone)."""
        for session in self._insiders(channel):
            if (
                session.user.bot
                or channel.type == ChannelType.CATEGORY
                or may_read(self._world, channel, session.user.id)
            ):
                self._hub.dispatch(session, event, channel_json(self._world, channel, _annotated(session)))

    def thread(self, event: str, thread: Channel, **more: Json) -> None:
        """THREAD_CREATE or THREAD_UPDATE."""
        for session in self._readers(thread, GUILDS, GUILDS):
            viewer = session.user.id
            body = channel_json(self._world, thread, viewer)
            if session.user.bot:
                body.pop("permissions", None)
            self._hub.dispatch(session, event, {**body, **more})

    def thread_deleted(self, thread: Channel) -> None:
        """Before the thread is gone."""
        body = {
            "id": str(thread.id),
            "guild_id": str(thread.guild_id),
            "parent_id": str(thread.parent_id),
            "type": thread.type,
        }
        self._to_readers(thread, "THREAD_DELETE", body, GUILDS, GUILDS)

    def thread_members(self, thread: Channel, added: Iterable[int] = (), removed: Iterable[int] = ()) -> None:
        """Whoever was removed from a private thread still learns of it, as with Discord."""
        assert thread.thread is not None  # noqa: S101 - callers hold threads
        removed = list(removed)
        body: dict[str, Json] = {
            "id": str(thread.id),
            "guild_id": str(thread.guild_id),
            "member_count": len(thread.thread.members),
            "added_members": [thread_member_json(thread, u) for u in added],
            "removed_member_ids": [str(u) for u in removed],
        }
        reached = list(self._readers(thread, GUILDS, GUILDS))
        reached += [s for s in self._insiders(thread) if s.user.id in removed and s not in reached]
        for session in reached:
            self._hub.dispatch(session, "THREAD_MEMBERS_UPDATE", body)

    # Servers, members, roles

    def guild_created(self, guild: Guild, user_id: int) -> None:
        for session in self._hub.sessions_of(user_id):
            if session.wants(GUILDS):
                self._hub.dispatch(session, "GUILD_CREATE", full_guild_json(self._world, guild, session.user))

    def guild_left(self, guild: Guild, user_id: int) -> None:
        for session in self._hub.sessions_of(user_id):
            if session.wants(GUILDS):
                self._hub.dispatch(session, "GUILD_DELETE", {"id": str(guild.id)})

    def guild_outage(self, guild: Guild) -> None:
        for user_id in guild.members:
            if guild.unavailable:
                self._hub.to_user(user_id, "GUILD_DELETE", {"id": str(guild.id), "unavailable": True})
            else:
                self.guild_created(guild, user_id)

    def guild_updated(self, guild: Guild) -> None:
        self.to_guild(guild, "GUILD_UPDATE", guild_json(self._world, guild))

    def member(self, event: str, guild: Guild, member: Member) -> None:
        """GUILD_MEMBER_ADD, _UPDATE, _REMOVE. Without the members intent a bot hears only of itself."""
        user = user_json(self._world.users[member.user_id])
        body: dict[str, Json] = {"guild_id": str(guild.id), "user": user}
        if event != "GUILD_MEMBER_REMOVE":
            body |= bare_member_json(member)
        for session in self._of_guild(guild):
            own = session.user.id == member.user_id and event == "GUILD_MEMBER_UPDATE"
            if own or session.wants(GUILD_MEMBERS):
                self._hub.dispatch(session, event, body)

    def role(self, event: str, guild: Guild, role: Role) -> None:
        body: dict[str, Json] = {"guild_id": str(guild.id)}
        body |= {"role_id": str(role.id)} if event == "GUILD_ROLE_DELETE" else {"role": role_json(guild, role)}
        self.to_guild(guild, event, body)

    def to_guild(self, guild: Guild, event: str, body: Json) -> None:
        for session in self._of_guild(guild):
            if session.wants(GUILDS):
                self._hub.dispatch(session, event, body)

    # What people's clients gain and lose when rights change

    def seen(self, guild: Guild) -> Seen:
        people = {s.user.id for s in self._of_guild(guild) if not s.user.bot}
        return {
            user: frozenset(c for c in guild.channel_ids if may_read(self._world, self._world.channels[c], user))
            for user in people
        }

    def seen_changed(self, guild: Guild, before: Seen) -> None:
        """CHANNEL_CREATE for what came into view, CHANNEL_DELETE for what went out of it. Bots compute it."""
        for user, now in self.seen(guild).items():
            was = before.get(user, frozenset())
            for channel_id in sorted(now ^ was):
                channel = self._world.channels[channel_id]
                kind = "THREAD" if channel.thread is not None else "CHANNEL"
                event = f"{kind}_CREATE" if channel_id in now else f"{kind}_DELETE"
                self._hub.to_user(user, event, channel_json(self._world, channel, user))

    # Who is reached

    def _readers(self, channel: Channel, guild_intent: int, direct_intent: int) -> Iterator[Session]:
        intent = direct_intent if channel.type == ChannelType.DM else guild_intent
        allowed: dict[int, bool] = {}
        for session in self._insiders(channel):
            user = session.user.id
            if user not in allowed:
                allowed[user] = may_read(self._world, channel, user)
            if allowed[user] and session.wants(intent):
                yield session

    def _to_readers(self, channel: Channel, event: str, body: Json, guild_intent: int, direct_intent: int) -> None:
        for session in self._readers(channel, guild_intent, direct_intent):
            self._hub.dispatch(session, event, body)

    def _insiders(self, channel: Channel) -> Iterator[Session]:
        guild = self._world.guild_of(channel)
        belongs: Callable[[int], bool] = (
            (lambda user: user in channel.recipients) if guild is None else (lambda user: user in guild.members)
        )
        return (s for s in self._hub if belongs(s.user.id))

    def _of_guild(self, guild: Guild) -> list[Session]:
        return [s for s in self._hub if s.user.id in guild.members]

    def _placed(self, channel: Channel, body: dict[str, Json]) -> dict[str, Json]:
        body["channel_id"] = str(channel.id)
        if channel.guild_id is not None:
            body["guild_id"] = str(channel.guild_id)
        return body


def _viewer(session: Session) -> Viewer:
    if session.application is None:
        return Viewer(session.user.id)
    reads = session.application.message_content and bool(session.intents & MESSAGE_CONTENT)
    return Viewer(session.user.id, reads_content=reads)


def _annotated(session: Session) -> int | None:
    return None if session.user.bot else session.user.id
