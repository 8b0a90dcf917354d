"""What the store raises on purpose. Everything else that SQL can raise is a bug and passes through."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from bot.errors import MagpieError

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNUSABLE = {
    sqlite3.SQLITE_FULL: "The disk that holds the database is full: make room on it.",
    sqlite3.SQLITE_READONLY: "The database file is read-only: give the bot write access to it and its directory.",
    sqlite3.SQLITE_IOERR: "The database file cannot be read or written: check the disk that DATABASE_PATH is on.",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened: check that DATABASE_PATH is there and writable.",
    sqlite3.SQLITE_CORRUPT: "The database file is damaged: stop the bot and restore DATABASE_PATH from a backup.",
}


class StoreError(MagpieError):
    """The database could not do what was asked; nothing of it was done."""


class StoreBusy(StoreError):
    """Another process held the database for longer than the busy time-out. Trying again may help."""


class StoreUnusable(StoreError):
    """The file or its disk fails. Trying again will not help until a person has looked."""


def primary_code(error: BaseException) -> int | None:
    """SQLite's primary result code of this error, wrapped by SQLAlchemy or not; None for other errors."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def as_store_error(error: BaseException) -> StoreError | None:
    """The error to raise in place of this one, or None if it is not one that a person can act on."""
    code = primary_code(error)
    if code in _BUSY:
        return StoreBusy("The database is locked by another process: end it, or try again.")
    return StoreUnusable(_UNUSABLE[code]) if code in _UNUSABLE else None
