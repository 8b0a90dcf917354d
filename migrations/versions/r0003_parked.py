"""What was given up can be looked for; attachments are looked for within their message only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_pictures_attachment_id", "pictures")
    op.create_index(
        "ix_pictures_parked",
        "pictures",
        ["reread", "reason"],
        sqlite_where=sa.text("state = 'parked'"),
        postgresql_where=sa.text("state = 'parked'"),
    )


def downgrade() -> None:
    op.drop_index("ix_pictures_parked", "pictures")
    op.create_index("ix_pictures_attachment_id", "pictures", ["attachment_id"])
