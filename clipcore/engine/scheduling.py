"""Which work the device does next: a two-priority queue of jobs, and batch sizes that fit a time budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from clipcore.errors import QueueFull
from clipcore.types import Lane, Pixels, Vectors

MAX_BACKGROUND_WAIT_S = 0.5
"""Then a background batch runs although queries keep coming. With batches of 175 ms that is a quarter of the time."""


class Kind(Enum):
    IMAGE = "image"
    TEXT = "text"


@dataclass(slots=True, eq=False)
class Job:
    """One input for the device. alone: its batch failed, so it is retried in a batch of its own."""

    lane: Lane
    kind: Kind
    payload: Pixels | str
    alone: bool = False
    started: bool = False
    answer: Future[Vectors] = field(default_factory=Future)

    def start(self) -> bool:
        """Whether anyone still waits for the answer: false once it is cancelled or given."""
        if not self.started:
            self.started = self.answer.set_running_or_notify_cancel()
        return self.started and not self.answer.done()


class JobQueue:
    """Interactive jobs before background jobs. Within a lane, images and texts take turns, batch by batch, so that
    neither waits for a backlog of the other; those of a kind go in order of arrival. Not thread-safe: the caller locks.

    Background jobs wait while there are interactive jobs or the background is paused, but no longer than
    MAX_BACKGROUND_WAIT_S: then one background batch runs, and the time counts anew.

    max_waiting: images, and again texts, that may wait in each lane.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._queues: dict[Lane, dict[Kind, deque[Job]]] = {lane: {kind: deque() for kind in Kind} for lane in Lane}
        self._yielding_since: float | None = None

    def add(self, kind: Kind, payload: Pixels | str, lane: Lane) -> Job:
        """Raises QueueFull, after dropping cancelled jobs did not make room."""
        queues = self._queues[lane]
        if len(queues[kind]) >= self._max_waiting:
            queues[kind] = deque(job for job in queues[kind] if not job.answer.cancelled())
        if len(queues[kind]) >= self._max_waiting:
            raise QueueFull(f"{self._max_waiting} inputs are waiting already; try again later.")
        job = Job(lane, kind, payload)
        queues[kind].append(job)
        return job

    def take(
        self, sizes: Mapping[Kind, int], now: float, *, background_paused: bool = False
    ) -> tuple[list[Job], float | None]:
        """The next batch, of one lane and one kind, no larger than that kind's size; empty if none may run now.

        now: seconds on any one clock. Beside an empty batch come the seconds until a paused background batch runs
        anyway, or None if nothing waits.
        """
        since = self._yielding_since
        overdue = since is not None and now >= since + MAX_BACKGROUND_WAIT_S
        batch = [] if overdue else self._next_of(Lane.INTERACTIVE, sizes)
        if (batch or background_paused) and not overdue and self.waiting(Lane.BACKGROUND):
            self._yielding_since = since = now if since is None else since
            return batch, since + MAX_BACKGROUND_WAIT_S - now
        self._yielding_since = None
        return batch or self._next_of(Lane.BACKGROUND, sizes) or self._next_of(Lane.INTERACTIVE, sizes), None

    def put_back(self, batch: list[Job]) -> None:
        """To the front, in the same order."""
        self._queues[batch[0].lane][batch[0].kind].extendleft(reversed(batch))

    def clear(self) -> list[Job]:
        """Removes and returns all waiting jobs."""
        queues = [queue for queues in self._queues.values() for queue in queues.values()]
        jobs = [job for queue in queues for job in queue]
        for queue in queues:
            queue.clear()
        return jobs

    def waiting(self, lane: Lane) -> int:
        return sum(map(len, self._queues[lane].values()))

    def _next_of(self, lane: Lane, sizes: Mapping[Kind, int]) -> list[Job]:
        queues = self._queues[lane]
        for kind in tuple(queues):
            if batch := _pop_batch(queues[kind], sizes[kind]):
                queues[kind] = queues.pop(kind)  # to the end: the other kind is next
                return batch
        return []


def _pop_batch(queue: deque[Job], size: int) -> list[Job]:
    batch: list[Job] = []
    while queue and len(batch) < size:
        if batch and (batch[0].alone or queue[0].alone):
            break
        job = queue.popleft()
        if job.start():
            batch.append(job)
    return batch


_NEWEST_WEIGHT = 0.5


class BatchSizer:
    """Learns what one input costs on this device, and sizes batches to end within a budget of seconds: a query that
    arrives just after a batch began waits for that batch.

    Batches start at one input and at most double each time, because the first timings are the least reliable. One
    input is always allowed, even if it exceeds the budget.
    """

    def __init__(self, budget: float, max_size: int) -> None:
        self._budget = budget
        self._max_size = max_size
        self._memory_limit = max_size
        self._largest = 0
        self._seconds_each: float | None = None

    @property
    def size(self) -> int:
        """Inputs that the next batch may hold, at least 1."""
        if self._seconds_each is None:
            return 1
        affordable = int(self._budget / self._seconds_each) if self._seconds_each > 0 else self._max_size
        return max(1, min(affordable, self._memory_limit, 2 * self._largest))

    def observe(self, count: int, seconds: float) -> None:
        """A batch of `count` took `seconds`."""
        each = seconds / count
        before = each if self._seconds_each is None else self._seconds_each
        self._seconds_each = before + _NEWEST_WEIGHT * (each - before)
        self._largest = max(count, self._largest)
        if count >= self._memory_limit:
            # Another process may have used the memory that was missing once, so the limit rises again step by step.
            self._memory_limit = min(self._max_size, self._memory_limit + 1)

    def out_of_memory(self, count: int) -> None:
        """A batch of `count` did not fit the device: later ones hold at most half."""
        self._memory_limit = max(1, count // 2)
