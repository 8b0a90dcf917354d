"""A statement for many rows, compiled once. SQLAlchemy would look each value of each row up by its name, every time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import UpdateBase

_DIALECT = sqlite.dialect(paramstyle="qmark")


class ForMany:
    """names: what a row holds, in its order: the statement's columns and parameters, as the compiled text has them."""

    def __init__(self, statement: UpdateBase, *names: str) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=names)
        if compiled.positiontup != [*names]:
            raise ValueError(f"a row must hold {compiled.positiontup}, not {names}")
        self._text = str(compiled)

    def run(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> int:
        """Gives how many rows of the table it wrote."""
        return connection.exec_driver_sql(self._text, list(rows)).rowcount if rows else 0
