"""How many inputs one batch may hold: pure bookkeeping, so that it can be tested without a device."""

from __future__ import annotations

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
