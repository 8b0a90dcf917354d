"""Brings a database file to this version of the code, or says in one sentence why that cannot be. Blocking."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import migrations
from bot.errors import StartupError
from bot.store.errors import primary_code
from bot.store.tombstones import expired

SCRIPTS = Path(migrations.__file__).parent
OLDEST_SQLITE = (3, 37)  # STRICT tables
_WHY = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite database: name another file in DATABASE_PATH.",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it away to start empty.",
    sqlite3.SQLITE_BUSY: "is locked by another process: end it, and start the bot again.",
    sqlite3.SQLITE_FULL: "lies on a disk that is full: make room on it.",
}


def prepare(path: Path, busy_timeout: float) -> None:
    """Creates the file (0600) and its directory where missing and applies every migration, in one transaction.

    Raises StartupError when the path cannot be written, is no database or another program's, or is newer than the code.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StartupError(
            f"SQLite {sqlite3.sqlite_version} is too old: Magpie needs a Python built with 3.37 or newer."
        )
    try:
        _create_private(path)
        migrate(path, "head", busy_timeout)
        _expire_tombstones(path, busy_timeout)
    except OSError as error:
        raise StartupError(unwritable(path)) from error
    except (DBAPIError, sqlite3.Error) as error:
        why = _WHY.get(primary_code(error) or 0)
        raise StartupError(f"The database {path} {why}" if why else unwritable(path)) from error


def migrate(path: Path, revision: str, busy_timeout: float = 5.0, scripts: Path = SCRIPTS) -> None:
    """Upgrades to this revision, or downgrades where the database is past it."""
    engine = _engine(path, busy_timeout)
    try:
        with engine.begin() as connection:
            _move(connection, revision, path, scripts)
    finally:
        engine.dispose()


def _expire_tombstones(path: Path, busy_timeout: float) -> None:
    """A quiet server writes no tombstones, and old ones go when new ones come: so that none outstays, here, too."""
    engine = _engine(path, busy_timeout)
    try:
        with engine.begin() as connection:
            connection.execute(expired(datetime.now(UTC)))
    finally:
        engine.dispose()


def _create_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine(path: Path, busy_timeout: float) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"timeout": busy_timeout, "isolation_level": None},
        hide_parameters=True,  # else a traceback in the log would show what is in the rows
    )
    for pragma in ("journal_mode = WAL", "secure_delete = ON", "foreign_keys = OFF"):
        event.listen(engine, "connect", partial(_set, pragma))
    # An explicit BEGIN, so that the tables change all together or not at all, and one process at a time.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _set(pragma: str, connection: DBAPIConnection, _: object) -> None:
    connection.cursor().execute(f"PRAGMA {pragma}")


def _move(connection: Connection, revision: str, path: Path, scripts: Path) -> None:
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    current = MigrationContext.configure(connection).get_current_revision()
    _refuse_strangers(connection, current, known, path)
    target = known[0] if revision == "head" else revision
    if target == current:
        return
    below = current is not None and (target == "base" or known.index(target) > known.index(current))
    (command.downgrade if below else command.upgrade)(config, target)


def _refuse_strangers(connection: Connection, current: str | None, known: list[str], path: Path) -> None:
    if current is not None and current not in known:
        raise StartupError(
            f"The database {path} was made by a newer version of Magpie: update Magpie, or name another file."
        )
    if current is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
        raise StartupError(f"The database {path} belongs to another program: name another file in DATABASE_PATH.")


def unwritable(path: Path) -> str:
    return f"The database {path} cannot be written: let the bot write to it and its directory, or set DATABASE_PATH."
