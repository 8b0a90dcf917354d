"""What waits for the device: images and texts in two lanes. Knows nothing of threads; whoever shares it locks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from clipcore.errors import QueueFull
from clipcore.types import Lane, Pixels, Vectors

LONGEST_HOLD_S = 0.5
"""Between two batches of 175 ms this leaves them a quarter of the time, whoever keeps asking."""


class Hold:
    """Holds work back while `is_set`, and none that is ready for longer than `longest` seconds.

    They count from the first time that ready work is refused, so that an idle device owes nobody anything, and go on
    counting however often the hold is lifted and set before that work gets to ask again. When they are over, one piece
    of work may begin although the hold is set; then they count anew.
    """

    def __init__(self, longest: float = 0.0) -> None:
        self.longest = longest
        self._refused_since: float | None = None
        self.is_set = False

    def delay(self, now: float, *, ready: bool) -> float:
        """Seconds until work may begin unless the hold is lifted before; at 0.0 it begins now. Times are of any one
        clock. ready: whether there is such work.
        """
        if self.is_set and ready:
            if self._refused_since is None:
                self._refused_since = now
            if (left := self._refused_since + self.longest - now) > 0:
                return left
        self._refused_since = None
        return 0.0


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
    """most: images, and again texts, that may wait in each lane. hold: of the background lane."""

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


_WEIGHT_OF_THE_NEWEST = 0.5


class Pacer:
    """Learns what one input costs on this device, and sizes batches so that each ends within a budget of seconds.

    Whoever arrives just after a batch began waits for that batch, so the batch's time is the longest wait; who begins
    several ahead divides the budget among them.
    Batches start at one and grow by doubling, since the first figures are the least certain. One input is always
    allowed, even where a single one exceeds the budget.
    """

    def __init__(self, budget: float, most: int) -> None:
        self._budget = budget
        self._most = most
        self._cap = most
        self._largest = 0
        self._seconds_each: float | None = None

    @property
    def size(self) -> int:
        """Inputs that the next batch may hold, at least 1."""
        if self._seconds_each is None:
            return 1
        affordable = int(self._budget / self._seconds_each) if self._seconds_each > 0 else self._most
        return max(1, min(affordable, self._cap, 2 * self._largest))

    def observe(self, count: int, seconds: float) -> None:
        """A batch of `count` took `seconds`."""
        each = seconds / count
        before = each if self._seconds_each is None else self._seconds_each
        self._seconds_each = before + _WEIGHT_OF_THE_NEWEST * (each - before)
        self._largest = max(count, self._largest)
        if count >= self._cap:
            # Memory that ran out once may have been someone else's: feel the way back up.
            self._cap = min(self._most, self._cap + 1)

    def out_of_memory(self, count: int) -> None:
        """A batch of `count` did not fit the device: later ones hold at most half."""
        self._cap = max(1, count // 2)
