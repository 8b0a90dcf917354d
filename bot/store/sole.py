"""One bot for each database: two would both answer every command and undo each other's work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bot.errors import StartupError
from bot.store.migrate import unwritable


@contextmanager
def sole_bot(database: Path) -> Iterator[None]:
    """Holds a lock on a file beside the database (0600), which the system lets go of however the process ends.

    The file itself stays: deleting it would let two processes lock two files of one name.
    Raises StartupError where another bot holds it, or the directory cannot be written.
    """
    file = database.resolve()  # two names of one file are one database
    lock = FileLock(file.with_name(file.name + ".lock"), timeout=0, mode=0o600)
    try:
        database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout as error:
        raise StartupError(
            f"Another bot is running with the database {database}: end it first, or name another file in DATABASE_PATH."
        ) from error
    except OSError as error:
        raise StartupError(unwritable(database)) from error
    try:
        yield
    finally:
        lock.release()
