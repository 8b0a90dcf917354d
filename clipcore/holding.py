"""When background work is held back for somebody who waits, and for how long at most: pure bookkeeping."""

from __future__ import annotations

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
