"""What members and moderators can choose, and what the answers to them need. One function for each subject."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from bot.label_names import label_key

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _extend_tags()
    _add_tag_decisions()
    _add_opt_outs()


def downgrade() -> None:
    op.drop_table("opt_outs")
    op.drop_table("tag_decisions")
    _shorten_tags()


def _extend_tags() -> None:
    """Their channel and key, by which they are counted and found; whether a member confirmed them; their language."""
    op.rename_table("tags", "tags_before")
    _create_tags(
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("probability", sa.REAL(), nullable=False),
        sa.Column("confirmed", sa.Integer(), nullable=False, server_default=sa.false()),
        sa.Column("language", sa.Text()),
    )
    op.execute(
        "INSERT INTO tags (image_id, rank, channel_id, key, label, probability)"
        " SELECT image_id, rank, images.channel_id, label, label, probability"
        " FROM tags_before JOIN images ON images.id = tags_before.image_id"
    )
    op.drop_table("tags_before")
    connection = op.get_bind()
    for label in [*connection.execute(sa.text("SELECT DISTINCT label FROM tags")).scalars()]:
        if (key := label_key(label)) != label:
            connection.execute(sa.text("UPDATE tags SET key = :key WHERE label = :label"), {"key": key, "label": label})
    op.create_index("ix_tags_channel_id_key_label", "tags", ["channel_id", "key", "label"])


def _add_tag_decisions() -> None:
    """Tags that members removed, added or confirmed."""
    op.create_table(
        "tag_decisions",
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("language", sa.Text()),
        sa.PrimaryKeyConstraint("image_id", "key", name="pk_tag_decisions"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_tag_decisions_image_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _shorten_tags() -> None:
    op.drop_index("ix_tags_channel_id_key_label", "tags")
    op.rename_table("tags", "tags_after")
    _create_tags(
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("probability", sa.REAL(), nullable=False),
    )
    op.execute("INSERT INTO tags SELECT image_id, rank, label, probability FROM tags_after")
    op.drop_table("tags_after")


def _create_tags(*columns: sa.Column[Any]) -> None:
    op.create_table(
        "tags",
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("image_id", "rank", name="pk_tags"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_tags_image_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _add_opt_outs() -> None:
    op.create_table(
        "opt_outs",
        sa.Column("author_id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("until", WHOLE),
        sa.PrimaryKeyConstraint("author_id", name="pk_opt_outs"),
        sqlite_strict=True,
    )
