"""Names tables, columns, indexes and constraints by the terms of the field: pictures are images, vectors embeddings.

Nothing is copied: a database of a million images has 2 GB. SQLite renames tables and columns itself; constraint names,
which it cannot rename, are replaced in the stored schema, as its documentation describes for changes that do not affect
the content of the file (https://www.sqlite.org/lang_altertable.html, section 7).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = {"pictures": "images", "vectors": "embeddings"}
_COLUMNS = (
    ("embeddings", "picture_id", "image_id"),
    ("embeddings", "vector", "embedding"),
    ("tags", "picture_id", "image_id"),
    ("replies", "picture_id", "image_id"),
    ("channels", "announcement", "tagging_mode"),
)
# Words in the names of constraints. The order matters: a longer word comes before its part.
_WORDS = {"picture_id": "image_id", "pictures": "images", "vectors": "embeddings", "announcement": "tagging_mode"}


def upgrade() -> None:
    _drop_indexes(_indexes("pictures", "vectors", "picture_id"))
    op.drop_column("pictures", "created_at")
    for old, new in _TABLES.items():
        op.rename_table(old, new)
    for table, old, new in _COLUMNS:
        op.alter_column(table, old, new_column_name=new)
    _rename_constraints(_WORDS)
    _create_indexes(_indexes("images", "embeddings", "image_id"))


def downgrade() -> None:
    _drop_indexes(_indexes("images", "embeddings", "image_id"))
    for table, old, new in _COLUMNS:
        op.alter_column(table, new, new_column_name=old)
    for old, new in _TABLES.items():
        op.rename_table(new, old)
    _rename_constraints({new: old for old, new in _WORDS.items()})
    op.add_column(
        "pictures",
        sa.Column("created_at", sa.Integer(), sa.Computed("(message_id >> 22) + 1420070400000", persisted=False)),
    )
    _create_indexes(_indexes("pictures", "vectors", "picture_id"))


def _indexes(images: str, embeddings: str, image_id: str) -> list[tuple[str, str, list[str], str | None]]:
    """Name, table, columns and condition of the indexes that have a renamed word in their name."""
    return [
        (f"ix_{images}_channel_id_state", images, ["channel_id", "state"], None),
        (f"ix_{images}_guild_id_author_id", images, ["guild_id", "author_id"], None),
        (f"ix_{images}_content_hash", images, ["content_hash"], None),
        (f"ix_{images}_due", images, ["reread", "next_attempt", "id"], "next_attempt IS NOT NULL"),
        (f"ix_{images}_parked", images, ["reread", "reason"], "state = 'parked'"),
        (f"ix_{embeddings}_model_id_guild_id_{image_id}", embeddings, ["model_id", "guild_id", image_id], None),
        (f"ix_replies_{image_id}", "replies", [image_id], None),
    ]


def _drop_indexes(indexes: list[tuple[str, str, list[str], str | None]]) -> None:
    for name, table, _, _ in indexes:
        op.drop_index(name, table)


def _create_indexes(indexes: list[tuple[str, str, list[str], str | None]]) -> None:
    for name, table, columns, condition in indexes:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _rename_constraints(words: dict[str, str]) -> None:
    """SQLite quotes what it renames, so those quotes go, too: the schema reads as if it had been created like this."""
    sql = "sql"
    for old, new in words.items():
        sql = f"replace({sql}, '{old}', '{new}')"
    for quoted in (*_TABLES.items(), *((old, new) for _, old, new in _COLUMNS)):
        for name in quoted:
            sql = f"""replace({sql}, '"{name}"', '{name}')"""
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema = ON")
    op.execute(f"UPDATE sqlite_schema SET sql = {sql} WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")  # noqa: S608
    op.execute(f"PRAGMA schema_version = {version + 1}")  # every open statement reads the schema again
    op.execute("PRAGMA writable_schema = OFF")
