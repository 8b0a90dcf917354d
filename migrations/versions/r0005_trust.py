"""A checksum for each embedding. Rows from before have none: to compute them all would rewrite a gigabyte at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("embeddings", sa.Column("checksum", sa.Integer()))


def downgrade() -> None:
    op.drop_column("embeddings", "checksum")
