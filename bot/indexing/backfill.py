"""Backfills: reads what was posted before a channel was first seen, politely and in small steps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable, SearchNotReady, SearchUnavailable
from bot.indexing.comparison import MessageComparer
from bot.indexing.retry import RetryPolicy, until_stored
from bot.logging import get_logger
from bot.models import UNFINISHED, BackfillMode, BackfillState, ChannelRef, Hits, utc_now
from bot.store.backfills import Backfill, BackfillStore, Progress, SearchFilter, Task, TaskKind
from bot.store.images import ImageStore
from bot.store.rules import RuleStore

log = get_logger(__name__)

MAX_BACKLOG = 500
"""Backfilled images of a server that wait to be indexed, beyond which nothing more is read. So the URLs of a page are
still known when its images are downloaded, and no message has to be looked up again."""

_PAUSED_S = 30.0
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """cursor: where the next page begins; None where this is the last."""

    threads: Sequence[ChannelRef]
    cursor: int | None


class Archive(Protocol):
    """What a backfill asks Discord beside the history, each in one request."""

    async def threads(self, channel: ChannelRef, kind: TaskKind, cursor: int | None) -> ThreadPage:
        """Archived threads of a channel. Raises what `History` raises."""

    async def search(
        self, guild_id: int, channels: Sequence[ChannelRef], wanted: SearchFilter, *, after: int, before: int
    ) -> Hits:
        """The newest messages between these two that Discord's search has; those of age-restricted channels, too.

        Raises SearchNotReady, SearchUnavailable or ImageUnreachable.
        """


@dataclass(slots=True)
class _Run:
    """A backfill that is running. rests_until: when the next step may begin. indexing_since: when Discord first said
    that it is indexing the server's messages. waits_for_discord: whether the last step failed.
    """

    guild_id: int
    rests_until: float = 0.0
    failures: int = 0
    indexing_since: float | None = None
    waits_for_discord: bool = False


class Backfills:
    """Runs the backfills of all servers: one request at a time for all of them together, with a pause after each, and
    the servers take turns. Each server has one at most. The store has the progress, so a restart goes on.

    What is found is accepted as backfilled: the indexer takes it up where new images leave room. A step never begins
    while MAX_BACKLOG images of its server wait.

    Call `available` once a session has a server: nothing is asked about others.
    """

    def __init__(
        self,
        store: BackfillStore,
        rules: RuleStore,
        images: ImageStore,
        comparer: MessageComparer,
        archive: Archive,
        *,
        pause_s: float = 1.0,
        longest_indexing_s: float = 600.0,
        backoff: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """pause_s: seconds after each request, lengthened by up to a half. longest_indexing_s: how long Discord may
        take to index a server's messages for its search, before the history is read instead.
        """
        self._store = store
        self._rules = rules
        self._images = images
        self._comparer = comparer
        self._archive = archive
        self.pause_s = pause_s
        self._longest_indexing_s = longest_indexing_s
        self._backoff = backoff or RetryPolicy(first_pause_s=2.0, longest_pause_s=600.0)
        self._sleep = sleep
        self._runs: dict[int, _Run] = {}  # in the order of their turns
        self._available: set[int] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="backfill")

    async def close(self) -> None:
        """Stops. The next start goes on. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def available(self, guild_id: int) -> None:
        self._available.add(guild_id)
        self._wake.set()

    def unavailable(self, guild_ids: Collection[int]) -> None:
        self._available.difference_update(guild_ids)

    async def begin(
        self,
        guild_id: int,
        channel_id: int | None,
        mode: BackfillMode,
        until: int,
        tasks: Sequence[tuple[ChannelRef, TaskKind]],
    ) -> bool:
        """False where the server has an unfinished one. channel_id: what was asked for, None for the whole server.
        until: the newest message to read; later ones arrive by themselves.
        """
        if not await self._store.begin(guild_id, channel_id, mode, until, tasks):
            return False
        log.info("backfill begins", guild_id=guild_id, mode=mode, tasks=len(tasks))
        self._take_up(guild_id)
        return True

    async def pause(self, guild_id: int) -> bool:
        """False where none is running."""
        paused = await self._store.set_state(guild_id, BackfillState.PAUSED, of=[BackfillState.RUNNING])
        self._runs.pop(guild_id, None)
        return paused

    async def resume(self, guild_id: int) -> bool:
        """False where none is paused."""
        resumed = await self._store.set_state(guild_id, BackfillState.RUNNING, of=[BackfillState.PAUSED])
        if resumed:
            self._take_up(guild_id)
        return resumed

    async def cancel(self, guild_id: int) -> bool:
        """What was found by now is indexed. False where there is none."""
        cancelled = await self._store.set_state(guild_id, BackfillState.CANCELLED, of=UNFINISHED)
        self._runs.pop(guild_id, None)
        return cancelled

    async def progress(self, guild_id: int) -> Progress | None:
        """Of the server's last backfill, running or not."""
        return await self._store.progress(guild_id)

    async def unfinished(self) -> list[int]:
        """The servers that have one, running or paused."""
        return await self._store.unfinished()

    def waits_for_discord(self, guild_id: int) -> bool:
        """Whether Discord does not answer at present, or still indexes the server's messages for its search."""
        return guild_id in self._runs and self._runs[guild_id].waits_for_discord

    def wake(self, guild_id: int) -> None:
        """Its server takes in new images again."""
        if guild_id in self._runs:
            self._take_up(guild_id)

    def _take_up(self, guild_id: int) -> None:
        self._runs[guild_id] = _Run(guild_id)
        self._wake.set()

    async def _run(self) -> None:
        for guild_id in await until_stored(self._store.unfinished):
            backfill = await until_stored(partial(self._store.get, guild_id))
            if backfill is not None and backfill.state is BackfillState.RUNNING:
                self._take_up(guild_id)
        while True:
            self._wake.clear()
            now = asyncio.get_running_loop().time()
            waiting = [run for guild_id, run in self._runs.items() if guild_id in self._available]
            due = next((run for run in waiting if run.rests_until <= now), None)
            if due is not None:
                self._runs[due.guild_id] = self._runs.pop(due.guild_id)  # its next turn comes after all others'
                await self._attempt(due)
                await self._sleep(self.pause_s * random.uniform(1.0, 1.5))  # noqa: S311 - spreads load
            else:
                seconds = min((run.rests_until - now for run in waiting), default=_LONGEST_WAIT_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(seconds, _LONGEST_WAIT_S)):
                        await self._wake.wait()

    async def _attempt(self, run: _Run) -> None:
        try:
            await self._step(run)
        except SearchNotReady as error:
            await self._wait_for_search(run, error)
        except Exception as error:  # Discord or the store failed; the progress is where it was, and others go on
            expected = isinstance(error, ImageUnreachable)
            log.warning("a step of a backfill failed", guild_id=run.guild_id, exc_info=None if expected else error)
            run.waits_for_discord = expected
            self._rest(run, self._backoff.pause(run.failures, random.random()))  # noqa: S311 - spreads load
            run.failures += 1
        else:
            run.failures, run.waits_for_discord = 0, False

    async def _step(self, run: _Run) -> None:
        backfill = await self._store.get(run.guild_id)
        if backfill is None or backfill.state is not BackfillState.RUNNING:
            if self._runs.get(run.guild_id) is run:
                del self._runs[run.guild_id]
            return
        if await self._store.backlog(run.guild_id) >= MAX_BACKLOG:
            self._rest(run, self.pause_s)
            return
        tasks = await self._store.next_tasks(run.guild_id)
        if not tasks:
            await self._finish(run)
            return
        rules = await self._rules.of_channels([task.channel for task in tasks])
        if any(rule.paused for rule in rules.values()):
            self._rest(run, _PAUSED_S)
        elif left_out := [task for task in tasks if not rules[task.channel].indexed]:
            await self._store.advanced(left_out, None)
        elif tasks[0].kind is not TaskKind.MESSAGES:
            await self._list(tasks[0])
        else:
            floor = min(rules[task.channel].floor(utc_now()) for task in tasks)
            if backfill.searching:
                await self._search(run, backfill, tasks, max(0, floor))
            else:
                await self._read(backfill, tasks[0], max(0, floor))

    async def _finish(self, run: _Run) -> None:
        """Once the images that it found have been tried."""
        if await self._store.backlog(run.guild_id):
            self._rest(run, self.pause_s)
        elif await self._store.set_state(run.guild_id, BackfillState.DONE, of=[BackfillState.RUNNING]):
            log.info("backfill is done", guild_id=run.guild_id)

    async def _list(self, task: Task) -> None:
        try:
            page = await self._archive.threads(task.channel, task.kind, task.cursor)
        except ImageGone:
            page = ThreadPage((), None)
        except ImageForbidden:
            await self._store.refuse([task])
            return
        await self._store.listed(task, page.threads, page.cursor)

    async def _read(self, backfill: Backfill, task: Task, floor: int) -> None:
        """One page of a channel's history."""
        channel = task.channel

        async def reached(after: int, until: int) -> None:
            await self._store.cover([channel.channel_id], max(after, floor), until)

        before = backfill.until + 1 if task.cursor is None else task.cursor
        try:
            page = await self._comparer.read(channel, before=before, reached=reached)
        except ImageGone:
            await self._store.advanced([task], None)
            return
        except ImageForbidden:
            await self._store.refuse([task])
            return
        found = await self._images.count_in_range(channel.channel_id, page.after, page.until)
        cursor = page.after + 1 if page.after > floor else None
        await self._store.advanced([task], cursor, messages=len(page.messages), found=found)

    async def _search(self, run: _Run, backfill: Backfill, tasks: Sequence[Task], floor: int) -> None:
        """One page of what Discord's search finds in these channels, all of which have come equally far."""
        channels, wanted = [task.channel for task in tasks], tasks[0].filter
        before = backfill.until + 1 if tasks[0].cursor is None else tasks[0].cursor

        async def reached(after: int, until: int) -> None:
            await self._store.cover([one.channel_id for one in channels], max(after, floor), until)

        async def request() -> Hits:
            return await self._archive.search(run.guild_id, channels, wanted, after=floor, before=before)

        try:
            hits = await self._comparer.search(request, reached)
        except SearchUnavailable as refused:
            log.info("a backfill reads the history: it cannot search", guild_id=run.guild_id, reason=str(refused))
            await self._store.stop_searching(run.guild_id)
            return
        run.indexing_since = None
        ids = [message.message_id for message in hits.messages]
        found = await self._images.count_of_messages(ids, wanted.sources)
        expected = hits.total if tasks[0].cursor is None else 0
        cursor = hits.after + 1 if hits.messages else None
        if cursor is None and wanted.next is not None:
            await self._store.search_for(tasks, wanted.next)
        else:
            await self._store.advanced(tasks, cursor, messages=len(ids), found=found, expected=expected)

    async def _wait_for_search(self, run: _Run, error: SearchNotReady) -> None:
        now = asyncio.get_running_loop().time()
        if run.indexing_since is None:
            run.indexing_since = now
        run.waits_for_discord = True
        if now - run.indexing_since < self._longest_indexing_s:
            self._rest(run, min(error.seconds, _LONGEST_WAIT_S))
            return
        log.info("a backfill reads the history: Discord takes long to index the server", guild_id=run.guild_id)
        await self._store.stop_searching(run.guild_id)

    def _rest(self, run: _Run, seconds: float) -> None:
        run.rests_until = asyncio.get_running_loop().time() + seconds
