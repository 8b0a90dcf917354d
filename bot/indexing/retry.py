"""When an image that failed is tried again, and when it is given up. Pure: decides from plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.errors import ImageForbidden, ImageGone, ImageTooLarge, ImageUnreachable
from bot.store.errors import StoreError
from bot.store.requeue import ENCODING_FAILED
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull


@dataclass(frozen=True, slots=True)
class Gone:
    """The image no longer exists."""


@dataclass(frozen=True, slots=True)
class Release:
    """Not the image's fault: the row stays pending as it is, and no attempt is spent."""


@dataclass(frozen=True, slots=True)
class Park:
    """Trying again will not help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postpone:
    """Try again, not before `until`."""

    until: datetime
    reason: str


Verdict = Gone | Release | Park | Postpone


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Pauses grow by `factor` from `first_pause_s` to `longest_pause_s`; after `attempts` failures it is given up.

    jitter: each pause is stretched by up to this share, so that what failed together is not retried together.
    The defaults keep trying for about a day and a half, which outlasts an outage that people would notice.
    """

    first_pause_s: float = 5.0
    factor: float = 3.0
    longest_pause_s: float = 6 * 3600.0
    attempts: int = 14
    jitter: float = 0.25

    def pause(self, attempts: int, luck: float) -> float:
        """Seconds to wait after `attempts` earlier failures. luck: uniform in [0, 1)."""
        # The exponent is capped: a float overflows long before the pause needs to grow further.
        grown = self.first_pause_s * self.factor ** min(attempts, 64)
        return min(grown, self.longest_pause_s) * (1 + self.jitter * luck)

    def again(self, attempts: int, now: datetime, luck: float, reason: str) -> Park | Postpone:
        """attempts: failures before this one."""
        if attempts + 1 >= self.attempts:
            return Park(reason)
        return Postpone(now + timedelta(seconds=self.pause(attempts, luck)), reason)

    def verdict(self, error: Exception, attempts: int, now: datetime, luck: float) -> Verdict:
        """What becomes of an image that failed with `error`. Reasons are short words that name no content."""
        match error:
            case ImageGone():
                return Gone()
            case EngineClosed() | StoreError():
                return Release()
            case ImageForbidden():
                return Park("forbidden")
            case ImageTooLarge():
                return Park("too_large")
            case ImageRejected():
                return Park(error.reason.value)
            case EncodingFailed():  # the device may be lost or out of memory, which looks the same from here
                return self.again(attempts, now, luck, ENCODING_FAILED)
            case ImageUnreachable():
                return self.again(attempts, now, luck, "unreachable")
            case QueueFull():
                return self.again(attempts, now, luck, "queue_full")
            case _:
                return self.again(attempts, now, luck, f"unexpected_{type(error).__name__}")
