"""The tables and their column types. A change needs a revision in `migrations/versions/`; a test compares the two.

Ids are Discord's snowflakes, except `images.id` and `models.id`. Everything of a guild refers to `guilds`, everything
of a channel to `channels`, by cascading foreign keys: a new table that does the same is deleted with its guild.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Delete,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    delete,
    false,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

Embeddings = npt.NDArray[np.float16]
"""One embedding [dim], or several [n, dim]; unit length."""

# Discord serves no history with a message that it has deleted, so a tombstone must outlive only pages that were fetched
# before the deletion: minutes. A month is far beyond that, and bounds the table.
TOMBSTONE_LIFETIME = timedelta(days=30)

_STORED = np.dtype("<f2")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# SQLite's STRICT tables know INTEGER, REAL, TEXT and BLOB only.
WholeNumber = BigInteger().with_variant(Integer(), "sqlite")
Flag: TypeEngine[bool] = Boolean().with_variant(Integer(), "sqlite")


class Time(TypeDecorator[datetime]):
    """Whole milliseconds since 1970, UTC. Refuses a time without a zone."""

    impl = WholeNumber
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(milliseconds=value)


class Embedding(TypeDecorator[Embeddings]):
    """float16 [dim], stored as little-endian bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: npt.ArrayLike | None, dialect: Dialect) -> bytes | None:
        return None if value is None else np.asarray(value, _STORED).tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Embeddings | None:
        return None if value is None else self.stack([value])[0]

    @staticmethod
    def stack(stored: Sequence[bytes]) -> Embeddings:
        """float16 [n, dim] of n stored values, writable. The bytes are copied once, into memory that numpy may own."""
        flat = np.frombuffer(bytearray().join(stored), _STORED)
        return flat.reshape(len(stored), -1).astype(np.float16, copy=False)


def milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *items: SchemaItem, with_rowid: bool = True, autoincrement: bool = False) -> Table:
    return Table(
        name, metadata, *items, sqlite_strict=True, sqlite_with_rowid=with_rowid, sqlite_autoincrement=autoincrement
    )


guilds = _table(
    "guilds",
    Column("id", WholeNumber, primary_key=True, autoincrement=False),
    Column("own_labels", Flag, nullable=False, server_default=false()),
)

channels = _table(
    "channels",
    Column("id", WholeNumber, primary_key=True, autoincrement=False),
    Column("guild_id", WholeNumber, ForeignKey("guilds.id", ondelete="CASCADE"), nullable=False),
    Column("parent_id", WholeNumber),
    Column("thread", Text, nullable=False, server_default="none"),
    Column("tagging_mode", Text),
    Column("last_seen", WholeNumber),
    CheckConstraint("thread IN ('none', 'public', 'private')", name="thread"),
    CheckConstraint("tagging_mode IN ('off', 'silent', 'reaction', 'reply')", name="tagging_mode"),
    Index(None, "guild_id"),
    Index(None, "parent_id"),
)

images = _table(
    "images",
    Column("id", WholeNumber, primary_key=True),
    Column("guild_id", WholeNumber, nullable=False),
    Column("channel_id", WholeNumber, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", WholeNumber, nullable=False),
    Column("attachment_id", WholeNumber, nullable=False),
    Column("source", Text, nullable=False),
    Column("author_id", WholeNumber, nullable=False),
    Column("state", Text, nullable=False),
    Column("reread", Flag, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt", Time),
    Column("reason", Text),
    Column("content_hash", Text),
    Column("width", Integer),
    Column("height", Integer),
    UniqueConstraint("message_id", "attachment_id", "source"),
    CheckConstraint("source IN ('attachment', 'forward', 'preview')", name="source"),
    CheckConstraint("state IN ('pending', 'ready', 'parked')", name="state"),
    # Due images are found by next_attempt alone, in a partial index, so the two must agree.
    CheckConstraint("(state = 'pending') = (next_attempt IS NOT NULL)", name="due"),
    Index(None, "channel_id", "state"),
    Index(None, "guild_id", "author_id"),
    Index(None, "content_hash"),
    Index("ix_images_due", "reread", "next_attempt", "id", sqlite_where=text("next_attempt IS NOT NULL")),
    # Few images are parked: a partial index finds them without a look at all others.
    Index("ix_images_parked", "reread", "reason", sqlite_where=text("state = 'parked'")),
    # Never reuses an id: a worker must not finish another image that got the id of a deleted one.
    autoincrement=True,
)

models = _table(
    "models",
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("preprocessing", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
)

# guild_id and channel_id repeat the image's, so that a guild's embeddings load without a join.
embeddings = _table(
    "embeddings",
    Column("image_id", WholeNumber, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", Integer, ForeignKey("models.id"), nullable=False),
    Column("guild_id", WholeNumber, nullable=False),
    Column("channel_id", WholeNumber, nullable=False),
    Column("embedding", Embedding, nullable=False),
    Index(None, "model_id", "guild_id", "image_id"),
)

tags = _table(
    "tags",
    Column("image_id", WholeNumber, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("label", Text, nullable=False),
    Column("probability", REAL, nullable=False),
    with_rowid=False,
)

labels = _table(
    "labels",
    Column("guild_id", WholeNumber, ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", Text, nullable=False),
    with_rowid=False,
)

# The bot's public replies with tags: one row for each image that a reply describes. image_id: null once that image is
# deleted; the row stays until the reply is deleted in Discord, too.
replies = _table(
    "replies",
    Column("message_id", WholeNumber, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True),
    Column("channel_id", WholeNumber, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("image_id", WholeNumber, ForeignKey("images.id", ondelete="SET NULL")),
    Index(None, "channel_id"),
    Index(None, "image_id"),
    with_rowid=False,
)

# What was deleted, so that work in progress cannot bring it back. scope: the message of an attachment, since forwards
# share attachment ids; 0 otherwise.
tombstones = _table(
    "tombstones",
    Column("kind", Text, primary_key=True),
    Column("id", WholeNumber, primary_key=True, autoincrement=False),
    Column("scope", WholeNumber, primary_key=True, server_default=text("0")),
    Column("forgotten_at", Time, nullable=False),
    CheckConstraint("kind IN ('message', 'attachment', 'channel', 'guild')", name="kind"),
    Index(None, "forgotten_at"),
    with_rowid=False,
)

# Members whose images were deleted on request: no message up to this one is indexed again, later ones are.
author_cutoffs = _table(
    "author_cutoffs",
    Column("guild_id", WholeNumber, ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    Column("author_id", WholeNumber, primary_key=True),
    Column("up_to_message", WholeNumber, nullable=False),
    with_rowid=False,
)


def expired_tombstones(now: datetime) -> Delete:
    """The statement that deletes them."""
    return delete(tombstones).where(tombstones.c.forgotten_at < now - TOMBSTONE_LIFETIME)
