"""Whether the database takes a write: asked by writing, and never more than once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from bot.store.database import Database
from bot.store.errors import StoreError
from bot.store.inspection import prove_writable

PATIENCE_S = 2.0
KEPT_S = 2.0


class StoreProbe:
    """patience: seconds that a write may take. kept: how long an outcome is good for, so that asking costs little."""

    def __init__(
        self,
        database: Database,
        patience: float = PATIENCE_S,
        kept: float = KEPT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._patience = patience
        self._kept = kept
        self._clock = clock
        self._began = 0.0
        self._writing: asyncio.Task[str | None] | None = None

    async def problem(self) -> str | None:
        """What keeps the database from being written, in one sentence."""
        now = self._clock()
        if self._writing is None or (self._writing.done() and now - self._began > self._kept):
            self._began = now
            self._writing = asyncio.create_task(self._write(), name="probe the database")
        writing = self._writing
        await asyncio.wait({writing}, timeout=max(0.0, self._began + self._patience - now))
        if not writing.done():
            return f"The database has not taken a write for {self._clock() - self._began:.0f} seconds."
        return writing.result()

    async def close(self) -> None:
        """Waits for a write under way, which the database's own time-out ends."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> str | None:
        try:
            await prove_writable(self._database)
        except StoreError as error:
            return str(error)
        return None
