"""What monitoring asks of the database."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.errors import StoreError, StoreUnusable
from bot.models import ImageState
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, finished, ref


async def test_only_pending_images_are_counted(images: ImageStore) -> None:
    one, other, third = await images.accept([ref(message) for message in (10, 11, 12)])
    assert await images.count_pending() == 3
    await images.finish([finished(one.id)], CARD)
    await images.park(other.id, "broken")
    assert await images.count_pending() == 1
    assert (await images.get([third.id]))[third.id].state is ImageState.PENDING


async def test_proving_writability_writes_a_page_to_the_log(database: Database) -> None:
    await database.prove_writable()
    before = database.log_bytes()
    await database.prove_writable()
    assert database.log_bytes() > before > 0
    await database.close()
    assert database.log_bytes() == 0


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_database_file_that_is_deleted_or_replaced_is_noticed(database: Database, replaced: bool) -> None:
    await database.prove_writable()
    kept = database.path.with_name("kept")
    shutil.copyfile(database.path, kept)
    for file in database.path.parent.glob("magpie.db*"):
        file.unlink()
    if replaced:
        kept.rename(database.path)
    with pytest.raises(StoreUnusable, match="deleted or replaced while the bot runs.*: stop the bot"):
        await database.prove_writable()


async def test_a_new_connection_creates_no_empty_file_where_the_database_was_deleted(database: Database) -> None:
    await database.prove_writable()
    for file in database.path.parent.iterdir():
        file.unlink()

    async def work(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql("SELECT 1")).scalar_one()

    with pytest.raises(StoreError, match="cannot be opened"):
        await database.read(work)
    assert list(database.path.parent.iterdir()) == []
