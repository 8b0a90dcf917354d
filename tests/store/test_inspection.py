"""What the person who runs the bot asks of the store."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import Connection

from bot.models import ImageState
from bot.store.database import Database
from bot.store.errors import StoreError, StoreUnusable
from bot.store.images import ImageStore
from bot.store.inspection import _PENDING, count_pending, log_bytes, prove_writable
from tests.store.samples import CARD, finished, ref


async def test_only_what_waits_is_counted(database: Database) -> None:
    images = ImageStore(database)
    one, other, third = await images.accept([ref(message) for message in (10, 11, 12)])
    assert await count_pending(database) == 3
    await images.finish([finished(one.id)], CARD)
    await images.park(other.id, "broken")
    assert await count_pending(database) == 1
    assert (await images.get([third.id]))[third.id].state is ImageState.PENDING


async def test_counting_reads_the_index_of_what_is_due_alone(database: Database) -> None:
    statement = str(_PENDING.compile(compile_kwargs={"literal_binds": True}))
    plan = await database.read(lambda at: at.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").fetchall())
    assert [step for *_, step in plan] == ["SCAN images USING COVERING INDEX ix_images_due"]


async def test_a_proof_is_a_page_in_the_log_and_no_log_is_none(database: Database) -> None:
    await prove_writable(database)
    before = log_bytes(database)
    await prove_writable(database)
    assert log_bytes(database) > before > 0
    await database.close()
    assert log_bytes(database) == 0


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_was_deleted_or_replaced_under_the_bot_is_noticed(database: Database, replaced: bool) -> None:
    await prove_writable(database)
    kept = database.path.with_name("kept")
    shutil.copyfile(database.path, kept)
    for file in database.path.parent.glob("magpie.db*"):
        file.unlink()
    if replaced:
        kept.rename(database.path)
    with pytest.raises(StoreUnusable, match="deleted or replaced while the bot runs.*: stop the bot"):
        await prove_writable(database)


async def test_a_new_connection_makes_no_empty_file_where_the_database_was_deleted(database: Database) -> None:
    await prove_writable(database)
    for file in database.path.parent.iterdir():
        file.unlink()

    def look(connection: Connection) -> object:
        return connection.exec_driver_sql("SELECT 1").scalar_one()

    with pytest.raises(StoreError, match="cannot be opened"):
        await database.read(look)
    assert list(database.path.parent.iterdir()) == []
