"""SQLite: engines and pragmas, the checkpoint after erasing, the lock of one process, errors in plain sentences."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiosqlite
from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from bot.errors import StartupError, StoreBusy, StoreError, StoreUnusable
from bot.logging import get_logger

log = get_logger(__name__)

OLDEST_VERSION = (3, 37)  # STRICT tables
READERS = 4
ASIDE = ".before-restore"
# NORMAL: in WAL mode a killed process loses nothing. A power cut may undo the last commits; catching up repeats them.
PRAGMAS = ("foreign_keys = ON", "secure_delete = ON", "synchronous = NORMAL")
# Every query of a large guild reads 2 MiB of an index; 8 MiB a connection keep it in memory.
_READER_PRAGMAS = (*PRAGMAS, "query_only = ON", "cache_size = -8192")
# LIFO: the connection that was used last has the warmest cache. A transaction waits for its turn without a limit.
_POOL = {"max_overflow": 0, "pool_use_lifo": True, "pool_timeout": None}
_MIGRATION_PRAGMAS = ("journal_mode = WAL", "secure_delete = ON", "foreign_keys = OFF")

# A checkpoint waits this long for readers, whose transactions are short. A blocked one is repeated after the pause.
CHECKPOINT_TIMEOUT_MS = 100
CHECKPOINT_PAUSE_S = 1.0

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = "The database file is damaged: stop the bot and restore the file from a backup."
_UNUSABLE = {
    sqlite3.SQLITE_FULL: "The disk with the database is full: free some space.",
    sqlite3.SQLITE_READONLY: "The database file is read-only: give the bot write access to it and its directory.",
    sqlite3.SQLITE_IOERR: "The database file cannot be read or written: check the disk that DATABASE_URL names.",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened: check that DATABASE_URL names a writable file.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
# What does not mend itself: pages that are not as they were written, or cannot be read.
_DAMAGE = {
    *(sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ),
    *(sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA),
}
_ROOM = 256 * 1024  # what a start needs for the log and its index
_DISK_FULL = "is on a full disk: free some space, and start the bot again."
_UNUSABLE_AT_STARTUP = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite database: set DATABASE_URL to another file.",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it away to start with an empty one.",
    sqlite3.SQLITE_BUSY: "is locked by another process: end it, and start the bot again.",
    sqlite3.SQLITE_FULL: _DISK_FULL,
    sqlite3.SQLITE_IOERR: "cannot be read or written: check its disk.",
}
_NOT_WRITABLE = (
    "cannot be written: give the bot write access to it and its directory, or set DATABASE_URL to another file."
)


class SQLiteBackend:
    """One file in WAL mode: a connection that writes, and READERS connections that read at the same time."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        # "rw" creates no file: where the database was deleted, a new connection fails instead of starting an empty one.
        self._uri = path.absolute().as_uri() + "?mode=rw"
        self._busy_timeout = busy_timeout
        self._identity: _Identity = None
        self._logs: list[_Identity] = []
        self._damage: str | None = None
        self._looking: sqlite3.Connection | None = None
        self._stopped = False
        self.writer = self._engine("BEGIN IMMEDIATE", PRAGMAS, pool_size=1, **_POOL)
        self.readers = self._engine("BEGIN", _READER_PRAGMAS, pool_size=READERS, **_POOL)
        self.write_lock = asyncio.Lock()
        self._checkpoint = CheckpointTask(self.writer, self.write_lock, busy_timeout)
        self._file_lock: FileLock | None = None

    def create(self, *, exclusive: bool = False) -> None:
        if sqlite3.sqlite_version_info < OLDEST_VERSION:
            raise StartupError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with SQLite 3.37 or newer.")
        if exclusive:
            self.lock()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._identity = _identity(self.path)
        self._refuse_second_name()

    def _refuse_second_name(self) -> None:
        # A restore that was killed half-way leaves one more name, which no program opens.
        if self.path.stat().st_nlink > (2 if _identity(self._beside(ASIDE)) == _identity(self.path) else 1):
            raise StartupError(
                f"The database {self.path} has a second name (a hard link), and a program that opens that would damage "
                "it: delete the other name, or replace it by a copy."
            )

    def migration_engine(self) -> AsyncEngine:
        """Changes tables in one transaction, with foreign keys off: a dropped table must not cascade to others."""
        return self._engine("BEGIN IMMEDIATE", _MIGRATION_PRAGMAS, poolclass=NullPool)

    async def after_erasing(self) -> None:
        await self._checkpoint.request()

    async def prove_writable(self, connection: AsyncConnection) -> None:
        """Writes one page: a transaction that is rolled back would stay in memory, and a full disk unnoticed.

        A system that lets a file in use be deleted or replaced accepts writes to it, and loses them.
        """
        if self._damage is not None:
            raise StoreUnusable(self._damage)
        file, *logs = await asyncio.to_thread(lambda: [*map(_identity, _with_logs(self.path.resolve()))])
        if file != self._identity:
            raise StoreUnusable(
                "The database file was deleted or replaced while the bot runs, and new data is lost: "
                "stop the bot, then restore the file from a backup or start with an empty one."
            )
        self._logs = self._logs or logs  # they exist from the first transaction until the last connection is closed
        if logs != self._logs:
            raise StoreUnusable(
                "The database's write-ahead log (-wal, -shm) was deleted or replaced while the bot runs: stop the bot "
                "by SIGTERM, which saves what can be saved; what was stored since the deletion may be lost."
            )
        version = (await connection.exec_driver_sql("PRAGMA user_version")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")

    def look_for_damage(self) -> None:
        try:
            with closing(sqlite3.connect(self._uri, self._busy_timeout, isolation_level=None, uri=True)) as connection:
                self._looking = connection
                if self._stopped:
                    return
                [[found]] = connection.execute("PRAGMA quick_check(1)")
            if found != "ok":
                self._note_damage(_DAMAGED)
        except sqlite3.Error as error:
            if self.store_error(error) is None and _primary_code(error) != sqlite3.SQLITE_INTERRUPT:
                log.warning("the database could not be checked for damage", error=type(error).__name__)

    def stop_looking(self) -> None:
        self._stopped = True
        if self._looking is not None:
            with suppress(sqlite3.ProgrammingError):  # it has ended
                self._looking.interrupt()

    def _note_damage(self, sentence: str) -> None:
        """Until the next start: reading the damaged page again proves nothing about others."""
        if self._damage is None:
            log.error("the database is damaged; restore it from a backup")
        self._damage = sentence

    def log_bytes(self) -> int:
        """It grows while a reader keeps an old snapshot open, and is cut back afterwards."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def back_up(self, target: Path) -> None:
        """Only live rows: VACUUM leaves out free pages. The snapshot that it reads blocks no writer."""
        self._refuse_second_name()
        with closing(sqlite3.connect(self._uri, self._busy_timeout, isolation_level=None, uri=True)) as connection:
            connection.execute("SELECT name FROM sqlite_schema")  # VACUUM blames the target where this is damaged
            connection.execute("VACUUM INTO ?", [str(target.absolute())])

    @contextmanager
    def taken(self, source: Path) -> Iterator[Path]:
        copy, aside = self._beside(".restoring"), self._beside(ASIDE)
        if not source.is_file():
            raise StartupError(f"There is no backup {source}: name a file that the backup command has made.")
        if _identity(source) == _identity(self.path):
            raise StartupError(f"{source} is the database itself: name a file that the backup command has made.")
        if aside.exists():
            raise StartupError(f"{aside} is left from an earlier restore: delete it, or move it away, and try again.")
        leftovers = _with_logs(copy)  # of a restore that was killed, first
        try:
            for name in leftovers:
                name.unlink(missing_ok=True)
            for original, name in zip(_with_logs(source)[:2], leftovers, strict=False):
                if original.exists():
                    name.touch(0o600)
                    shutil.copyfile(original, name)
            self._prepare(copy, source)
            yield copy
        finally:
            for name in leftovers:
                name.unlink(missing_ok=True)

    def _prepare(self, copy: Path, source: Path) -> None:
        """Raises StartupError where the copy is damaged."""
        try:
            with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
                [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
                # Buttons in Discord name images by their ids: none that was given since the backup is given again.
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = seq + 1000000000 WHERE name IN ('images', 'pictures')"
                )
        except sqlite3.Error as error:
            found = str(error)
        if found != "ok":
            raise StartupError(
                f"{source} is damaged, or no backup of Magpie's: restore another one ({' '.join(found.split())})."
            )

    def replace(self, copy: Path) -> Path | None:
        file, aside = self.path.resolve(), self._beside(ASIDE)
        sync(copy)
        for former, name in zip(_with_logs(file), _with_logs(aside), strict=True):
            with suppress(FileNotFoundError):
                os.link(former, name)
        sync(file.parent)
        for log_file in _with_logs(file)[1:]:  # SQLite would apply them to the new file
            log_file.unlink(missing_ok=True)
        copy.replace(file)
        sync(file.parent)
        return aside if aside.exists() else None

    def _beside(self, ending: str) -> Path:
        file = self.path.resolve()
        return file.with_name(file.name + ending)

    def store_error(self, error: Exception) -> StoreError | None:
        code = _primary_code(error)
        if code in _BUSY:
            return StoreBusy("The database is locked by another process: end it, or try again.")
        if code is None or code not in _UNUSABLE:
            return None
        if _UNUSABLE[code] == _DAMAGED or _extended_code(error) in _DAMAGE:
            self._note_damage(_UNUSABLE[code])
        return StoreUnusable(_UNUSABLE[code])

    def startup_error(self, error: BaseException) -> StartupError | None:
        if not isinstance(error, OSError | DBAPIError | sqlite3.Error):
            return None
        code = _primary_code(error)
        why = _UNUSABLE_AT_STARTUP.get(code or 0, _NOT_WRITABLE)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or (code == sqlite3.SQLITE_IOERR and self._disk_is_full()):
            why = _DISK_FULL
        return StartupError(f"The database {self.path} {why}")

    def _disk_is_full(self) -> bool:
        """SQLite calls it an I/O error where its index of the log finds no room."""
        try:
            return shutil.disk_usage(self.path.parent).free < _ROOM
        except OSError:
            return False

    async def close(self) -> None:
        """Closes readers first: one that is open blocks the last checkpoint. SQLite deletes an empty log itself."""
        await self.readers.dispose()
        await self._checkpoint.close()
        await self.writer.dispose()
        if self._file_lock is not None:
            self._file_lock.release()

    def lock(self) -> None:
        """Locks a file beside the database, mode 0600. The system releases the lock when the process ends.

        The lock file is never deleted: two processes could then lock two files of one name.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A symbolic link and its target are one database.
        lock = FileLock(self._beside(".lock"), timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout as error:
            raise StartupError(
                f"Another bot is running with the database {self.path}: "
                "end it first, or set DATABASE_URL to another file."
            ) from error
        self._file_lock = lock

    def _engine(self, begin: str, pragmas: Sequence[str], **pool: object) -> AsyncEngine:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            async_creator=partial(OneHopConnection.open, self._uri, self._busy_timeout, pragmas),
            hide_parameters=True,  # a traceback in the log must not show labels and ids
            pool_reset_on_return=None,  # every transaction ends by commit or rollback before its connection returns
            **pool,
        )

        def begin_transaction(connection: Connection) -> None:
            # sqlite3 would begin late, and deferred. One call to the driver's thread instead of a cursor's three.
            dbapi_connection: Any = connection.connection.dbapi_connection
            dbapi_connection.run_async(lambda driver: driver.execute(begin))

        event.listen(engine.sync_engine, "begin", begin_transaction)
        return engine


class OneHopConnection(aiosqlite.Connection):
    """Crosses to aiosqlite's thread once for a statement; aiosqlite does so for a cursor, for its execution, for its
    rows and for its end. The bot's threads compete for one interpreter, so that each crossing takes 0.1 ms and more.
    """

    @classmethod
    async def open(cls, uri: str, busy_timeout: float, pragmas: Sequence[str]) -> Self:
        connect = partial(sqlite3.connect, uri, busy_timeout, isolation_level=None, uri=True)
        connection = cls(connect, iter_chunk_size=64)
        connection._thread.daemon = True  # as SQLAlchemy does: it must not keep a failing process alive
        await connection
        try:
            await connection.executescript("".join(f"PRAGMA {pragma};" for pragma in pragmas))
        except BaseException:
            await connection.close()
            raise
        return connection

    def cursor(self) -> OneHopCursor:  # type: ignore[override]
        return OneHopCursor(self)


class OneHopCursor:
    """What SQLAlchemy uses of an asynchronous cursor. The rows are fetched with the statement."""

    def __init__(self, connection: OneHopConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        await self._run(sqlite3.Connection.execute, sql, parameters)

    async def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        await self._run(sqlite3.Connection.executemany, sql, rows)

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def close(self) -> None: ...

    async def _run(self, execute: Callable[..., sqlite3.Cursor], sql: str, parameters: Sequence[object]) -> None:
        def run() -> None:
            cursor = execute(self._connection._conn, sql, parameters)
            self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
            self._rows = cursor.fetchall()
            cursor.close()

        await self._connection._execute(run)  # type: ignore[no-untyped-call]


class CheckpointTask:
    """Moves the write-ahead log into the file and truncates it, so that no old page keeps erased rows.

    A reader blocks it for the length of its transaction; then the task repeats it until it succeeds.
    """

    def __init__(self, writer: AsyncEngine, write_lock: asyncio.Lock, busy_timeout: float) -> None:
        self._writer = writer
        self._write_lock = write_lock
        self._busy_timeout_ms = int(busy_timeout * 1000)
        self._due = False
        self._retrying: asyncio.Task[None] | None = None

    async def request(self) -> None:
        """Returns when the log is truncated, or a reader blocks it.

        The lock is fair: writes that already wait for it go first, and one checkpoint serves them all.
        """
        self._due = True
        async with self._write_lock:
            if self._due and self._retrying is None:
                await self._truncate()
                if self._due:
                    self._retrying = asyncio.create_task(self._retry())

    async def close(self) -> None:
        async with self._write_lock:  # so the task sleeps, and its cancellation interrupts no statement
            if self._retrying is not None:
                self._retrying.cancel()
            if self._due:
                await self._truncate()

    async def _retry(self) -> None:
        try:
            while self._due:
                await asyncio.sleep(CHECKPOINT_PAUSE_S)
                async with self._write_lock:
                    await self._truncate()
        finally:
            self._retrying = None

    async def _truncate(self) -> None:
        """On the writer's connection: by now another file may stand at the path."""
        try:
            async with self._writer.connect() as connection:
                # On the driver: SQLAlchemy would begin a transaction, inside which nothing can be truncated.
                driver: Any = (await connection.get_raw_connection()).driver_connection
                await driver.execute_fetchall(f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT_MS}")
                try:
                    [[blocked, *_]] = await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    await driver.execute_fetchall(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")
            self._due = bool(blocked)
        except (DBAPIError, sqlite3.Error) as error:
            log.warning("the write-ahead log could not be truncated", error=type(error).__name__)
            self._due = True


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


def _with_logs(file: Path) -> list[Path]:
    return [file.with_name(file.name + ending) for ending in ("", "-wal", "-shm")]


_Identity = tuple[int, int] | None


def _identity(path: Path) -> _Identity:
    """Device and inode; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _primary_code(error: BaseException) -> int | None:
    """SQLite's primary result code, whether SQLAlchemy wraps the error or not; None for other errors."""
    code = _extended_code(error)
    return code & 0xFF if code is not None else None


def _extended_code(error: BaseException) -> int | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None
