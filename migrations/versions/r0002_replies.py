"""The bot's own messages that describe pictures, so that they can go with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "replies",
        sa.Column("message_id", WHOLE, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("picture_id", WHOLE),
        sa.PrimaryKeyConstraint("message_id", "position", name="pk_replies"),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_replies_channel_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["picture_id"], ["pictures.id"], name="fk_replies_picture_id", ondelete="SET NULL"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_replies_channel_id", "replies", ["channel_id"])
    op.create_index("ix_replies_picture_id", "replies", ["picture_id"])


def downgrade() -> None:
    op.drop_table("replies")
