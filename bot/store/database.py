"""Database: transactions on one backend. Store: the base of the classes whose methods each run in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.errors import StoreBusy, StoreError
from bot.models import utc_now
from bot.monitoring.metrics import STORE_FAILURES, STORE_WRITE_SECONDS
from bot.store.backend import Backend, open_backend
from bot.store.migrate import migrate

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Store")
Work = Callable[[AsyncConnection], Awaitable[T]]
Step = Callable[Concatenate[S, AsyncConnection, P], Awaitable[T]]
"""A method that runs inside a transaction, on the connection that is its first argument."""
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]
"""The same method for callers: they leave the connection out."""


class Database:
    """One database: writes take turns, reads run beside them.

    A caller that is cancelled during a transaction first waits for its commit or rollback: SQLAlchemy closes a
    connection whose task is cancelled in the middle of a statement.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._transactions: set[asyncio.Task[Any]] = set()
        self._closed = False

    @classmethod
    async def open(cls, url: str | Path, *, busy_timeout: float = 5.0, exclusive: bool = False) -> Self:
        """Creates the database if necessary, and applies every migration.

        url: `sqlite+aiosqlite:///FILE`, or the path of a SQLite file. busy_timeout: seconds to wait for another
        process's lock. exclusive: refuse to start beside another process that opened it like this.
        Raises StartupError, with one sentence that says what to do: where it cannot be written, belongs to another
        program, or is newer than the code.
        """
        backend = open_backend(url, busy_timeout)
        try:
            backend.create(exclusive=exclusive)
            await migrate(backend)
        except BaseException as error:
            await backend.close()
            if (known := backend.startup_error(error)) is not None:
                raise known from error
            raise
        return cls(backend)

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._backend.path

    async def close(self) -> None:
        """Waits for running transactions, then closes the database. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._backend.stop_looking()
        while self._transactions:
            await asyncio.wait(self._transactions)
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self, work: Work[T]) -> T:
        """Awaits `work` in one read transaction, which sees one state of the database. Raises StoreError."""
        return await self._to_its_end(self._transaction(self._backend.readers, work))

    async def write(self, work: Work[T], *, erase: bool = False) -> T:
        """Awaits `work` in one write transaction. erase: nothing of the rows that it deletes remains on the disk.

        Raises StoreBusy when another process holds the database for too long; then nothing was written.
        """
        return await self._to_its_end(self._write(work, erase))

    async def prove_writable(self) -> None:
        """Writes to the disk, and changes nothing. Raises StoreBusy or StoreUnusable, also where the file is gone, and
        from the first damage that any transaction met until the next start.
        """
        await self.write(self._backend.prove_writable)

    def look_for_damage(self) -> None:
        """Reads every page in the background; `close` interrupts it. What it finds, `prove_writable` tells."""
        task = asyncio.create_task(asyncio.to_thread(self._backend.look_for_damage), name="look for damage")
        self._transactions.add(task)
        task.add_done_callback(self._transactions.discard)

    def log_bytes(self) -> int:
        """The size of the write-ahead log on disk. Blocks for one look at the file system."""
        return self._backend.log_bytes()

    async def _to_its_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            transaction.close()
            raise StoreError("The database is closed.")
        task = asyncio.create_task(transaction)
        self._transactions.add(task)
        task.add_done_callback(self._transactions.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                await asyncio.wait({task})
            raise

    async def _write(self, work: Work[T], erase: bool) -> T:
        async with self._backend.write_lock:
            started = perf_counter()
            result = await self._transaction(self._backend.writer, work)
            STORE_WRITE_SECONDS.observe(perf_counter() - started)
        if erase:
            await self._backend.after_erasing()
        return result

    async def _transaction(self, engine: AsyncEngine, work: Work[T]) -> T:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except Exception as error:
            if (known := self._backend.store_error(error)) is not None:
                STORE_FAILURES.labels("busy" if isinstance(known, StoreBusy) else "unusable").inc()
                raise known from error
            raise


class Store:
    """Every public method of a store may raise StoreBusy or StoreUnusable; then its transaction changed nothing.

    Times carry a time zone.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = clock


def reads(step: Step[S, P, T]) -> Method[S, P, T]:
    """Runs the method in one read transaction."""
    return _in_transaction(step, lambda database: database.read)


def writes(step: Step[S, P, T]) -> Method[S, P, T]:
    """Runs the method in one write transaction."""
    return _in_transaction(step, lambda database: database.write)


def erases(step: Step[S, P, T]) -> Method[S, P, T]:
    """Runs the method in one write transaction, and removes what it deleted from the write-ahead log, too."""
    return _in_transaction(step, lambda database: partial(database.write, erase=True))


def _in_transaction(
    step: Step[S, P, T], kind: Callable[[Database], Callable[[Work[T]], Awaitable[T]]]
) -> Method[S, P, T]:
    @wraps(step)
    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await kind(self._database)(lambda connection: step(self, connection, *args, **kwargs))

    return method
