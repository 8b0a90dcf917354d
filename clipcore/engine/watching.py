"""What an engine tells whoever watches it. Counting and showing is theirs: nothing here knows a metrics library."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from clipcore.types import Lane

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch that was answered. kind: "image" or "text"; seconds: from its begin to its vectors."""

    kind: str
    lane: Lane
    size: int
    seconds: float


OnBatch = Callable[[BatchReport], None]
"""Called on the inference thread, between two batches: it should take microseconds."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """alive: the model is loaded and its thread there. busy_seconds: since the device last answered; 0.0 when idle."""

    alive: bool
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """How often a prompt's vector was known, how often it had to be encoded, and how many are kept."""

    known: int
    encoded: int
    kept: int


class DeviceWatch:
    """The inference thread says when it turns to the device and when it rests; anyone may ask how long ago that was."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._busy_since: float | None = None
        self.on_batch: OnBatch | None = None

    @property
    def busy_seconds(self) -> float:
        since = self._busy_since
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def begins(self) -> None:
        self._busy_since = self._clock()

    def rests(self) -> None:
        self._busy_since = None

    def answered(self, report: BatchReport) -> None:
        """Tells the listener. What fails there is logged: nobody's images may depend on who is looking on."""
        if self.on_batch is None:
            return
        try:
            self.on_batch(report)
        except Exception:
            log.exception("whoever watches the batches failed")
