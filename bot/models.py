"""The plain data that Magpie's rooms hand to one another. Frozen, free of Discord, SQL and torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

DISCORD_EPOCH_MS = 1_420_070_400_000


def snowflake_time(snowflake: int) -> datetime:
    """When Discord made this id (developer docs, reference, "Snowflakes")."""
    return datetime.fromtimestamp(((snowflake >> 22) + DISCORD_EPOCH_MS) / 1000, UTC)


class Source(StrEnum):
    """How a message carries an image."""

    ATTACHMENT = "attachment"
    FORWARD = "forward"
    PREVIEW = "preview"


class ImageState(StrEnum):
    """pending: known, to be (re)tried at `next_attempt`; ready: searchable; parked: given up, with a reason."""

    PENDING = "pending"
    READY = "ready"
    PARKED = "parked"


class TaggingMode(StrEnum):
    """What a channel sees of the tags of a new image. `off` does not tag at all."""

    OFF = "off"
    SILENT = "silent"
    REACTION = "reaction"
    REPLY = "reply"


class ThreadKind(StrEnum):
    """What a channel is, as far as visibility must remember it once the channel has left the cache."""

    NONE = "none"
    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class ChannelRef:
    """Where a message stands. parent_id: the channel a thread hangs under; None outside threads."""

    guild_id: int
    channel_id: int
    parent_id: int | None = None
    thread: ThreadKind = ThreadKind.NONE


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image as Discord names it: ids only, since URLs are signed and expire.

    attachment_id: Discord's id; for a link preview, which has none, a stable 63-bit number made of the
    message id and the address of what is previewed (see adapters).
    """

    channel: ChannelRef
    message_id: int
    attachment_id: int
    source: Source
    author_id: int

    @property
    def created_at(self) -> datetime:
        return snowflake_time(self.message_id)


@dataclass(frozen=True, slots=True)
class Tag:
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Image:
    """A remembered image, as the store gives it back. reread: finished once before, so never announced again."""

    id: int
    ref: ImageRef
    state: ImageState
    content_hash: str | None = None
    width: int | None = None
    height: int | None = None
    tags: tuple[Tag, ...] = ()
    attempts: int = 0
    reason: str | None = None
    reread: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """score: cosine of the query and this image."""

    image: Image
    score: float


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """channels: every channel and thread id whose images the asker may see right now. Nothing else is searched."""

    guild_id: int
    channels: frozenset[int]
    limit: int


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """hits: best first, all at or above the model's threshold.

    nothing_alike: images were searched, but the best was too weak.
    """

    hits: tuple[Hit, ...]
    nothing_alike: bool


def utc_now() -> datetime:
    return datetime.now(UTC)
