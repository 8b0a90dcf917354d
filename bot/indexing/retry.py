"""RetryPolicy: what to do with an image whose attempt failed. until_stored: asks the store until it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from bot.errors import ImageForbidden, ImageGone, ImageTooLarge, ImageUnreachable, StoreError
from bot.logging import get_logger
from bot.store.images import ENCODING_FAILED, FORBIDDEN
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull

log = get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gone:
    """The image no longer exists."""


@dataclass(frozen=True, slots=True)
class Release:
    """Not the image's fault: it stays pending, and the attempt does not count."""


@dataclass(frozen=True, slots=True)
class Park:
    """Retrying will not help, or was tried too often."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postpone:
    """Retry at `until`."""

    until: datetime
    reason: str


Verdict = Gone | Release | Park | Postpone


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Pauses grow by `factor` from `first_pause_s` to `longest_pause_s`; after `attempts` failures the image is parked.

    jitter: each pause is lengthened by up to this share, so that images that failed together are not retried together.
    The defaults retry for about a day and a half, which outlasts most outages.
    """

    first_pause_s: float = 5.0
    factor: float = 3.0
    longest_pause_s: float = 6 * 3600.0
    attempts: int = 14
    jitter: float = 0.25

    def pause(self, attempts: int, luck: float) -> float:
        """Seconds before the next attempt after `attempts` + 1 failures. luck: uniform in [0, 1)."""
        # The exponent is capped: the pause has long reached its limit when the float would overflow.
        grown = self.first_pause_s * self.factor ** min(attempts, 64)
        return min(grown, self.longest_pause_s) * (1 + self.jitter * luck)

    def verdict(self, error: Exception, attempts: int, now: datetime, luck: float) -> Verdict:
        """attempts: failures before this one. Reasons are short keys without any content."""
        match error:
            case ImageGone():
                return Gone()
            case EngineClosed() | StoreError():
                return Release()
            case ImageTooLarge():
                return Park("too_large")
            case ImageRejected():
                return Park(error.reason.value)
            case ImageForbidden():  # the right may return
                reason = FORBIDDEN
            case EncodingFailed():  # the device may be lost or out of memory, which raises the same error
                reason = ENCODING_FAILED
            case ImageUnreachable():
                reason = "unreachable"
            case QueueFull():
                reason = "queue_full"
            case _:
                reason = f"unexpected_{type(error).__name__}"
        if attempts + 1 >= self.attempts:
            return Park(reason)
        return Postpone(now + timedelta(seconds=self.pause(attempts, luck)), reason)


async def until_stored(method: Callable[[], Awaitable[T]]) -> T:
    """What this method of a store returns, called again after growing pauses while the store fails."""

    def failed(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        log.warning("the store failed; it is asked again", attempt=state.attempt_number, exc_info=error)

    waiting = wait_exponential(multiplier=0.25, max=60)
    retrying = AsyncRetrying(retry=retry_if_exception_type(StoreError), wait=waiting, before_sleep=failed)

    async def ask() -> T:  # tenacity awaits what it knows to be a coroutine function
        return await method()

    return await retrying(ask)
