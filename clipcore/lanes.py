"""What waits for the device: pictures and texts in two lanes. Knows nothing of threads; whoever shares it locks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from clipcore.errors import QueueFull
from clipcore.holding import Hold
from clipcore.types import Lane, Pixels, Vectors


class Kind(Enum):
    IMAGE = "image"
    TEXT = "text"


@dataclass(slots=True, eq=False)
class Job:
    """alone: its batch failed, and it is now tried by itself, so that one poison input fails nobody else."""

    number: int
    lane: Lane
    kind: Kind
    payload: Pixels | str
    alone: bool = False
    started: bool = False
    answer: Future[Vectors] = field(default_factory=Future)

    def begin(self) -> bool:
        """False when the caller has gone."""
        if not self.started:
            self.started = self.answer.set_running_or_notify_cancel()
        return self.started


class Lanes:
    """most: pictures, and again texts, that may wait in each lane. hold: of the background lane."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: dict[Lane, dict[Kind, deque[Job]]] = {lane: {kind: deque() for kind in Kind} for lane in Lane}
        self._accepted = 0
        self.hold = Hold()

    def add(self, kind: Kind, payload: Pixels | str, lane: Lane) -> Job:
        """Raises QueueFull. The places of callers that have gone are given away first."""
        queues = self._queues[lane]
        if len(queues[kind]) >= self._most:
            queues[kind] = deque(job for job in queues[kind] if not job.answer.cancelled())
        if len(queues[kind]) >= self._most:
            raise QueueFull(f"{self._most} inputs are waiting already; try again later.")
        self._accepted += 1
        job = Job(self._accepted, lane, kind, payload)
        queues[kind].append(job)
        return job

    def take(self, sizes: Mapping[Kind, int], now: float) -> tuple[list[Job], float | None]:
        """The most urgent batch, of one lane and kind, no larger than that kind's size. Empty when nobody waits, or for
        the seconds that come with it while those who wait are held back. now: seconds on the caller's clock.
        """
        if batch := self._next_of(Lane.INTERACTIVE, sizes):
            return batch, None
        if held_for := self.hold.delay(now, ready=self.waiting(Lane.BACKGROUND) > 0):
            return [], held_for
        return self._next_of(Lane.BACKGROUND, sizes), None

    def put_back(self, batch: list[Job]) -> None:
        """In front, in the same order."""
        self._queues[batch[0].lane][batch[0].kind].extendleft(reversed(batch))

    def clear(self) -> list[Job]:
        """Empties all lanes. Returns what waited."""
        queues = [queue for queues in self._queues.values() for queue in queues.values()]
        waited = [job for queue in queues for job in queue]
        for queue in queues:
            queue.clear()
        return waited

    def waiting(self, lane: Lane) -> int:
        return sum(map(len, self._queues[lane].values()))

    def _next_of(self, lane: Lane, sizes: Mapping[Kind, int]) -> list[Job]:
        queues = self._queues[lane].values()
        while queue := min(filter(None, queues), key=lambda queue: queue[0].number, default=None):
            if batch := _front(queue, sizes[queue[0].kind]):
                return batch
        return []


def _front(queue: deque[Job], size: int) -> list[Job]:
    batch: list[Job] = []
    while queue and len(batch) < size:
        if batch and (batch[0].alone or queue[0].alone):
            break
        job = queue.popleft()
        if job.begin():
            batch.append(job)
    return batch
