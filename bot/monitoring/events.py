"""What happens that the person who runs the bot may want counted. Numbers and kinds; no ids, no words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How an attempt at an image ended. GONE: forgotten, or found to be deleted; RETURNED: let go for a later one."""

    FINISHED = "finished"
    POSTPONED = "postponed"
    PARKED = "parked"
    RETURNED = "returned"
    GONE = "gone"


class ContentSource(StrEnum):
    """Where a file's vector came from: the model, or one of the two memories that save it the work."""

    MODEL = "model"
    MEMORY = "memory"
    STORE = "store"


class Asked(StrEnum):
    WORDS = "words"
    LIKENESS = "likeness"


class Result(StrEnum):
    """NOTHING_READABLE: no image that the asker may see; BUSY: the model had too much to do."""

    ANSWERED = "answered"
    NOTHING_ALIKE = "nothing_alike"
    NOTHING_READABLE = "nothing_readable"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Accepted:
    images: int


@dataclass(frozen=True, slots=True)
class Attempted:
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Forgotten:
    images: int


@dataclass(frozen=True, slots=True)
class ContentRead:
    source: ContentSource


@dataclass(frozen=True, slots=True)
class Written:
    """One write transaction; seconds: from its begin to its commit, the wait for other writers not counted."""

    seconds: float


@dataclass(frozen=True, slots=True)
class IndexLoaded:
    """A server's vectors came into memory."""

    seconds: float


@dataclass(frozen=True, slots=True)
class IndexSearched:
    """seconds: the wait for other searches included."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A question that was asked of the images. seconds: until everything that is shown was looked up; for a likeness,
    from when its image was read.
    """

    asked: Asked
    result: Result
    seconds: float


Event = Accepted | Attempted | Forgotten | ContentRead | Written | IndexLoaded | IndexSearched | Answered
Tell = Callable[[Event], None]
"""Called wherever something happens, on the event loop: it takes microseconds."""


def unheard(event: Event) -> None:
    """Nobody is counting."""


def carefully(tell: Tell) -> Tell:
    """The same, but what fails in it is logged: no work may depend on who is counting."""
    if tell is unheard:
        return tell

    def told(event: Event) -> None:
        try:
            tell(event)
        except Exception:
            log.exception("whoever counts what happens failed")

    return told
