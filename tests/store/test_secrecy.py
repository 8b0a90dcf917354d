"""What a failing statement says may end up in a log, so it must not show what is in the rows."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from bot.store.migrate import _engine

SECRET = "a-label-that-nobody-else-should-read"


async def test_a_failing_statement_of_the_store_names_no_value(database):
    def work(connection):
        connection.exec_driver_sql("INSERT INTO labels (guild_id, position, label) VALUES (?, ?, ?)", (1, 1, SECRET))

    with pytest.raises(DBAPIError) as caught:
        await database.write(work)
    assert "INSERT INTO labels" in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_failing_statement_of_a_migration_names_no_value(path):
    engine = _engine(path, 1.0)
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.exec_driver_sql("SELECT * FROM nowhere WHERE label = ?", (SECRET,))
    engine.dispose()
    assert SECRET not in str(caught.value)
