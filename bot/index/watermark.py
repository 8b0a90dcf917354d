"""How far a channel has been seen without a gap. Pure."""

from __future__ import annotations


class Watermark:
    """The newest message of a channel such that it and everything older that arrived has been taken care of.

    Messages are handled side by side, so a later one may be done before an earlier one. The mark stays below the oldest
    that is still open: after a crash, reading on from the mark finds everything that was not done.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._newest_done = 0

    def begin(self, message_id: int) -> None:
        self._open.add(message_id)

    def end(self, message_id: int) -> None:
        self._open.discard(message_id)
        self._newest_done = max(self._newest_done, message_id)

    def abandon(self, message_id: int) -> None:
        """It was not taken care of, and somebody else will see to it."""
        self._open.discard(message_id)

    @property
    def mark(self) -> int:
        """0 while nothing is done."""
        if not self._open:
            return self._newest_done
        return min(self._newest_done, min(self._open) - 1)
