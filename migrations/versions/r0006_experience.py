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
ZERO = sa.text("0")


def upgrade() -> None:
    _extend_tags()
    _add_tag_decisions()
    _add_label_sets()
    _add_opt_outs()
    _add_rules()
    _add_exclusions()
    _add_backfills()
    _add_reposts()
    _add_sources()
    _add_answers()
    _add_frames()
    _add_image_texts()
    _add_answering_model()


def downgrade() -> None:
    op.drop_column("models", "answering")
    _drop_image_texts()
    _drop_frames()
    _drop_reposts()
    op.drop_table("answer_images")
    op.drop_table("answers")
    _drop_sources()
    _drop_backfills()
    _drop_exclusions()
    _drop_rules()
    op.drop_table("opt_outs")
    _drop_label_sets()
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


def _add_label_sets() -> None:
    """Labels of channels; labels with prompts, thresholds and languages; which guilds' images are to be tagged again.

    A guild that has labels of its own keeps those, and no others.
    """
    op.create_table(
        "label_sets",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("channel_id", WHOLE),
        sa.Column("shipped", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label_sets"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_label_sets_guild_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_label_sets_channel_id", ondelete="CASCADE"),
        sqlite_strict=True,
    )
    op.create_index("ix_label_sets_guild_id_channel_id", "label_sets", ["guild_id", "channel_id"], unique=True)
    server = sa.text("channel_id IS NULL")
    op.create_index(
        "ix_label_sets_server", "label_sets", ["guild_id"], unique=True, sqlite_where=server, postgresql_where=server
    )
    op.create_index("ix_label_sets_channel_id", "label_sets", ["channel_id"])
    op.rename_table("labels", "labels_before")
    op.create_table(
        "labels",
        sa.Column("set_id", WHOLE, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("prompts", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("threshold", sa.Integer()),
        sa.Column("language", sa.Text()),
        sa.Column("removed", sa.Integer(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("set_id", "position", name="pk_labels"),
        sa.ForeignKeyConstraint(["set_id"], ["label_sets.id"], name="fk_labels_set_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO label_sets (guild_id, shipped) SELECT id, CASE WHEN own_labels THEN '' ELSE 'default' END"
        " FROM guilds WHERE own_labels OR id IN (SELECT guild_id FROM labels_before)"
    )
    op.execute(
        "INSERT INTO labels (set_id, position, label) SELECT label_sets.id, position, label"
        " FROM labels_before JOIN label_sets ON label_sets.guild_id = labels_before.guild_id"
    )
    op.drop_table("labels_before")
    op.drop_column("guilds", "own_labels")
    op.add_column("guilds", sa.Column("labels_version", WHOLE, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "retaggings",
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("after_id", WHOLE, nullable=False),
        sa.Column("done", WHOLE, nullable=False),
        sa.Column("total", WHOLE),
        sa.PrimaryKeyConstraint("guild_id", name="pk_retaggings"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_retaggings_guild_id", ondelete="CASCADE"),
        sqlite_strict=True,
    )


def _drop_label_sets() -> None:
    """A guild's own labels stay, and are in use where it uses no shipped ones; those of channels go."""
    op.drop_table("retaggings")
    op.drop_column("guilds", "labels_version")
    op.add_column("guilds", sa.Column("own_labels", sa.Integer(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE guilds SET own_labels = 1 WHERE id IN"
        " (SELECT guild_id FROM label_sets WHERE channel_id IS NULL AND shipped = '')"
    )
    op.rename_table("labels", "labels_after")
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
    op.execute(
        "INSERT INTO labels SELECT guild_id, position, label FROM labels_after"
        " JOIN label_sets ON label_sets.id = set_id WHERE channel_id IS NULL AND NOT removed"
    )
    op.drop_table("labels_after")
    op.drop_table("label_sets")


def _add_opt_outs() -> None:
    op.create_table(
        "opt_outs",
        sa.Column("author_id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("until", WHOLE),
        sa.PrimaryKeyConstraint("author_id", name="pk_opt_outs"),
        sqlite_strict=True,
    )


def _add_rules() -> None:
    op.add_column("guilds", sa.Column("paused", sa.Integer(), nullable=False, server_default=sa.false()))
    op.add_column("guilds", sa.Column("index_new_channels", sa.Integer(), nullable=False, server_default=sa.true()))
    op.add_column("channels", sa.Column("indexed", sa.Integer()))
    for table in ("guilds", "channels"):
        op.add_column(table, sa.Column("retention_days", sa.Integer()))
        op.add_column(table, sa.Column("forgotten_up_to", WHOLE))


def _drop_rules() -> None:
    for table in ("guilds", "channels"):
        op.drop_column(table, "forgotten_up_to")
        op.drop_column(table, "retention_days")
    op.drop_column("channels", "indexed")
    op.drop_column("guilds", "index_new_channels")
    op.drop_column("guilds", "paused")


def _add_exclusions() -> None:
    op.create_table(
        "excluded_members",
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("author_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "author_id", name="pk_excluded_members"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_excluded_members_guild_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "excluded_images",
        sa.Column("message_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("attachment_id", WHOLE, server_default=ZERO, nullable=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "attachment_id", name="pk_excluded_images"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_excluded_images_guild_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_excluded_images_guild_id", "excluded_images", ["guild_id"])


def _drop_exclusions() -> None:
    op.drop_table("excluded_images")
    op.drop_table("excluded_members")


def _add_backfills() -> None:
    op.create_table(
        "backfills",
        sa.Column("guild_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("channel_id", WHOLE),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("searching", sa.Integer(), nullable=False),
        sa.Column("until", WHOLE, nullable=False),
        sa.Column("after_image", WHOLE, nullable=False),
        *(sa.Column(name, WHOLE, server_default=ZERO, nullable=False) for name in ("messages", "found", "expected")),
        sa.Column("began", WHOLE, nullable=False),
        sa.Column("ended", WHOLE),
        sa.Column("notice_channel", WHOLE),
        sa.Column("notice_message", WHOLE),
        sa.PrimaryKeyConstraint("guild_id", name="pk_backfills"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_backfills_guild_id", ondelete="CASCADE"),
        sa.CheckConstraint("mode IN ('quick', 'thorough')", name=op.f("ck_backfills_mode")),
        sa.CheckConstraint("state IN ('running', 'paused', 'cancelled', 'done')", name=op.f("ck_backfills_state")),
        sqlite_strict=True,
    )
    op.create_table(
        "backfill_tasks",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("parent_id", WHOLE),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("thread", "task", "state", "filter")),
        sa.Column("cursor", WHOLE),
        sa.PrimaryKeyConstraint("id", name="pk_backfill_tasks"),
        sa.ForeignKeyConstraint(
            ["guild_id"], ["backfills.guild_id"], name="fk_backfill_tasks_guild_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("guild_id", "channel_id", "task", name="uq_backfill_tasks_guild_id_channel_id_task"),
        sa.CheckConstraint(
            "task IN ('archived_joined', 'archived_private', 'archived_public', 'messages')",
            name=op.f("ck_backfill_tasks_task"),
        ),
        sa.CheckConstraint("state IN ('open', 'done', 'refused')", name=op.f("ck_backfill_tasks_state")),
        sa.CheckConstraint(
            "filter IN ('image', 'snapshot', 'sticker', 'video')", name=op.f("ck_backfill_tasks_filter")
        ),
        sqlite_strict=True,
    )
    tasks = ["guild_id", "state", "task", "id"]
    op.create_index("ix_backfill_tasks_guild_id_state_task_id", "backfill_tasks", tasks)
    op.add_column("images", sa.Column("backfilled", sa.Integer(), nullable=False, server_default=sa.false()))
    op.drop_index("ix_images_due_of_author", "images")
    _index_images("due_of_author", "reread", "backfilled", "guild_id", "author_id", "next_attempt", "id", where=_DUE)
    backfilled = f"{_DUE} AND backfilled = 1"
    _index_images("due_of_backfill", "backfilled", "guild_id", "reread", "next_attempt", "id", where=backfilled)
    _index_images("parked_of_guild", "guild_id", "reason", where="state = 'parked'")


def _drop_backfills() -> None:
    for name in ("parked_of_guild", "due_of_backfill", "due_of_author"):
        op.drop_index(f"ix_images_{name}", "images")
    op.drop_column("images", "backfilled")
    _index_images("due_of_author", "reread", "guild_id", "author_id", "next_attempt", "id", where=_DUE)
    op.drop_table("backfill_tasks")
    op.drop_table("backfills")


def _add_reposts() -> None:
    op.add_column("channels", sa.Column("repost_notice", sa.Text()))
    op.add_column("channels", sa.Column("repost_days", sa.Integer()))
    op.add_column("images", sa.Column("perceptual_hash", sa.Text()))
    op.add_column("images", sa.Column("reposts_allowed", sa.Integer(), nullable=False, server_default=sa.false()))
    op.create_table(
        "repost_exemptions",
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("role_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("guild_id", "role_id", name="pk_repost_exemptions"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_repost_exemptions_guild_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _drop_reposts() -> None:
    op.drop_table("repost_exemptions")
    for table, column in (
        ("images", "reposts_allowed"),
        ("images", "perceptual_hash"),
        ("channels", "repost_days"),
        ("channels", "repost_notice"),
    ):
        op.drop_column(table, column)


_DUE = "next_attempt IS NOT NULL"


def _index_images(name: str, *columns: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(f"ix_images_{name}", "images", [*columns], sqlite_where=condition, postgresql_where=condition)


_SOURCES = "'attachment', 'forward', 'preview'"
_MORE_SOURCES = f"{_SOURCES}, 'sticker', 'emoji', 'video'"


def _add_sources() -> None:
    _replace_in_images(f"source IN ({_SOURCES})", f"source IN ({_MORE_SOURCES})")


def _drop_sources() -> None:
    """Images of these sources go, with all that is kept of them."""
    these = f"SELECT id FROM images WHERE source NOT IN ({_SOURCES})"  # noqa: S608
    for table in ("tags", "tag_decisions", "embeddings", "unverified"):
        op.execute(f"DELETE FROM {table} WHERE image_id IN ({these})")  # noqa: S608
    op.execute(f"UPDATE replies SET image_id = NULL WHERE image_id IN ({these})")  # noqa: S608
    op.execute(f"DELETE FROM images WHERE id IN ({these})")  # noqa: S608
    _replace_in_images(f"source IN ({_MORE_SOURCES})", f"source IN ({_SOURCES})")


def _replace_in_images(old: str, new: str) -> None:
    """Changes a constraint in the stored schema, as revision 0004 does: nothing is copied."""
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    change = sa.text("UPDATE sqlite_schema SET sql = replace(sql, :old, :new) WHERE type = 'table' AND name = 'images'")
    op.execute("PRAGMA writable_schema = ON")
    op.get_bind().execute(change, {"old": old, "new": new})
    op.execute(f"PRAGMA schema_version = {version + 1}")  # every open statement reads the schema again
    op.execute("PRAGMA writable_schema = OFF")


def _add_answers() -> None:
    """Answers of the last day, whose pages can be turned."""
    op.create_table(
        "answers",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("page_size", sa.Integer(), nullable=False),
        sa.Column("more", sa.Integer(), nullable=False),
        sa.Column("nearest", sa.Integer(), nullable=False),
        sa.Column("covered", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_answers"),
        sa.ForeignKeyConstraint(["guild_id"], ["guilds.id"], name="fk_answers_guild_id", ondelete="CASCADE"),
        sa.CheckConstraint("asked IN ('words', 'likeness', 'filter')", name="asked"),
        sqlite_strict=True,
    )
    op.create_index("ix_answers_guild_id", "answers", ["guild_id"])
    op.create_table(
        "answer_images",
        sa.Column("answer_id", WHOLE, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("written", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("answer_id", "rank", name="pk_answer_images"),
        sa.ForeignKeyConstraint(["answer_id"], ["answers.id"], name="fk_answer_images_answer_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_answer_images_image_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_answer_images_image_id", "answer_images", ["image_id"])


def _add_frames() -> None:
    """Embeddings by image, model and frame. Those that were there are of first frames."""
    op.drop_index("ix_embeddings_model_id_guild_id_image_id", "embeddings")
    op.rename_table("embeddings", "embeddings_before")
    _create_embeddings(
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        key=["image_id", "model_id", "frame"],
    )
    op.execute(
        "INSERT INTO embeddings SELECT image_id, model_id, 0, guild_id, channel_id, embedding, checksum"
        " FROM embeddings_before ORDER BY image_id"
    )
    op.drop_table("embeddings_before")
    columns = ["model_id", "guild_id", "image_id", "frame"]
    op.create_index("ix_embeddings_model_id_guild_id_image_id_frame", "embeddings", columns)


def _drop_frames() -> None:
    """First frames stay; of an image that two models have encoded, those by the one that came last."""
    op.drop_index("ix_embeddings_model_id_guild_id_image_id_frame", "embeddings")
    op.rename_table("embeddings", "embeddings_after")
    _create_embeddings(
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        key=["image_id"],
    )
    op.execute(
        "INSERT INTO embeddings SELECT image_id, max(model_id), guild_id, channel_id, embedding, checksum"
        " FROM embeddings_after WHERE frame = 0 GROUP BY image_id"
    )
    op.drop_table("embeddings_after")
    op.create_index("ix_embeddings_model_id_guild_id_image_id", "embeddings", ["model_id", "guild_id", "image_id"])


def _create_embeddings(*columns: sa.Column[Any], key: list[str]) -> None:
    op.create_table(
        "embeddings",
        *columns,
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("channel_id", WHOLE, nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("checksum", WHOLE),
        sa.PrimaryKeyConstraint(*key, name="pk_embeddings"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_embeddings_image_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_embeddings_model_id"),
        sqlite_strict=True,
    )


def _add_image_texts() -> None:
    op.add_column("guilds", sa.Column("reads_text", sa.Integer(), nullable=False, server_default=sa.false()))
    op.add_column("guilds", sa.Column("unread_before", WHOLE, nullable=False, server_default=ZERO))
    op.create_table(
        "image_texts",
        sa.Column("channel_id", WHOLE, autoincrement=False, nullable=False),
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("channel_id", "image_id", name="pk_image_texts"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_image_texts_image_id", ondelete="CASCADE"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_image_texts_image_id", "image_texts", ["image_id"])
    op.create_table(
        "unread_images",
        sa.Column("image_id", WHOLE, nullable=False),
        sa.Column("guild_id", WHOLE, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=ZERO),
        sa.Column("next_attempt", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("image_id", name="pk_unread_images"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_unread_images_image_id", ondelete="CASCADE"),
        sqlite_strict=True,
    )
    op.create_index("ix_unread_images_guild_id_image_id", "unread_images", ["guild_id", "image_id"])


def _drop_image_texts() -> None:
    op.drop_table("unread_images")
    op.drop_table("image_texts")
    op.drop_column("guilds", "unread_before")
    op.drop_column("guilds", "reads_text")


def _add_answering_model() -> None:
    """The one that has encoded the most."""
    op.add_column("models", sa.Column("answering", sa.Integer(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE models SET answering = 1"
        " WHERE id = (SELECT model_id FROM embeddings GROUP BY model_id ORDER BY count(*) DESC LIMIT 1)"
    )
