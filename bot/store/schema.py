"""The tables and their column types. A change needs a revision in `migrations/versions/`; a test compares the two.

Ids are Discord's snowflakes, except `images.id` and `models.id`. Everything of a guild refers to `guilds`, everything
of a channel to `channels`, by cascading foreign keys: a new table that does the same is deleted with its guild.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

Embeddings = npt.NDArray[np.float16]
"""One embedding [dim], or several [n, dim]; unit length."""

# Discord serves no history with a message that it has deleted, so a tombstone must outlive only pages that were fetched
# before the deletion: minutes. A month is far beyond that, and bounds the table.
TOMBSTONE_LIFETIME = timedelta(days=30)

_STORED = np.dtype("<f2")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# SQLite's STRICT tables know INTEGER, REAL, TEXT and BLOB only.
WholeNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Flag: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")


class Time(sa.TypeDecorator[datetime]):
    """Whole milliseconds since 1970, UTC. Refuses a time without a zone."""

    impl = WholeNumber
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else milliseconds(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(milliseconds=value)


class Embedding(sa.TypeDecorator[Embeddings]):
    """float16 [dim], stored as little-endian bytes."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: npt.ArrayLike | None, dialect: sa.Dialect) -> bytes | None:
        return None if value is None else np.asarray(value, _STORED).tobytes()

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> Embeddings | None:
        return None if value is None else self.stack([value])[0]

    @staticmethod
    def checksum(value: npt.ArrayLike) -> int:
        return zlib.crc32(np.asarray(value, _STORED).tobytes())

    @staticmethod
    def is_sound(stored: bytes, checksum: int | None) -> bool:
        """Whether these bytes are as written. Those of earlier versions have no checksum: they are finite."""
        if checksum is None:
            return bool(np.isfinite(np.frombuffer(stored, _STORED)).all())
        return zlib.crc32(stored) == checksum

    @staticmethod
    def stack(stored: Sequence[bytes]) -> Embeddings:
        """float16 [n, dim] of n stored values, writable. The bytes are copied once, into memory that numpy may own."""
        flat = np.frombuffer(bytearray().join(stored), _STORED)
        return flat.reshape(len(stored), -1).astype(np.float16, copy=False)


def milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *items: SchemaItem, with_rowid: bool = True, autoincrement: bool = False) -> sa.Table:
    return sa.Table(
        name, metadata, *items, sqlite_strict=True, sqlite_with_rowid=with_rowid, sqlite_autoincrement=autoincrement
    )


# labels_version rises whenever the guild's images are to be tagged again.
guilds = _table(
    "guilds",
    sa.Column("id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("labels_version", WholeNumber, nullable=False, server_default=sa.text("0")),
    sa.Column("paused", Flag, nullable=False, server_default=sa.false()),
    sa.Column("index_new_channels", Flag, nullable=False, server_default=sa.true()),
    sa.Column("retention_days", sa.Integer),
    sa.Column("forgotten_up_to", WholeNumber),
    # Whether the words in images are recognized; then images with lower ids than this one have yet to be queued.
    sa.Column("reads_text", Flag, nullable=False, server_default=sa.false()),
    sa.Column("unread_before", WholeNumber, nullable=False, server_default=sa.text("0")),
)

channels = _table(
    "channels",
    sa.Column("id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), nullable=False),
    sa.Column("parent_id", WholeNumber),
    sa.Column("thread", sa.Text, nullable=False, server_default="none"),
    sa.Column("tagging_mode", sa.Text),
    sa.Column("repost_notice", sa.Text),
    sa.Column("repost_days", sa.Integer),
    sa.Column("last_seen", WholeNumber),
    # Everything that was posted after it is accepted, whenever it is read; a backfill lowers it.
    sa.Column("first_seen", WholeNumber),
    # Of channels, whose threads inherit them; null: as the server.
    sa.Column("indexed", Flag),
    sa.Column("retention_days", sa.Integer),
    sa.Column("forgotten_up_to", WholeNumber),
    sa.CheckConstraint("thread IN ('none', 'public', 'private')", name="thread"),
    sa.CheckConstraint("tagging_mode IN ('off', 'silent', 'reaction', 'reply')", name="tagging_mode"),
    sa.Index(None, "guild_id"),
    sa.Index(None, "parent_id"),
)

images = _table(
    "images",
    sa.Column("id", WholeNumber, primary_key=True),
    sa.Column("guild_id", WholeNumber, nullable=False),
    sa.Column("channel_id", WholeNumber, sa.ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    sa.Column("message_id", WholeNumber, nullable=False),
    sa.Column("attachment_id", WholeNumber, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("author_id", WholeNumber, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reread", Flag, nullable=False, server_default=sa.false()),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("next_attempt", Time),
    sa.Column("reason", sa.Text),
    sa.Column("content_hash", sa.Text),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("spoiler", Flag, nullable=False, server_default=sa.false()),
    sa.Column("backfilled", Flag, nullable=False, server_default=sa.false()),
    sa.Column("perceptual_hash", sa.Text),
    sa.Column("reposts_allowed", Flag, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("message_id", "attachment_id", "source"),
    sa.CheckConstraint("source IN ('attachment', 'forward', 'preview', 'sticker', 'emoji', 'video')", name="source"),
    sa.CheckConstraint("state IN ('pending', 'ready', 'parked')", name="state"),
    # Due images are found by next_attempt alone, in a partial index, so the two must agree.
    sa.CheckConstraint("(state = 'pending') = (next_attempt IS NOT NULL)", name="due"),
    sa.Index(None, "channel_id", "state", "message_id"),
    sa.Index(None, "guild_id", "author_id"),
    sa.Index(None, "content_hash"),
    sa.Index("ix_images_due", "reread", "next_attempt", "id", sqlite_where=sa.text("next_attempt IS NOT NULL")),
    # An author's are found among any number of another's.
    sa.Index(
        "ix_images_due_of_author",
        *("reread", "backfilled", "guild_id", "author_id", "next_attempt", "id"),
        sqlite_where=sa.text("next_attempt IS NOT NULL"),
    ),
    sa.Index(
        "ix_images_due_of_backfill",
        *("backfilled", "guild_id", "reread", "next_attempt", "id"),
        sqlite_where=sa.text("next_attempt IS NOT NULL AND backfilled = 1"),
    ),
    # Few images are parked: a partial index finds them without a look at all others.
    sa.Index("ix_images_parked", "reread", "reason", sqlite_where=sa.text("state = 'parked'")),
    sa.Index("ix_images_parked_of_guild", "guild_id", "reason", sqlite_where=sa.text("state = 'parked'")),
    # Never reuses an id: a worker must not finish another image that got the id of a deleted one.
    autoincrement=True,
)

# answering: the one whose embeddings are searched. Another one that is to take over has embeddings beside them.
models = _table(
    "models",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("preprocessing", sa.Text, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("answering", Flag, nullable=False, server_default=sa.false()),
)

# frame: 0 for the first, which every image has; further ones are an animation's. guild_id and channel_id repeat the
# image's, so that a guild's embeddings load without a join.
embeddings = _table(
    "embeddings",
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("model_id", sa.Integer, sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    sa.Column("guild_id", WholeNumber, nullable=False),
    sa.Column("channel_id", WholeNumber, nullable=False),
    sa.Column("embedding", Embedding, nullable=False),
    sa.Column("checksum", WholeNumber),
    sa.Index(None, "model_id", "guild_id", "image_id", "frame"),
)

# channel_id repeats the image's, so that a channel's tags are counted without a join. key: `label_key` of the label.
# confirmed: a member added the tag, or agreed with it. language: the label's, if it has one.
tags = _table(
    "tags",
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("rank", sa.Integer, primary_key=True),
    sa.Column("channel_id", WholeNumber, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("probability", sa.REAL, nullable=False),
    sa.Column("confirmed", Flag, nullable=False, server_default=sa.false()),
    sa.Column("language", sa.Text),
    sa.Index(None, "channel_id", "key", "label"),
    with_rowid=False,
)

# What members decided about an image's tags, whoever they were: a tag that they removed never comes back by itself, and
# one that they added or agreed with stays. key: `label_key` of the label.
tag_decisions = _table(
    "tag_decisions",
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("kept", Flag, nullable=False),
    sa.Column("language", sa.Text),
    with_rowid=False,
)

# The words that were recognized in images, folded; empty where there are none. They are searched channel by channel, so
# the rows of a channel lie together.
image_texts = _table(
    "image_texts",
    sa.Column("channel_id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index(None, "image_id"),
    with_rowid=False,
)

# Images whose words are to be recognized.
unread_images = _table(
    "unread_images",
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("guild_id", WholeNumber, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("next_attempt", Time, nullable=False),
    sa.Index(None, "guild_id", "image_id"),
)

# What was chosen instead of the default labels, for a guild or for one of its channels (channel_id). shipped: names of
# shipped sets, with spaces between them.
label_sets = _table(
    "label_sets",
    sa.Column("id", WholeNumber, primary_key=True),
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), nullable=False),
    sa.Column("channel_id", WholeNumber, sa.ForeignKey("channels.id", ondelete="CASCADE")),
    sa.Column("shipped", sa.Text, nullable=False),
    sa.Index(None, "guild_id", "channel_id", unique=True),
    sa.Index("ix_label_sets_server", "guild_id", unique=True, sqlite_where=sa.text("channel_id IS NULL")),
    sa.Index(None, "channel_id"),
)

# The labels of a set's own, and shipped ones that it leaves out (removed). prompts: a list, as JSON.
labels = _table(
    "labels",
    sa.Column("set_id", WholeNumber, sa.ForeignKey("label_sets.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("prompts", sa.Text, nullable=False, server_default="[]"),
    sa.Column("threshold", sa.Integer),
    sa.Column("language", sa.Text),
    sa.Column("removed", Flag, nullable=False, server_default=sa.false()),
    with_rowid=False,
)

# Guilds whose images are being tagged again, by rising id, after_id being the last one that is done.
retaggings = _table(
    "retaggings",
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("after_id", WholeNumber, nullable=False),
    sa.Column("done", WholeNumber, nullable=False),
    sa.Column("total", WholeNumber),
)

# Roles whose members' reposts are not told of.
repost_exemptions = _table(
    "repost_exemptions",
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role_id", WholeNumber, primary_key=True),
    with_rowid=False,
)

# The bot's public replies with tags: one row for each image that a reply describes. image_id: null once that image is
# deleted; the row stays until the reply is deleted in Discord, too.
replies = _table(
    "replies",
    sa.Column("message_id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("channel_id", WholeNumber, sa.ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="SET NULL")),
    sa.Index(None, "channel_id"),
    sa.Index(None, "image_id"),
    with_rowid=False,
)

# Answers of the last day, so that their pages can be turned: which images, and neither what was asked nor by whom.
# id: of the interaction or message that asked, so it tells the time.
answers = _table(
    "answers",
    sa.Column("id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), nullable=False),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("page_size", sa.Integer, nullable=False),
    sa.Column("more", Flag, nullable=False),
    sa.Column("nearest", Flag, nullable=False),
    sa.Column("covered", Flag, nullable=False),
    sa.Column("threshold", sa.REAL, nullable=False),
    sa.CheckConstraint("asked IN ('words', 'likeness', 'filter')", name="asked"),
    sa.Index(None, "guild_id"),
)

answer_images = _table(
    "answer_images",
    sa.Column("answer_id", WholeNumber, sa.ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("rank", sa.Integer, primary_key=True),
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), nullable=False),
    sa.Column("score", sa.REAL, nullable=False),
    sa.Column("look", sa.Integer, nullable=False),
    sa.Column("written", Flag, nullable=False),
    sa.Index(None, "image_id"),
    with_rowid=False,
)

# Images of a restored backup that have not been compared with Discord yet. They are shown to nobody: they may have been
# deleted since the backup. channel_id and message_id repeat the image's, for the order of the comparison.
unverified = _table(
    "unverified",
    sa.Column("image_id", WholeNumber, sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("channel_id", WholeNumber, nullable=False),
    sa.Column("message_id", WholeNumber, nullable=False),
    sa.Index(None, "message_id"),
    sa.Index(None, "channel_id", "message_id"),
)

# What was deleted, so that work in progress cannot bring it back. scope: the message of an attachment, since forwards
# share attachment ids; 0 otherwise.
tombstones = _table(
    "tombstones",
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("scope", WholeNumber, primary_key=True, server_default=sa.text("0")),
    sa.Column("forgotten_at", Time, nullable=False),
    sa.CheckConstraint("kind IN ('message', 'attachment', 'channel', 'guild')", name="kind"),
    sa.Index(None, "forgotten_at"),
    with_rowid=False,
)

# Members whose images were deleted on request: no message up to this one is indexed again, later ones are.
author_cutoffs = _table(
    "author_cutoffs",
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("author_id", WholeNumber, primary_key=True),
    sa.Column("up_to_message", WholeNumber, nullable=False),
    with_rowid=False,
)

# Members who want nothing of theirs to be kept. until: null while that is so; once they want it no more, the last
# message that is left out.
opt_outs = _table(
    "opt_outs",
    sa.Column("author_id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("until", WholeNumber),
)

# Members whose images a moderator keeps out, whenever they are posted.
excluded_members = _table(
    "excluded_members",
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("author_id", WholeNumber, primary_key=True),
    with_rowid=False,
)

# Images that a moderator had forgotten for good, though their messages still exist: a backfill does not bring them
# back. attachment_id: 0 for all of a message.
excluded_images = _table(
    "excluded_images",
    sa.Column("message_id", WholeNumber, primary_key=True, autoincrement=False),
    sa.Column("attachment_id", WholeNumber, primary_key=True, server_default=sa.text("0")),
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), nullable=False),
    sa.Index(None, "guild_id"),
    with_rowid=False,
)

# A guild's last backfill, running or not. channel_id: what it was asked for; null for the whole server. until: the
# newest message when it began. messages, found: those read, and the images in them that are kept. expected: the
# messages that Discord's search counted. after_image: the highest id of an image when it began. notice_…: the message
# that shows the progress.
backfills = _table(
    "backfills",
    sa.Column(
        "guild_id", WholeNumber, sa.ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("channel_id", WholeNumber),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("searching", Flag, nullable=False),
    sa.Column("until", WholeNumber, nullable=False),
    sa.Column("after_image", WholeNumber, nullable=False),
    sa.Column("messages", WholeNumber, nullable=False, server_default=sa.text("0")),
    sa.Column("found", WholeNumber, nullable=False, server_default=sa.text("0")),
    sa.Column("expected", WholeNumber, nullable=False, server_default=sa.text("0")),
    sa.Column("began", Time, nullable=False),
    sa.Column("ended", Time),
    sa.Column("notice_channel", WholeNumber),
    sa.Column("notice_message", WholeNumber),
    sa.CheckConstraint("mode IN ('quick', 'thorough')", name="mode"),
    sa.CheckConstraint("state IN ('running', 'paused', 'cancelled', 'done')", name="state"),
)

# What a backfill does, step by step: archived threads are listed before messages are read, in the order of the names.
# cursor: where the next page begins; null at the beginning. filter: what Discord's search is asked for.
backfill_tasks = _table(
    "backfill_tasks",
    sa.Column("id", WholeNumber, primary_key=True),
    sa.Column("guild_id", WholeNumber, sa.ForeignKey("backfills.guild_id", ondelete="CASCADE"), nullable=False),
    sa.Column("channel_id", WholeNumber, nullable=False),
    sa.Column("parent_id", WholeNumber),
    sa.Column("thread", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("filter", sa.Text, nullable=False),
    sa.Column("cursor", WholeNumber),
    sa.UniqueConstraint("guild_id", "channel_id", "task"),
    sa.CheckConstraint("task IN ('archived_joined', 'archived_private', 'archived_public', 'messages')", name="task"),
    sa.CheckConstraint("state IN ('open', 'done', 'refused')", name="state"),
    sa.CheckConstraint("filter IN ('image', 'snapshot', 'sticker', 'video')", name="filter"),
    sa.Index(None, "guild_id", "state", "task", "id"),
)


def expired_tombstones(now: datetime) -> sa.Delete:
    """The statement that deletes them."""
    return sa.delete(tombstones).where(tombstones.c.forgotten_at < now - TOMBSTONE_LIFETIME)
