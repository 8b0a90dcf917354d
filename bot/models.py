"""The data that the packages of the bot share: frozen, and free of Discord, SQL and torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

DISCORD_EPOCH_MS = 1_420_070_400_000
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Owner = tuple[int, int]
"""Server and author, between whom the work is shared out fairly."""

BACKGROUND = 0
"""In the place of a server: the owners of work that can wait. They get the places that new images leave."""

REREAD_OWNER: Owner = (BACKGROUND, 0)
"""Whose images count as that are encoded again, whoever posted them."""


def backfill_owner(guild_id: int) -> Owner:
    """Whose images count as that a backfill of this server found, whoever posted them."""
    return BACKGROUND, guild_id


class Source(StrEnum):
    """How a message carries an image. forward: within a message that it forwards, as whatever it is there; previews of
    links excepted. emoji: a custom one, where Discord shows it large. video: a still picture of an attached video.
    """

    ATTACHMENT = "attachment"
    FORWARD = "forward"
    PREVIEW = "preview"
    STICKER = "sticker"
    EMOJI = "emoji"
    VIDEO = "video"

    @property
    def returns(self) -> bool:
        """Whether an edit of its message can bring the same image back, with the same id."""
        return self in (Source.PREVIEW, Source.EMOJI)


ImageKey = tuple[Source, int]
"""What identifies an image within its message: source and attachment id."""


class ImageState(StrEnum):
    """pending: to be indexed at `next_attempt`; ready: searchable; parked: given up, with a reason."""

    PENDING = "pending"
    READY = "ready"
    PARKED = "parked"


class TaggingMode(StrEnum):
    """How a channel announces the tags of a new image. off: it is not tagged; silent: tagged, not announced."""

    OFF = "off"
    SILENT = "silent"
    REACTION = "reaction"
    REPLY = "reply"


class RepostNotice(StrEnum):
    """How a channel is told of a picture that was posted before: not at all, by an emoji, or by a reply that links to
    the earlier post.
    """

    OFF = "off"
    REACTION = "reaction"
    REPLY = "reply"


class RepostKind(StrEnum):
    """How a repost repeats: the same file; the same picture, scaled or encoded anew; one that looks much like it."""

    FILE = "file"
    PICTURE = "picture"
    SIMILAR = "similar"


REPOST_DAYS = 30
"""How long ago an earlier post may lie, where nothing else was chosen."""


@dataclass(frozen=True, slots=True)
class RepostRules:
    """What holds in a channel or thread. days: how long ago an earlier post may lie."""

    notice: RepostNotice = RepostNotice.OFF
    days: int = REPOST_DAYS


class BackfillMode(StrEnum):
    """quick: asks Discord's search for messages with pictures. thorough: reads every message."""

    QUICK = "quick"
    THOROUGH = "thorough"


class BackfillState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


UNFINISHED = (BackfillState.RUNNING, BackfillState.PAUSED)
"""States of a backfill that goes on, or can."""


class MemberWish(StrEnum):
    """What a moderator wants of a member's pictures: those of up to now forgotten; later ones left out, too; later ones
    taken in again.
    """

    FORGET = "forget"
    LEAVE_OUT = "leave_out"
    LET_IN = "let_in"


class SetupStep(StrEnum):
    """The pages of /magpie setup, in their order."""

    RIGHTS = "rights"
    CHANNELS = "channels"
    TAGS = "tags"
    LABELS = "labels"
    EARLIER = "earlier"
    DONE = "done"


class ThreadKind(StrEnum):
    """What kind of thread a channel is. Stored, because archived threads leave discord.py's cache."""

    NONE = "none"
    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class ChannelRef:
    """A channel or thread of a guild. parent_id: the channel of a thread; None for a channel."""

    guild_id: int
    channel_id: int
    parent_id: int | None = None
    thread: ThreadKind = ThreadKind.NONE

    @property
    def root_id(self) -> int | None:
        """The channel whose permissions apply: for a thread its parent, which may be unknown."""
        return self.channel_id if self.thread is ThreadKind.NONE else self.parent_id


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image as Discord identifies it. Ids only: URLs are signed and expire.

    attachment_id: Discord's id of the attachment, sticker or emoji; for a link preview, which has none, a stable 63-bit
    digest (`attachments.preview_id`).
    spoiler: whether its message covers it, as last seen; no part of its identity.
    """

    channel: ChannelRef
    message_id: int
    attachment_id: int
    source: Source
    author_id: int
    spoiler: bool = field(default=False, compare=False)

    @property
    def key(self) -> ImageKey:
        """What identifies the image within its message; see `RemoteImage.key`."""
        return (self.source, self.attachment_id)

    @property
    def created_at(self) -> datetime:
        """When the message was posted."""
        return posted_at(self.message_id)

    @property
    def message_url(self) -> str:
        """The link that opens the message in Discord."""
        return f"https://discord.com/channels/{self.channel.guild_id}/{self.channel.channel_id}/{self.message_id}"


@dataclass(frozen=True, slots=True)
class Tag:
    """confirmed: a member added it, or agreed with it. language: its label's, as a code like `zh`, if that has one."""

    label: str
    probability: float
    confirmed: bool = False
    language: str | None = None


@dataclass(frozen=True, slots=True)
class TagDecision:
    """What a member decided about a tag of one image. kept: they added it or agreed with it; else they removed it."""

    label: str
    kept: bool
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store. reread: it was indexed before, so its tags are not announced again. backfilled: found by a
    backfill, so its tags are not announced at all. perceptual_hash: see `clipcore.images.perceptual_hash`; None where
    it is not known. reposts_allowed: a moderator wants no notice of its reposts.
    """

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
    backfilled: bool = False
    perceptual_hash: str | None = None
    reposts_allowed: bool = False

    @property
    def owner(self) -> Owner:
        if self.reread:
            return REREAD_OWNER
        guild_id = self.ref.channel.guild_id
        return backfill_owner(guild_id) if self.backfilled else (guild_id, self.ref.author_id)


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image as its message shows it now.

    url: where to download it; mostly signed and short-lived, so it is never stored. size: bytes; None where Discord
    does not tell: it does for attached images. small_url: the same, of a copy of a few hundred pixels; None where
    Discord makes none.
    """

    source: Source
    attachment_id: int
    url: str
    size: int | None = None
    description: str | None = None
    spoiler: bool = False
    small_url: str | None = field(default=None, compare=False)

    @property
    def key(self) -> ImageKey:
        """What identifies the image within its message; see `ImageRef.key`."""
        return (self.source, self.attachment_id)


@dataclass(frozen=True, slots=True)
class PublicReply:
    """A public message of the bot's own about images. to: the message that it replies to. shown: ids of the images that
    it shows; none where it describes those of the message `to`.
    """

    to: int
    shown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenMessage:
    """A message as Discord shows it. images: those to index. carried: the keys of all its images, whatever their host;
    None where Discord withholds its content. reply: set where the bot itself posted it about images.
    """

    message_id: int
    images: tuple[ImageRef, ...] = ()
    carried: frozenset[ImageKey] | None = frozenset()
    reply: PublicReply | None = None


NEWEST = (1 << 63) - 1
"""Higher than any message's id."""


@dataclass(frozen=True, slots=True)
class Page:
    """Every message of a channel whose id is above `after` and at most `until`, oldest first."""

    messages: Sequence[SeenMessage]
    after: int
    until: int = NEWEST


class Asked(StrEnum):
    """What a question goes by: words, with or without an image; the likeness to an image; or a filter alone."""

    WORDS = "words"
    LIKENESS = "likeness"
    FILTER = "filter"


class Strength(StrEnum):
    """How well an image matches, for people."""

    STRONG = "strong"
    FAIR = "fair"
    WEAK = "weak"


class Sort(StrEnum):
    """The order of matches. best: by their score."""

    BEST = "best"
    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images a question is about. after, before: bounds of the message ids, the first included. label: of a tag,
    in whatever spelling.
    """

    author_id: int | None = None
    after: int = 0
    before: int = NEWEST
    label: str | None = None


EVERY_IMAGE = ImageFilter()


@dataclass(frozen=True, slots=True)
class Hits:
    """Messages that Discord's search has found, oldest first: all that it has whose id is above `after` and at most
    `until`. total: how many it counts, older ones included.
    """

    messages: Sequence[SeenMessage]
    after: int
    until: int
    total: int


@dataclass(frozen=True, slots=True)
class Match:
    """A search result. score: cosine of the query and the image. remote: looked up for this result. copies: how many
    more posts of the same file there are; alike: how many near copies it stands for. written: whether the words of the
    query stand in the image.
    """

    image: Image
    score: float
    remote: RemoteImage
    copies: int = 0
    alike: int = 0
    written: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """An image's place in an answer. look: the same for near copies of each other. written: as of a Match."""

    image_id: int
    score: float
    look: int
    written: bool = False


@dataclass(frozen=True, slots=True)
class Readable:
    """Ids of channels and threads whose images an audience may be shown. to_ask: those where only Discord can tell."""

    certain: frozenset[int]
    to_ask: frozenset[int]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of an answer. matches: in their order, each looked up for this page. searched: whether the audience may
    see any image at all. unreachable: how many more matched, but Discord did not answer when they were looked up.
    unverified: whether images of a restored backup, which are yet to be compared with Discord, may be missing.

    ranking: what all pages show; where nothing matches, the nearest images all the same, and `nearest` then. first:
    how many come before this page, of total. more: whether more match than the ranking has. foldable: whether it has
    near copies. threshold: the score from which an image matches this question.
    """

    matches: tuple[Match, ...]
    searched: bool
    unreachable: int = 0
    unverified: bool = False
    ranking: tuple[Ranked, ...] = ()
    first: int = 0
    total: int = 0
    more: bool = False
    nearest: bool = False
    foldable: bool = False
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of an answer for a day, so that its pages can be turned. id: of the interaction or message that
    asked for it. covered: whether all its images are shown as spoilers. The rest: see SearchResult.
    """

    id: int
    guild_id: int
    asked: Asked
    ranking: tuple[Ranked, ...]
    page_size: int
    more: bool
    nearest: bool
    threshold: float
    covered: bool = False


FOR_GOOD = 0
"""Days that images are kept in a channel where nothing expires, whatever its server says."""


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """What holds in a channel or thread, by its own settings, its parent's and its server's.

    indexed: whether its new images are. paused: whether the server takes in nothing at present. forgotten_up_to: the
    newest message that was forgotten for good, with all before it; -1 where none was.
    """

    indexed: bool = True
    paused: bool = False
    retention_days: int | None = None
    forgotten_up_to: int = -1

    def floor(self, now: datetime) -> int:
        """The newest message whose images are not to be kept: forgotten, or older than the retention allows."""
        if not self.retention_days:
            return self.forgotten_up_to
        return max(self.forgotten_up_to, last_message_by(now - timedelta(days=self.retention_days)))


def posted_at(message_id: int) -> datetime:
    """As the id tells (developer docs, reference, "Snowflakes")."""
    return datetime.fromtimestamp(((message_id >> 22) + DISCORD_EPOCH_MS) / 1000, UTC)


def first_message_at(moment: datetime) -> int:
    """The lowest id that a message of this moment or later can have."""
    milliseconds = (moment - _UNIX_EPOCH) // timedelta(milliseconds=1)
    return min(max(0, milliseconds - DISCORD_EPOCH_MS) << 22, NEWEST)


def last_message_by(moment: datetime) -> int:
    """The highest id that Discord can have assigned by then."""
    return first_message_at(moment + timedelta(milliseconds=1)) - 1


def utc_now() -> datetime:
    return datetime.now(UTC)
