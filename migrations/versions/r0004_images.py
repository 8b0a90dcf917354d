"""Names what the tables hold by the field's words: pictures become images."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = ("vectors", "tags", "replies")


def upgrade() -> None:
    _rename("pictures", "images", "picture_id", "image_id")


def downgrade() -> None:
    _rename("images", "pictures", "image_id", "picture_id")


def _rename(table: str, new_table: str, column: str, new_column: str) -> None:
    op.execute(f"ALTER TABLE {table} RENAME TO {new_table}")
    for other in _COLUMNS:
        op.execute(f"ALTER TABLE {other} RENAME COLUMN {column} TO {new_column}")
