"""A checksum for each embedding, the images of a restored backup that are to be compared with Discord, and an index
that finds the due images of one author.

Embeddings from before have no checksum: to compute them all would rewrite a gigabyte at once.

Which images are spoilers: when one becomes a spoiler, what was said openly about it is deleted.

The index of a channel's images gets their messages, so that a part of a history can be compared with what is stored.
A channel's first watermark is kept, so that a comparison accepts nothing from before the bot joined.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("embeddings", sa.Column("checksum", sa.Integer()))
    op.add_column("images", sa.Column("spoiler", sa.Integer(), nullable=False, server_default=sa.false()))
    op.create_table(
        "unverified",
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("message_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("image_id", name="pk_unverified"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_unverified_image_id", ondelete="CASCADE"),
        sqlite_strict=True,
    )
    op.create_index("ix_unverified_message_id", "unverified", ["message_id"])
    op.create_index("ix_unverified_channel_id_message_id", "unverified", ["channel_id", "message_id"])
    op.drop_index("ix_images_channel_id_state", "images")
    op.create_index("ix_images_channel_id_state_message_id", "images", ["channel_id", "state", "message_id"])
    op.add_column("channels", sa.Column("first_seen", WHOLE))
    op.execute(
        "UPDATE channels SET first_seen = coalesce((SELECT min(message_id) - 1 FROM images"
        " WHERE channel_id = channels.id AND message_id <= last_seen), last_seen)"
    )
    pending = sa.text("next_attempt IS NOT NULL")
    op.create_index(
        "ix_images_due_of_author",
        "images",
        ["reread", "guild_id", "author_id", "next_attempt", "id"],
        sqlite_where=pending,
        postgresql_where=pending,
    )


def downgrade() -> None:
    op.drop_index("ix_images_due_of_author", "images")
    op.drop_column("channels", "first_seen")
    op.drop_index("ix_images_channel_id_state_message_id", "images")
    op.create_index("ix_images_channel_id_state", "images", ["channel_id", "state"])
    op.drop_table("unverified")
    op.drop_column("images", "spoiler")
    op.drop_column("embeddings", "checksum")
