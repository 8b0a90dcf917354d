"""What a person who runs the bot may ask of the store: whether it can be written, and how much lies in it."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from bot.store.database import Database
from bot.store.errors import StoreUnusable
from bot.store.tables import images

_PENDING = select(func.count()).select_from(images).where(images.c.next_attempt.is_not(None))

_GONE = (
    "The database file was deleted or replaced while the bot runs, and what is written now is lost: "
    "stop the bot, put the file back from a backup or start with an empty one."
)


async def prove_writable(database: Database) -> None:
    """Writes, and changes nothing. Raises StoreBusy or StoreUnusable like every write, and where the file has gone:
    a system that lets a file in use be deleted or replaced takes writes to it as before, and keeps none of them.
    """

    def prove(connection: Connection) -> None:
        if not database.in_place():
            raise StoreUnusable(_GONE)
        _rewrite_version(connection)

    await database.write(prove)


async def count_pending(database: Database) -> int:
    """Images that wait to be read. Counted in the index of what is due, which holds no others."""
    return await database.read(lambda connection: connection.execute(_PENDING).scalar_one())


def log_bytes(database: Database) -> int:
    """The size of the write-ahead log: it grows while a reader holds on to an old state, and is else cut back."""
    try:
        return database.path.with_name(database.path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _rewrite_version(connection: Connection) -> None:
    """Puts a number that nothing uses in its own place: one page goes to the disk.

    A transaction that is rolled back would not do: SQLite keeps it in memory, and a full disk would go unnoticed.
    """
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")
