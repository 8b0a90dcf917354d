"""The sandbox's data: users, guilds, channels, messages, commands; the clock and the ids. Only look-ups, no rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypeAlias

Payload: TypeAlias = dict[str, object]
"""A JSON object that is sent."""
Json: TypeAlias = Any
"""Validated JSON that was received: components, embeds, command options and definitions, whose fields are known."""

DISCORD_EPOCH_MS = 1_420_070_400_000


class Clock:
    """Unix time in seconds. Tests call `advance` to make URLs and tokens expire without waiting."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds

    @contextmanager
    def at(self, moment: float) -> Iterator[None]:
        """It is that time within the block."""
        offset = self._offset
        self._offset = moment - time.time()
        try:
            yield
        finally:
            self._offset = offset


class SnowflakeSource:
    """Strictly increasing ids that hold their creation time (milliseconds << 22), like Discord's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        fresh = (int(self._clock.now() * 1000) - DISCORD_EPOCH_MS) << 22
        self._last = max(fresh, self._last + 1)
        return self._last


def snowflake_time(snowflake: int) -> datetime:
    return datetime.fromtimestamp(((snowflake >> 22) + DISCORD_EPOCH_MS) / 1000, tz=UTC)


def iso(moment: datetime | float) -> str:
    """Discord's timestamp format: ISO 8601 with microseconds and an explicit offset."""
    if isinstance(moment, float):
        moment = datetime.fromtimestamp(moment, tz=UTC)
    return moment.isoformat(timespec="microseconds")


class ChannelType(IntEnum):
    TEXT = 0
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
WRITABLE_TYPES = THREAD_TYPES | VOICE_TYPES | {ChannelType.TEXT, ChannelType.ANNOUNCEMENT}


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
    type: int
    name: str
    body: dict[str, Json]
    """The remaining fields in Discord's shape with defaults: description, options, default_member_permissions …"""


@dataclass(slots=True)
class Application:
    id: int
    name: str
    description: str
    owner_id: int
    bot_id: int
    message_content: bool = True
    """Privileged intents enabled in the developer portal. Identifying with a disabled one closes with 4014."""
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


@dataclass(frozen=True, slots=True)
class Sticker:
    id: int
    guild_id: int
    name: str
    tags: str
    format: int
    """1 PNG, 2 animated PNG, 3 Lottie, 4 GIF."""
    data: bytes
    author_id: int


@dataclass(frozen=True, slots=True)
class Emoji:
    id: int
    guild_id: int
    name: str
    animated: bool
    data: bytes
    author_id: int


@dataclass(slots=True)
class Attachment:
    id: int
    channel_id: int
    filename: str
    content_type: str | None
    data: bytes
    width: int | None = None
    height: int | None = None
    animated: bool = False
    seconds: float | None = None
    """The length of a video."""
    cover: bytes | None = None
    """The picture of a video that the media proxy shows."""
    description: str | None = None
    spoiler: bool = False
    ephemeral: bool = False
    upload_key: str | None = None
    """The upload slot it came from; the slot is consumed when a message stores the attachment."""
    holders: set[int] = field(default_factory=set)
    """Ids of the messages that contain it. A forward keeps the file after the original was deleted."""


@dataclass(slots=True)
class Snapshot:
    """The copy of a message inside a forward: everything but the author."""

    type: int
    content: str
    embeds: list[Json]
    attachments: list[Attachment]
    components: list[Json]
    stickers: list[Sticker]
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
    """Embeds generated from links in the content; listed after the author's embeds."""
    components: list[Json] = field(default_factory=list)
    stickers: list[Sticker] = field(default_factory=list)
    mentions: list[int] = field(default_factory=list)
    mention_roles: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    reactions: dict[str, list[int]] = field(default_factory=dict)
    """By emoji, `name:id` for a guild's own."""
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
    """Set on ephemeral messages: the only user who sees it."""


@dataclass(slots=True)
class ThreadMetadata:
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
    guild_id: int
    position: int = 0
    topic: str | None = None
    nsfw: bool = False
    parent_id: int | None = None
    slowmode: int = 0
    overwrites: dict[int, Overwrite] = field(default_factory=dict)
    thread: ThreadMetadata | None = None
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
    """An upload slot: requested by a client, then filled with data."""

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
    guild_id: int
    nonce: str | None
    session_id: str
    data: dict[str, Json]
    created_at: float
    locale: str
    source: Message | None = None
    """The message whose component was used."""
    modal: dict[str, Json] | None = None
    """The modal that it opened, until it was answered."""
    opener: Interaction | None = None
    """Of a submitted modal: the interaction that opened it."""
    response_type: int | None = None
    failed: bool = False
    message_ids: set[int] = field(default_factory=set)
    """The original response and the follow-ups: the messages that its token may read and edit."""
    original: Message | None = None
    deadline: asyncio.TimerHandle | None = None


class State:
    """All objects by id. Code that changes them dispatches the event too (see events.py)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ids = SnowflakeSource(clock)
        self.users: dict[int, User] = {}
        self.tokens: dict[str, int] = {}
        self.applications: dict[int, Application] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.attachments: dict[int, Attachment] = {}
        self.stickers: dict[int, Sticker] = {}
        self.emojis: dict[int, Emoji] = {}
        self.uploads: dict[str, Upload] = {}
        self.interactions: dict[str, Interaction] = {}
        self.ephemerals: dict[int, Message] = {}
        self.notes: dict[int, str] = {}
        """One line about a user, shown in the page's member list."""
        self._past_ids = SnowflakeSource(clock)

    @contextmanager
    def at(self, moment: float) -> Iterator[None]:
        """What is created within the block was created at that time: clock and ids say so. Go forwards, from block to
        block, and await nothing within one.
        """
        ids, self.ids = self.ids, self._past_ids
        try:
            with self.clock.at(moment):
                yield
        finally:
            self.ids = ids

    def user_of_token(self, token: str) -> User | None:
        user_id = self.tokens.get(token)
        return None if user_id is None else self.users.get(user_id)

    def application_of_bot(self, bot_id: int) -> Application | None:
        return next((a for a in self.applications.values() if a.bot_id == bot_id), None)

    def channels_of(self, guild: Guild) -> list[Channel]:
        """Channels without threads, in sidebar order."""
        own = (self.channels[c] for c in guild.channel_ids)
        return sorted((c for c in own if c.thread is None), key=lambda c: (c.position, c.id))

    def threads_of(self, guild: Guild) -> list[Channel]:
        own = (self.channels[c] for c in guild.channel_ids)
        return [c for c in own if c.thread is not None]

    def guild_of(self, channel: Channel) -> Guild:
        return self.guilds[channel.guild_id]

    def guilds_of(self, user_id: int) -> list[Guild]:
        return [g for g in self.guilds.values() if user_id in g.members]

    def message(self, channel_id: int, message_id: int) -> Message | None:
        channel = self.channels.get(channel_id)
        return None if channel is None else channel.messages.get(message_id)

    def exists(self, message: Message) -> bool:
        """False once the message or its channel has been deleted."""
        return message.id in self.ephemerals or self.message(message.channel_id, message.id) is message
