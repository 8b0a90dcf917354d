"""The seam between the store and a database system. Outside a backend's own module the store is portable SQLAlchemy.

A second backend adds its module, an entry in `_INSERTS`, a case in `open_backend`, and its forms of `any_of` and
`joined`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, Table, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.errors import StartupError, StoreError
from bot.store.sqlite import SQLiteBackend

_INSERTS = {"sqlite": sqlite.insert}


class Backend(Protocol):
    """One database. Engines begin a transaction with the first statement and hide parameters in errors.

    write_lock: held for each write transaction. path: a local file or directory that stands for the database.
    """

    path: Path
    readers: AsyncEngine
    writer: AsyncEngine
    write_lock: asyncio.Lock

    def lock(self) -> None:
        """As `create(exclusive=True)`, and creates nothing."""

    def create(self, *, exclusive: bool = False) -> None:
        """Creates an empty database where there is none, readable by its owner only.

        exclusive: locks the database for this process until `close`. Raises StartupError where another process has the
        lock, or OSError.
        """

    def migration_engine(self) -> AsyncEngine:
        """An engine whose transactions may change tables that foreign keys refer to."""

    async def after_erasing(self) -> None:
        """Called after each transaction that deleted rows for good: removes what is left of them outside the tables."""

    async def prove_writable(self, connection: AsyncConnection) -> None:
        """Writes to the disk, and changes nothing. Raises StoreUnusable where such a write would not last, and where
        the database is damaged, as far as that is known.
        """

    def look_for_damage(self) -> None:
        """Blocks for seconds, until `stop_looking`. Writers go on meanwhile."""

    def stop_looking(self) -> None: ...

    def back_up(self, target: Path) -> None:
        """Copies one state of the database to this empty file, and nothing that was erased, while a bot may be running.

        Blocks for seconds where the database is large. Raises OSError or sqlite3.Error.
        """

    def taken(self, source: Path) -> AbstractContextManager[Path]:
        """A copy of this backup beside the database, which has been checked. It is gone after the block.

        Raises StartupError where it is damaged, or OSError.
        """

    def replace(self, copy: Path) -> Path | None:
        """Puts this file in the database's place, in one step that a power cut does not interrupt.

        Returns where the former database lies now; None where there was none.
        """

    def log_bytes(self) -> int:
        """The size of the write-ahead log on disk."""

    def store_error(self, error: Exception) -> StoreError | None:
        """The error to raise instead of this one; None if an operator cannot act on it."""

    def startup_error(self, error: BaseException) -> StartupError | None:
        """As `store_error`, for errors while the database is created or migrated."""

    async def close(self) -> None: ...


def open_backend(url: str | Path, busy_timeout: float) -> Backend:
    """See `Database.open`. Raises StartupError where the URL names no file of SQLite."""
    if "://" not in str(url):
        return SQLiteBackend(Path(url), busy_timeout)
    try:
        parsed = make_url(str(url))
    except ArgumentError as error:
        raise StartupError("DATABASE_URL is not a URL: it must be like sqlite+aiosqlite:///magpie.sqlite3.") from error
    if parsed.get_backend_name() != "sqlite":
        raise StartupError(
            f"DATABASE_URL names a {parsed.get_backend_name()} database, and Magpie stores its data in SQLite only: "
            "set it to sqlite+aiosqlite:///FILE."
        )
    if parsed.database in (None, "", ":memory:") or parsed.host or parsed.query:
        raise StartupError(
            "DATABASE_URL must name a file and nothing else, such as sqlite+aiosqlite:///magpie.sqlite3."
        )
    return SQLiteBackend(Path(parsed.database), busy_timeout)


def insert(connection: AsyncConnection, table: Table) -> sqlite.Insert:
    """INSERT with `on_conflict_do_update` and `on_conflict_do_nothing`, which each dialect spells in its own class."""
    return _INSERTS[connection.dialect.name](table)


def any_of(ids: Iterable[int]) -> Select[Any]:
    """For `column.in_(…)`: one parameter, however many ids. A list of them may have 32,766, and is a new statement for
    each length.
    """
    return select(func.json_each(json.dumps([*ids])).table_valued("value").c.value)


def joined(ids: ColumnElement[int]) -> ColumnElement[str | None]:
    """All of these ids as one text, separated by commas; none of them: NULL. A million rows would take the event loop
    seconds.
    """
    return func.group_concat(ids)
