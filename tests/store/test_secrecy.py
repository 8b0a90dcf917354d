"""An error of a statement may be logged, so it must not contain what is in the rows."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from bot.store.backend import open_backend
from bot.store.database import Database

SECRET = "a-secret-label"


async def test_an_error_of_a_statement_contains_no_value(database):
    async def work(connection):
        statement = "INSERT INTO labels (guild_id, position, label) VALUES (?, ?, ?)"
        await connection.exec_driver_sql(statement, (1, 1, SECRET))

    with pytest.raises(DBAPIError) as caught:
        await database.write(work)
    assert "INSERT INTO labels" in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_an_error_of_a_migration_contains_no_value(path):
    await (await Database.open(path)).close()
    engine = open_backend(path, 1.0).migration_engine()
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT * FROM nowhere WHERE label = ?", (SECRET,))
    await engine.dispose()
    assert SECRET not in str(caught.value)
