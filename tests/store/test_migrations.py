from __future__ import annotations

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from bot.models import BackfillMode, ChannelRef, Source, TagDecision, TaggingMode
from bot.store.answers import AnswerStore
from bot.store.backend import open_backend
from bot.store.backfills import BackfillStore, TaskKind
from bot.store.backup import mark_unverified
from bot.store.database import Database
from bot.store.guilds import ChannelStore, ReplyStore
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from bot.store.labels import LabelSet, LabelStore, OwnLabel
from bot.store.migrate import SCRIPTS, migrate
from bot.store.reposts import RepostStore
from bot.store.rules import RuleStore
from bot.store.schema import metadata
from bot.store.tags import TagStore
from tests.store.samples import CARD, answer, finished, ref

STEPS = list(ScriptDirectory(str(SCRIPTS)).walk_revisions())
HEAD = STEPS[0].revision


async def fill(path) -> None:
    """A row in every table."""
    async with await Database.open(path) as database:
        images = ImageStore(database)
        await images.accept([ref(10), ref(11)])
        [image] = await images.by_message(10)
        await ImageTextStore(database).set_reading(1, True)
        await images.finish([finished(image.id)], CARD)
        [other] = await images.by_message(11)
        await images.finish([finished(other.id)], CARD)
        await ImageTextStore(database).save(other.id, "opening hours")
        await TagStore(database).decide(image.id, [TagDecision("Sofa", kept=False)])
        await ChannelStore(database).set_tagging_mode(ChannelRef(1, 2), TaggingMode.REPLY)
        await LabelStore(database).change(1, None, lambda _: LabelSet(("default",), (OwnLabel("cat"),)))
        await ReplyStore(database).remember(ChannelRef(1, 2), 50, [image.id])
        await images.forget_messages([12])
        await images.exclude_images(1, 13, [])
        await RuleStore(database).exclude_member(1, 71)
        await RepostStore(database).set_exempt(1, 80, exempt=True)
        tasks = [(ChannelRef(1, 2), TaskKind.MESSAGES)]
        await BackfillStore(database).begin(1, None, BackfillMode.QUICK, 20, tasks)
        await database.write(mark_unverified)
        await images.forget_author(1, 70)
        await images.opt_out(71)
        await AnswerStore(database).save(answer(image.id))


def query(path, statement: str) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def schema(path) -> set[tuple]:
    """Each table's and index's words, sorted: the order of constraints means nothing."""
    return {
        (name, " ".join(sorted(sql.replace(",", " ").replace("(", " ( ").replace(")", " ) ").split())))
        for name, sql in query(path, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        if not name.startswith(("sqlite_", "alembic_"))
    }


def columns(path) -> dict[str, list[str]]:
    """Of each table that holds people's data, by the names of today: an image was called a picture once, an embedding a
    vector.
    """
    tables = {name: [column for _, column, *_ in query(path, f"PRAGMA table_info({name})")] for name in tables_of(path)}
    return {renamed(name): list(map(renamed, its)) for name, its in tables.items()}


def renamed(name: str) -> str:
    return name.replace("picture", "image").replace("vector", "embedding")


def tables_of(path) -> list[str]:
    names = query(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for [name] in names if not name.startswith(("sqlite_", "alembic_"))]


def contents(path) -> dict[str, list[tuple]]:
    return {name: query(path, f"SELECT * FROM {name} ORDER BY 1, 2") for name in metadata.tables}


async def test_the_sample_has_a_row_in_every_table(path):
    await fill(path)
    for table in metadata.tables:
        assert query(path, f"SELECT count(*) FROM {table}") != [(0,)], table


@pytest.mark.parametrize("below", [step.down_revision or "base" for step in STEPS])
async def test_each_revision_goes_down_and_up_again_and_keeps_the_data(path, below):
    await fill(path)
    full, rows = schema(path), contents(path)
    await migrate(open_backend(path, 1.0), below)
    assert (schema(path) == set()) == (below == "base")
    there = columns(path)
    await migrate(open_backend(path, 1.0), "head")
    assert schema(path) == full
    now = contents(path)
    for table, known in columns(path).items():
        kept = [at for at, name in enumerate(known) if name in there.get(table, ())]
        was_there = table in there or (table == "label_sets" and "labels" in there)  # before 0006 there was one set
        before = rows[table] if was_there else []
        assert [[row[at] for at in kept] for row in now[table]] == [[row[at] for at in kept] for row in before], table
    assert query(path, "PRAGMA foreign_key_check") == []
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    await fill(path)


async def test_before_revision_0004_the_same_rows_have_the_old_names(path):
    await fill(path)
    rows = contents(path)
    await migrate(open_backend(path, 1.0), "0003")
    embeddings = query(path, "SELECT picture_id, model_id, guild_id, channel_id, vector FROM vectors")
    assert embeddings == [(image, model, *rest) for image, model, _, *rest, _ in rows["embeddings"]]
    assert query(path, "SELECT picture_id, rank, label, probability FROM tags ORDER BY 1, 2") == [
        (image_id, rank, label, probability) for image_id, rank, _, _, label, probability, *_ in rows["tags"]
    ]
    assert query(path, "SELECT message_id, position, channel_id, picture_id FROM replies") == rows["replies"]
    assert query(path, "SELECT id, announcement FROM channels") == [(2, "reply")]
    assert [row[0] for row in query(path, "SELECT id FROM pictures ORDER BY id")] == [row[0] for row in rows["images"]]
    names = " ".join(sql for _, sql in schema(path))
    assert "image" not in names
    assert "embedding" not in names


async def test_from_revision_0005_on_a_channel_begins_before_its_first_image_or_at_its_watermark(path):
    await fill(path)
    async with await Database.open(path) as database:
        for channel_id, seen in ((2, 70), (3, 80)):
            await ChannelStore(database).mark_seen(ChannelRef(1, channel_id), seen)
        await ChannelStore(database).set_tagging_mode(ChannelRef(1, 4), TaggingMode.OFF)
        await ImageStore(database).accept([ref(71)])
    await migrate(open_backend(path, 1.0), "0004")
    await migrate(open_backend(path, 1.0), "head")
    assert query(path, "SELECT id, first_seen FROM channels") == [(2, 9), (3, 80), (4, None)]


async def test_before_revision_0006_there_are_no_stickers_emojis_and_videos(path):
    await fill(path)
    others = [ref(90 + at, source=source) for at, source in enumerate(Source)]
    async with await Database.open(path) as database:
        images = ImageStore(database)
        for image in await images.accept(others):
            await images.finish([finished(image.id)], CARD)
            await ReplyStore(database).remember(ChannelRef(1, 2), 500 + image.id, [image.id])
    await migrate(open_backend(path, 1.0), "0005")
    sources = {source for [source] in query(path, "SELECT DISTINCT source FROM images")}
    assert sources == {"attachment", "forward", "preview"}
    for table in ("tags", "embeddings", "replies"):
        assert query(path, f"SELECT * FROM {table} WHERE image_id NOT IN (SELECT id FROM images)") == []
    with pytest.raises(sqlite3.IntegrityError, match="ck_images_source"):
        query(path, "UPDATE images SET source = 'sticker'")
    await migrate(open_backend(path, 1.0), "head")
    assert query(path, "UPDATE images SET source = 'sticker' WHERE message_id = 90") == []


async def test_migrating_a_current_database_changes_nothing(path):
    await fill(path)
    before = path.read_bytes()
    await migrate(open_backend(path, 1.0), "head")
    assert path.read_bytes() == before


async def test_the_migrations_make_exactly_the_tables_of_the_code(path, tmp_path):
    await (await Database.open(path)).close()
    by_code = tmp_path / "code.db"
    engine = create_engine(f"sqlite:///{by_code}")
    metadata.create_all(engine)
    engine.dispose()
    assert schema(path) == schema(by_code)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_every_table_is_strict(path):
    await (await Database.open(path)).close()
    rows = query(path, "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    assert {name for name, strict in rows if not strict} == {"alembic_version"}
    assert {name for name, _ in rows} == {*metadata.tables, "alembic_version"}


async def test_a_migration_that_fails_half_way_leaves_nothing_behind(path, tmp_path):
    """A broken revision after the real ones: its first table must not remain."""
    await fill(path)
    package = tmp_path / "migrations"
    (package / "versions").mkdir(parents=True)
    (package / "env.py").write_text((SCRIPTS / "env.py").read_text())
    for revision in (SCRIPTS / "versions").glob("r*.py"):
        (package / "versions" / revision.name).write_text(revision.read_text())
    (package / "versions" / "broken.py").write_text(
        f"from alembic import op\nrevision = 'broken'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    op.execute('nonsense')\n"
        "def downgrade(): ...\n"
    )
    before = schema(path)
    with pytest.raises(Exception, match="syntax error"):
        await migrate(open_backend(path, 1.0), "head", scripts=package)
    assert schema(path) == before
    assert query(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
