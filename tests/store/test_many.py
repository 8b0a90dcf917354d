from __future__ import annotations

import pytest
from sqlalchemy import literal_column, select
from sqlalchemy.dialects.sqlite import insert

from bot.store.many import ForMany
from bot.store.tables import guilds


async def test_rows_are_written_in_the_order_of_the_names_and_no_row_is_no_statement(database):
    statement = ForMany(insert(guilds), "id", "own_labels")
    await database.write(lambda connection: statement.run(connection, [(5, 1), (6, 0)]))
    await database.write(lambda connection: statement.run(connection, []))
    rows = await database.read(lambda connection: connection.execute(select(guilds).order_by(guilds.c.id)).all())
    assert [tuple(row) for row in rows] == [(5, 1), (6, 0)]


def test_names_in_another_order_than_the_statements_are_refused():
    with pytest.raises(ValueError, match="own_labels"):
        ForMany(insert(guilds), "own_labels", "id")
    with pytest.raises(ValueError, match="own_labels"):
        ForMany(insert(guilds).values(own_labels=literal_column("0")), "id", "own_labels")
