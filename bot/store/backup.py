"""Backups: a consistent copy of the database of a bot that may be running."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bot.errors import StartupError
from bot.models import utc_now
from bot.store.backend import open_backend
from bot.store.schema import TOMBSTONE_LIFETIME

BUSY_TIMEOUT_S = 5.0


def back_up(url: str | Path, file: Path) -> str:
    """Copies the database to this new file, checks the copy, and returns a sentence about it. Raises StartupError."""
    backend = open_backend(url, BUSY_TIMEOUT_S)
    if not backend.path.is_file():
        raise StartupError(f"There is no database {backend.path}: set DATABASE_URL to the bot's.")
    if file.exists():
        raise StartupError(f"{file} exists: name a new file, since a backup overwrites nothing.")
    part = file.with_name(file.name + ".part")
    moment = utc_now()
    try:
        try:
            part.unlink(missing_ok=True)
            part.touch(0o600)
            backend.back_up(part)
            images = _count_images(part)
            sync(part)
            part.replace(file)
            sync(file.parent)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise StartupError(
            f"No backup was made ({error}): check the database {backend.path}, and the permissions and free space of "
            f"{file.parent.absolute()}."
        ) from error
    return (
        f"{file} ({file.stat().st_size / 2**20:,.1f} MiB) holds {images:,} images as of {moment:%Y-%m-%d %H:%M} UTC. "
        f"Delete it within {TOMBSTONE_LIFETIME.days} days: images that are deleted from now on remain in it."
    )


def _count_images(file: Path) -> int:
    """Raises sqlite3.DatabaseError where the file is damaged, or no database of Magpie's."""
    with closing(sqlite3.connect(file)) as connection:
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        table = "images" if "images" in tables else "pictures"  # before revision 0004
        [count] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - one of two names
    return int(count)


def sync(path: Path) -> None:
    """From here on a power cut leaves this file as it is, or the names in this directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems cannot sync a directory
            raise
    finally:
        os.close(descriptor)
