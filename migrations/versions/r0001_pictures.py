"""The first tables: servers, channels, pictures, vectors, tags, labels, tombstones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBER: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
ZERO = sa.text("0")


def upgrade() -> None:
    _servers_and_channels()
    _pictures()
    _vectors_and_tags()
    _what_is_forgotten()


def downgrade() -> None:
    for table in (
        "author_cutoffs",
        "tombstones",
        "labels",
        "tags",
        "vectors",
        "models",
        "pictures",
        "channels",
        "guilds",
    ):
        op.drop_table(table)


def _servers_and_channels() -> None:
    op.create_table(
        "guilds",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("own_labels", sa.Integer(), server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_guilds"),
        sqlite_strict=True,
    )
    op.create_table(
        "labels",
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "position", name="pk_labels"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_labels_guild_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "channels",
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("parent_id", WHOLE),
        sa.Column("thread", sa.Text(), server_default="none", nullable=False),
        sa.Column("announcement", sa.Text()),
        sa.Column("last_seen", WHOLE),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_channels_guild_id", ondelete="CASCADE"),
        sa.CheckConstraint("thread IN ('none', 'public', 'private')", name=op.f("ck_channels_thread")),
        sa.CheckConstraint(
            "announcement IN ('off', 'silent', 'reaction', 'reply')", name=op.f("ck_channels_announcement")
        ),
        sqlite_strict=True,
    )
    op.create_index("ix_channels_guild_id", "channels", ["guild_id"])
    op.create_index("ix_channels_parent_id", "channels", ["parent_id"])


def _pictures() -> None:
    op.create_table(
        "pictures",
        sa.Column("id", WHOLE, primary_key=True),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("message_id", WHOLE, nullable=False),
        sa.Column("attachment_id", WHOLE, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("author_id", WHOLE, nullable=False),
        sa.Column("created_at", WHOLE, sa.Computed("(message_id >> 22) + 1420070400000", persisted=False)),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reread", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("next_attempt", WHOLE),
        sa.Column("reason", sa.Text()),
        sa.Column("content_hash", sa.Text()),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_pictures_channel_id", ondelete="CASCADE"),
        sa.UniqueConstraint(
            "message_id", "attachment_id", "source", name="uq_pictures_message_id_attachment_id_source"
        ),
        sa.CheckConstraint("source IN ('attachment', 'forward', 'preview')", name=op.f("ck_pictures_source")),
        sa.CheckConstraint("state IN ('pending', 'ready', 'parked')", name=op.f("ck_pictures_state")),
        sa.CheckConstraint("(state = 'pending') = (next_attempt IS NOT NULL)", name=op.f("ck_pictures_due")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pictures_attachment_id", "pictures", ["attachment_id"])
    op.create_index("ix_pictures_channel_id_state", "pictures", ["channel_id", "state"])
    op.create_index("ix_pictures_guild_id_author_id", "pictures", ["guild_id", "author_id"])
    op.create_index("ix_pictures_content_hash", "pictures", ["content_hash"])
    op.create_index(
        "ix_pictures_due",
        "pictures",
        ["reread", "next_attempt", "id"],
        sqlite_where=sa.text("next_attempt IS NOT NULL"),
        postgresql_where=sa.text("next_attempt IS NOT NULL"),
    )


def _vectors_and_tags() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("preprocessing", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("key", name="uq_models_key"),
        sqlite_strict=True,
    )
    op.create_table(
        "vectors",
        sa.Column("picture_id", WHOLE, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("picture_id", name="pk_vectors"),
        sa.ForeignKeyConstraint(["picture_id"], ["pictures.id"], name="fk_vectors_picture_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_vectors_model_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_vectors_model_id_guild_id_picture_id", "vectors", ["model_id", "guild_id", "picture_id"])
    op.create_table(
        "tags",
        sa.Column("picture_id", WHOLE, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("probability", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("picture_id", "rank", name="pk_tags"),
        sa.ForeignKeyConstraint(["picture_id"], ["pictures.id"], name="fk_tags_picture_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _what_is_forgotten() -> None:
    op.create_table(
        "tombstones",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("scope", WHOLE, server_default=ZERO, nullable=False),
        sa.Column("forgotten_at", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", "scope", name="pk_tombstones"),
        sa.CheckConstraint("kind IN ('message', 'attachment', 'channel', 'guild')", name=op.f("ck_tombstones_kind")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tombstones_forgotten_at", "tombstones", ["forgotten_at"])
    op.create_table(
        "author_cutoffs",
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=False),
        sa.Column("up_to_message", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "author_id", name="pk_author_cutoffs"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_author_cutoffs_guild_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
