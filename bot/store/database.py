"""Database: the SQLite file, its one writer and its few readers. All SQL goes through `read` and `write`."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from bot.monitoring.metrics import STORE_WRITE_SECONDS
from bot.store.errors import StoreError, as_store_error
from bot.store.migrate import prepare

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]

READERS = 4
# How long a truncation of the write-ahead log waits for readers. They are short; what fails is tried again.
TRUNCATE_WAIT_MS = 100
TRUNCATE_PAUSE = 1.0  # seconds
# NORMAL: in WAL mode a killed process loses nothing; a power cut may undo the last commits, which catching up repeats.
PRAGMAS = ("foreign_keys = ON", "secure_delete = ON", "synchronous = NORMAL")
# Which channels of a large server have images is asked at every question: 2 MiB of the index, and as much as
# SQLite caches by itself.
READER_PRAGMAS = (*PRAGMAS, "query_only = ON", "cache_size = -8192")


class Database:
    """One SQLite file in WAL mode. Writes queue for one connection; reads run beside them on a few others.

    Each transaction runs from begin to commit on a thread of its connection: the event loop hands it over and hears of
    its end, and neither builds statements nor touches rows in between.

    A caller that is cancelled in a transaction waits for its commit or rollback before the cancellation is passed on:
    no connection is left half-way.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self._opened = _identity(path)
        self._busy_timeout = busy_timeout
        self._writer = _engine(path, busy_timeout, connections=1, begin="BEGIN IMMEDIATE", read_only=False)
        self._readers = _engine(path, busy_timeout, connections=READERS, begin="BEGIN", read_only=True)
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._writing = asyncio.Lock()
        self._at_work: set[asyncio.Task[Any]] = set()
        self._queued = 0
        self._truncate_due = False
        self._truncated = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path | str, *, busy_timeout: float = 5.0) -> Self:
        """Creates the file where missing and applies migrations.

        busy_timeout: seconds to wait for another process's lock.
        Raises StartupError, with one sentence that says what to do.
        """
        path = Path(path)
        await asyncio.to_thread(prepare, path, busy_timeout)
        return cls(path, busy_timeout)

    def in_place(self) -> bool:
        """Whether the path still leads to the file that was opened: it may have been deleted or replaced. Blocking."""
        return self._opened is not None and _identity(self.path) == self._opened

    async def close(self) -> None:
        """Waits for transactions under way, empties the write-ahead log and lets go of the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        while self._at_work:
            await asyncio.wait(self._at_work)
        if self._retry is not None:
            self._retry.cancel()
        # Before the truncation, which readers could be in the way of.
        await _on(self._read_threads, self._readers.dispose)
        await self._truncate()
        await _on(self._write_thread, self._writer.dispose)
        self._read_threads.shutdown()
        self._write_thread.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self, work: Work[T]) -> T:
        """Runs `work` on a thread, in one read transaction: what it sees does not change under it."""
        return await self._owned(lambda: _on(self._read_threads, partial(_transaction, self._readers, work)))

    async def write(self, work: Work[T], *, erases: bool = False) -> T:
        """Runs `work` on a thread, in one write transaction.

        erases: rows go for good, so the write-ahead log is emptied of them, too.
        Raises StoreBusy when another process holds the database for too long.
        """
        return await self._owned(lambda: self._write(work, erases))

    async def _owned(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._closed:
            raise StoreError("The database is closed.")
        task = asyncio.create_task(start())
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                await asyncio.wait({task})
            raise

    async def _write(self, work: Work[T], erases: bool) -> T:
        self._queued += 1
        async with self._writing:
            self._queued -= 1
            try:
                began = perf_counter()
                result = await _on(self._write_thread, partial(_transaction, self._writer, work))
                STORE_WRITE_SECONDS.observe(perf_counter() - began)
                self._truncate_due |= erases
                return result
            finally:
                await self._truncate_if_due()

    async def _truncate_if_due(self) -> None:
        """Of a row of writes the last one truncates; what a reader holds on to is left to the timer."""
        overdue = monotonic() - self._truncated > TRUNCATE_PAUSE
        if self._truncate_due and self._retry is None and (overdue or not self._queued):
            await self._truncate()

    async def _truncate(self) -> None:
        """Moves the write-ahead log into the file and cuts it to nothing: erased rows must not linger in old pages."""
        try:
            self._truncate_due = await _on(self._write_thread, self._checkpoint_is_busy)
        except (DBAPIError, sqlite3.Error) as error:
            self._truncate_due = True
            log.warning("the write-ahead log could not be emptied: %s", type(error).__name__)
        self._truncated = monotonic()
        if self._truncate_due and not self._closed:
            self._retry = asyncio.get_running_loop().call_later(TRUNCATE_PAUSE, self._start_retry)

    def _checkpoint_is_busy(self) -> bool:
        with self._writer.connect() as connection:
            raw = connection.connection.cursor()  # SQLAlchemy would begin a transaction, in which nothing is truncated
            raw.execute(f"PRAGMA busy_timeout = {TRUNCATE_WAIT_MS}")
            try:
                [[busy, *_]] = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout * 1000)}")
            return bool(busy)

    def _start_retry(self) -> None:
        self._retry = None
        task = asyncio.create_task(self._truncate_again())
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _truncate_again(self) -> None:
        async with self._writing:
            await self._truncate_if_due()


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells this file from every other; None where there is none to be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def _on(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _transaction(engine: Engine, work: Work[T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except (DBAPIError, sqlite3.Error) as error:
        if (known := as_store_error(error)) is not None:
            raise known from error
        raise


def _engine(path: Path, busy_timeout: float, *, connections: int, begin: str, read_only: bool) -> Engine:
    """An engine whose connections are all set up alike. It begins transactions itself; sqlite3 would do so late."""
    # "rw" creates nothing: where the file has gone, a new connection fails instead of making an empty one.
    engine = create_engine(
        URL.create("sqlite", database=path.absolute().as_uri(), query={"mode": "rw", "uri": "true"}),
        pool_size=connections,
        max_overflow=0,
        pool_use_lifo=True,  # the connection whose cache is warm
        connect_args={"timeout": busy_timeout, "isolation_level": None},
        hide_parameters=True,  # else a traceback in the log would show labels and ids
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    pragmas = READER_PRAGMAS if read_only else PRAGMAS

    def set_pragmas(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", set_pragmas)
    return engine
