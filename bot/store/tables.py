"""The tables. A change here needs a revision under `migrations/versions/`; a test compares the two.

Ids are Discord's snowflakes, but for `images.id` and `models.id`. Times are whole milliseconds since 1970, UTC.
Everything of a server hangs under `guilds`, everything of a channel under `channels`, by cascading keys: a table that
is added later is forgotten with its server as long as it does the same.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

# STRICT tables know INTEGER and REAL only; the wider names are for PostgreSQL.
WholeNumber = BigInteger().with_variant(Integer(), "sqlite")
Number: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

guilds = Table(
    "guilds",
    metadata,
    Column("id", WholeNumber, primary_key=True, autoincrement=False),
    Column("own_labels", Integer, nullable=False, server_default=text("0")),
    sqlite_strict=True,
)

channels = Table(
    "channels",
    metadata,
    Column("id", WholeNumber, primary_key=True, autoincrement=False),
    Column("guild_id", WholeNumber, ForeignKey("guilds.id", ondelete="CASCADE"), nullable=False),
    Column("parent_id", WholeNumber),
    Column("thread", Text, nullable=False, server_default="none"),
    Column("announcement", Text),
    Column("last_seen", WholeNumber),
    CheckConstraint("thread IN ('none', 'public', 'private')", name="thread"),
    CheckConstraint("announcement IN ('off', 'silent', 'reaction', 'reply')", name="announcement"),
    Index(None, "guild_id"),
    Index(None, "parent_id"),
    sqlite_strict=True,
)

images = Table(
    "images",
    metadata,
    Column("id", WholeNumber, primary_key=True),
    Column("guild_id", WholeNumber, nullable=False),
    Column("channel_id", WholeNumber, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", WholeNumber, nullable=False),
    Column("attachment_id", WholeNumber, nullable=False),
    Column("source", Text, nullable=False),
    Column("author_id", WholeNumber, nullable=False),
    # A snowflake's time, for people and tools that read the table: it cannot disagree with the id.
    Column("created_at", WholeNumber, Computed("(message_id >> 22) + 1420070400000", persisted=False)),
    Column("state", Text, nullable=False),
    Column("reread", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt", WholeNumber),
    Column("reason", Text),
    Column("content_hash", Text),
    Column("width", Integer),
    Column("height", Integer),
    UniqueConstraint("message_id", "attachment_id", "source"),
    CheckConstraint("source IN ('attachment', 'forward', 'preview')", name="source"),
    CheckConstraint("state IN ('pending', 'ready', 'parked')", name="state"),
    # What is due is found by next_attempt alone, through a partial index, so the two must agree.
    CheckConstraint("(state = 'pending') = (next_attempt IS NOT NULL)", name="due"),
    Index(None, "channel_id", "state"),
    Index(None, "guild_id", "author_id"),
    Index(None, "content_hash"),
    sqlite_strict=True,
    # Ids are never used twice: a job in flight must not finish another image that took over a forgotten one's id.
    sqlite_autoincrement=True,
)
Index(
    "ix_images_due",
    images.c.reread,
    images.c.next_attempt,
    images.c.id,
    sqlite_where=images.c.next_attempt.is_not(None),
    postgresql_where=images.c.next_attempt.is_not(None),
)
# Few are given up, so that whoever looks for them should not have to look at all the others.
Index(
    "ix_images_parked",
    images.c.reread,
    images.c.reason,
    sqlite_where=images.c.state == text("'parked'"),
    postgresql_where=images.c.state == text("'parked'"),
)

models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("preprocessing", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    sqlite_strict=True,
)

# guild_id and channel_id repeat the image's so that a server's index loads without a join.
vectors = Table(
    "vectors",
    metadata,
    Column("image_id", WholeNumber, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", Integer, ForeignKey("models.id"), nullable=False),
    Column("guild_id", WholeNumber, nullable=False),
    Column("channel_id", WholeNumber, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Index(None, "model_id", "guild_id", "image_id"),
    sqlite_strict=True,
)

tags = Table(
    "tags",
    metadata,
    Column("image_id", WholeNumber, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("label", Text, nullable=False),
    Column("probability", Number, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

labels = Table(
    "labels",
    metadata,
    Column("guild_id", WholeNumber, ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# A message of the bot's own that describes images, one row for each. image_id: null once that image is forgotten;
# the row stays until the message is deleted in Discord, too.
replies = Table(
    "replies",
    metadata,
    Column("message_id", WholeNumber, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True),
    Column("channel_id", WholeNumber, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("image_id", WholeNumber, ForeignKey("images.id", ondelete="SET NULL")),
    Index(None, "channel_id"),
    Index(None, "image_id"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# scope: the message, for an attachment (forwards share attachment ids); 0 otherwise.
tombstones = Table(
    "tombstones",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", WholeNumber, primary_key=True, autoincrement=False),
    Column("scope", WholeNumber, primary_key=True, server_default=text("0")),
    Column("forgotten_at", WholeNumber, nullable=False),
    CheckConstraint("kind IN ('message', 'attachment', 'channel', 'guild')", name="kind"),
    Index(None, "forgotten_at"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# A member who asked to be forgotten: nothing up to this message comes back, what they post later is remembered.
author_cutoffs = Table(
    "author_cutoffs",
    metadata,
    Column("guild_id", WholeNumber, ForeignKey("guilds.id", ondelete="CASCADE"), primary_key=True),
    Column("author_id", WholeNumber, primary_key=True),
    Column("up_to_message", WholeNumber, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
