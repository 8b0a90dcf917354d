"""The sandbox's state as plain data: people, servers, channels, messages, commands. No behaviour beyond look-ups."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sandbox.clock import Clock, SnowflakeSource

Json = Any
"""A JSON value. Bodies and payloads come in Discord's own shapes, which only their validation knows."""


class ChannelType(IntEnum):
    TEXT = 0
    DM = 1
    VOICE = 2
    CATEGORY = 4
    ANNOUNCEMENT = 5
    ANNOUNCEMENT_THREAD = 10
    PUBLIC_THREAD = 11
    PRIVATE_THREAD = 12
    STAGE = 13
    FORUM = 15


THREAD_TYPES = frozenset({ChannelType.ANNOUNCEMENT_THREAD, ChannelType.PUBLIC_THREAD, ChannelType.PRIVATE_THREAD})
VOICE_TYPES = frozenset({ChannelType.VOICE, ChannelType.STAGE})
WRITABLE_TYPES = THREAD_TYPES | VOICE_TYPES | {ChannelType.TEXT, ChannelType.ANNOUNCEMENT, ChannelType.DM}


class MessageFlag(IntEnum):
    SUPPRESS_EMBEDS = 1 << 2
    HAS_THREAD = 1 << 5
    EPHEMERAL = 1 << 6
    LOADING = 1 << 7
    SUPPRESS_NOTIFICATIONS = 1 << 12
    HAS_SNAPSHOT = 1 << 14
    COMPONENTS_V2 = 1 << 15


@dataclass(slots=True)
class User:
    id: int
    username: str
    display_name: str
    token: str
    bot: bool = False
    locale: str = "en-US"


@dataclass(slots=True)
class Command:
    id: int
    version: int
    application_id: int
    guild_id: int | None
    type: int
    name: str
    body: dict[str, Json]
    """The other fields in Discord's shape, defaults filled in: description, options, default_member_permissions …"""


@dataclass(slots=True)
class Application:
    id: int
    name: str
    description: str
    owner_id: int
    bot_id: int
    message_content: bool = True
    """The portal's switches for privileged intents: without them identifying with the intent is closed with 4014."""
    guild_members: bool = False
    guild_presences: bool = False
    commands: dict[int, Command] = field(default_factory=dict)


@dataclass(slots=True)
class Role:
    id: int
    name: str
    permissions: int
    position: int = 0
    color: int = 0
    mentionable: bool = False


@dataclass(frozen=True, slots=True)
class Overwrite:
    target_id: int
    type: int
    """0: a role, 1: a member."""
    allow: int = 0
    deny: int = 0


@dataclass(slots=True)
class Member:
    user_id: int
    roles: list[int] = field(default_factory=list)
    nick: str | None = None
    joined_at: float = 0.0
    timeout_until: float | None = None


@dataclass(slots=True)
class Attachment:
    id: int
    channel_id: int
    filename: str
    content_type: str | None
    data: bytes
    width: int | None = None
    height: int | None = None
    description: str | None = None
    spoiler: bool = False
    ephemeral: bool = False
    upload_key: str | None = None
    """The slot that it came by, which is used up once a message holds it."""
    holders: set[int] = field(default_factory=set)
    """Messages that still show it; a forward keeps a picture alive whose original is gone."""


@dataclass(slots=True)
class Snapshot:
    """What a forward carries of its original: everything but the author."""

    type: int
    content: str
    embeds: list[Json]
    attachments: list[Attachment]
    components: list[Json]
    flags: int
    timestamp: str
    edited_timestamp: str | None


@dataclass(slots=True)
class Message:
    id: int
    channel_id: int
    author_id: int
    type: int = 0
    content: str = ""
    flags: int = 0
    tts: bool = False
    attachments: list[Attachment] = field(default_factory=list)
    embeds: list[Json] = field(default_factory=list)
    previews: list[Json] = field(default_factory=list)
    """Embeds that the server made of links in the content; shown after the author's own."""
    components: list[Json] = field(default_factory=list)
    mentions: list[int] = field(default_factory=list)
    mention_roles: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    reactions: dict[str, list[int]] = field(default_factory=dict)
    reference: dict[str, Json] | None = None
    snapshot: Snapshot | None = None
    interaction: dict[str, Json] | None = None
    application_id: int | None = None
    webhook_id: int | None = None
    nonce: str | int | None = None
    edited_at: float | None = None
    pinned: bool = False
    thread_id: int | None = None
    visible_to: int | None = None
    """Set on ephemeral messages: the one person who sees it."""


@dataclass(slots=True)
class ThreadState:
    owner_id: int
    created_at: float
    archived: bool = False
    locked: bool = False
    auto_archive_minutes: int = 1440
    archived_at: float = 0.0
    invitable: bool = True
    members: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class Channel:
    id: int
    type: int
    name: str
    guild_id: int | None = None
    position: int = 0
    topic: str | None = None
    nsfw: bool = False
    parent_id: int | None = None
    slowmode: int = 0
    overwrites: dict[int, Overwrite] = field(default_factory=dict)
    recipients: list[int] = field(default_factory=list)
    thread: ThreadState | None = None
    messages: dict[int, Message] = field(default_factory=dict)
    """Oldest first."""
    last_message_id: int | None = None


@dataclass(slots=True)
class Guild:
    id: int
    name: str
    owner_id: int
    created_at: float
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    channel_ids: list[int] = field(default_factory=list)
    """Channels and threads."""
    unavailable: bool = False


@dataclass(slots=True)
class Upload:
    """A slot that a client asked for and has filled, or has yet to fill."""

    key: str
    user_id: int
    channel_id: int
    filename: str
    size: int
    content_type: str | None = None
    data: bytes | None = None


@dataclass(slots=True)
class Interaction:
    id: int
    token: str
    type: int
    application_id: int
    user_id: int
    channel_id: int
    guild_id: int | None
    nonce: str | None
    session_id: str
    data: dict[str, Json]
    created_at: float
    locale: str
    source: Message | None = None
    """The message whose component or modal button was pressed."""
    response_type: int | None = None
    failed: bool = False
    message_ids: set[int] = field(default_factory=set)
    """Its own messages, which its token may read and change: the original answer and the follow-ups."""
    original: Message | None = None
    modal: dict[str, Json] | None = None
    deadline: asyncio.TimerHandle | None = None


class World:
    """Everything there is. Whoever changes it also announces it (see announce.py)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ids = SnowflakeSource(clock)
        self.users: dict[int, User] = {}
        self.tokens: dict[str, int] = {}
        self.applications: dict[int, Application] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.attachments: dict[int, Attachment] = {}
        self.uploads: dict[str, Upload] = {}
        self.invites: dict[str, int] = {}
        self.interactions: dict[str, Interaction] = {}
        self.ephemerals: dict[int, Message] = {}
        self.notes: dict[int, str] = {}
        """A line about a person, for whoever picks one on the page."""

    def user_of_token(self, token: str) -> User | None:
        found = self.tokens.get(token)
        return None if found is None else self.users.get(found)

    def application_of_bot(self, bot_id: int) -> Application | None:
        return next((a for a in self.applications.values() if a.bot_id == bot_id), None)

    def channels_of(self, guild: Guild) -> list[Channel]:
        """Channels without threads, in the order of the sidebar."""
        own = (self.channels[c] for c in guild.channel_ids)
        return sorted((c for c in own if c.thread is None), key=lambda c: (c.position, c.id))

    def threads_of(self, guild: Guild) -> list[Channel]:
        own = (self.channels[c] for c in guild.channel_ids)
        return [c for c in own if c.thread is not None]

    def guild_of(self, channel: Channel) -> Guild | None:
        return None if channel.guild_id is None else self.guilds.get(channel.guild_id)

    def guilds_of(self, user_id: int) -> list[Guild]:
        return [g for g in self.guilds.values() if user_id in g.members]

    def member(self, channel: Channel, user_id: int) -> Member | None:
        guild = self.guild_of(channel)
        return None if guild is None else guild.members.get(user_id)

    def still_holds(self, message: Message) -> bool:
        """Whether it has not been deleted since, alone or with its channel."""
        return message.id in self.ephemerals or self.message(message.channel_id, message.id) is message

    def message(self, channel_id: int, message_id: int) -> Message | None:
        channel = self.channels.get(channel_id)
        return None if channel is None else channel.messages.get(message_id)
