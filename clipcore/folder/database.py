"""The index file: its tables, its version, and one clear sentence for whatever is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import platformdirs

from clipcore.errors import ClipError

VERSION = 1
BUSY_SECONDS = 30.0
# Tells our files from other SQLite files (PRAGMA application_id); "Mgpi" in ASCII.
APPLICATION = 0x4D677069

# contents: what a file's bytes are, once for all its copies. vectors: float16, little-endian, unit length, one for each
# model that has looked. files: where the bytes lie, as bytes, because a name need not be UTF-8.
_SCHEMA = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL CHECK (dimension > 0)
) STRICT;
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    state TEXT NOT NULL CHECK (state IN ('picture', 'broken', 'sheet')),
    reason TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL
) STRICT;
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES models (id),
    content INTEGER NOT NULL REFERENCES contents (id) ON DELETE CASCADE,
    vector BLOB NOT NULL,
    UNIQUE (content, model)
) STRICT;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents (id)
) STRICT;
CREATE INDEX files_content ON files (content);
"""


class IndexUnusable(ClipError):
    """The index file is broken, foreign, newer than this program, in use, or cannot be written."""


def default_location() -> Path:
    return platformdirs.user_cache_path("clipcore") / "folders.sqlite3"


def connect(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """Transactions are explicit (`transaction`). Makes the file where there is none. Raises IndexUnusable."""
    with plain_errors(path):
        with suppress(OSError):  # what is wrong with the folder, SQLite says next
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not any_thread)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """What a person can act on becomes one sentence; a mistake of ours in the SQL passes through."""
    try:
        yield
    except sqlite3.Error as error:
        sentence = _SENTENCES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if sentence is None:
            raise
        raise IndexUnusable(sentence.format(path=path)) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Writers wait for each other here, never in the middle."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    if _version(connection, path) == 0:
        _create(connection, path)
    # With a write-ahead log, NORMAL may lose the last commits when the power fails, and never the file.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _create(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection):
        if _version(connection, path):  # another process was quicker
            return
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """0: an empty file. Raises IndexUnusable where it is not ours, or newer."""
    # One statement sees one moment; between two, another process could be making the tables.
    with closing(connection.execute(_IDENTITY)) as cursor:
        used, version, application = map(int, cursor.fetchone())
    if used and application != APPLICATION:
        raise IndexUnusable(f"{path} is another program's database; name another file with CLIPCORE_INDEX.")
    if version > VERSION:
        raise IndexUnusable(
            f"The index {path} was written by a newer clipcore; update this one, or name another file with "
            "CLIPCORE_INDEX."
        )
    return version


_IDENTITY = """
SELECT EXISTS (SELECT 1 FROM sqlite_schema),
    (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id)
"""
_BROKEN = "The index {path} is broken; delete it and run `clipcore index` again."
_UNREACHABLE = "The index {path} cannot be opened and written here; name another file with CLIPCORE_INDEX."
_IN_USE = "The index {path} is in use by another program; try again when that has ended."
_SENTENCES = {
    sqlite3.SQLITE_NOTADB: _BROKEN,
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_FULL: "The disk is full, so the index {path} cannot grow; make room and run the same command again.",
    sqlite3.SQLITE_CANTOPEN: _UNREACHABLE,
    sqlite3.SQLITE_READONLY: _UNREACHABLE,
    sqlite3.SQLITE_PERM: _UNREACHABLE,
    sqlite3.SQLITE_IOERR: _UNREACHABLE,
}
