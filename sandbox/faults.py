"""Fault injection: errors, delays and lost events that a test orders, each for a number of times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

SearchKind = Literal["not_indexed", "short_page"]
HttpKind = Literal["rate_limit", "server_error", "drop", "delay", "half", "html", SearchKind]
EventKind = Literal["double_event", "late_event", "lost_event"]
Kind = HttpKind | EventKind | Literal["identify"]
SCOPES = ("user", "shared", "global")
SEARCH_KINDS = frozenset(get_args(SearchKind))
HTTP_KINDS = frozenset(get_args(HttpKind))
EVENT_KINDS = frozenset(get_args(EventKind))
KINDS = HTTP_KINDS | EVENT_KINDS | {"identify"}

_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "method": (str,),
    "path": (str,),
    "event": (str,),
    "times": (int, type(None)),
    "seconds": (int, float),
    "status": (int,),
    "close_code": (int,),
    "is_global": (bool,),
    "scope": (str,),
    "bots_only": (bool,),
}


@dataclass(slots=True)
class Fault:
    """HTTP kinds match `method` and `path`, a shell pattern of API paths without /api/v10 and of other paths in full.

    `not_indexed` (202, "try again later") and `short_page` are for the message search, whatever the path pattern.
    Event kinds match `event`; `identify` answers IDENTIFY by closing the connection with `close_code`.
    `times`: how often it is triggered, None: always. `seconds`: retry_after, or the delay.
    """

    kind: Kind
    method: str = "*"
    path: str = "*"
    event: str = "*"
    times: int | None = 1
    seconds: float = 0.2
    status: int = 500
    close_code: int = 4000
    is_global: bool = False
    scope: str = "user"
    bots_only: bool = True
    triggered: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raises ValueError for fields of a wrong type or value."""
        for name, kinds in _TYPES.items():
            if type(getattr(self, name)) not in kinds:
                raise ValueError(f"{name} has the wrong type")
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind}; use one of {', '.join(sorted(KINDS))}")
        if self.scope not in SCOPES or self.seconds < 0:
            raise ValueError(f"use a scope of {', '.join(SCOPES)}, and seconds of 0 or more")
        if not 400 <= self.status <= 599 or not 4000 <= self.close_code <= 4999:
            raise ValueError("use a status of 400 to 599, and a close_code of 4000 to 4999")

    @property
    def spent(self) -> bool:
        return self.times is not None and self.triggered >= self.times


class Faults:
    """The active faults. `add` returns the fault, so that a test can read how often it was triggered."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter([f for f in self._active if not f.spent])

    def add(self, fault: Fault) -> Fault:
        self._active = [f for f in self._active if not f.spent]
        self._active.append(fault)
        return fault

    def clear(self) -> None:
        self._active.clear()

    def for_request(self, method: str, path: str, is_bot: bool) -> Fault | None:
        def matches(fault: Fault) -> bool:
            searching = fault.kind not in SEARCH_KINDS or path.endswith("/messages/search")
            return searching and fault.method in ("*", method) and fnmatchcase(path, fault.path)

        return self._trigger(is_bot, HTTP_KINDS, matches)

    def for_event(self, event: str, is_bot: bool) -> Fault | None:
        return self._trigger(is_bot, EVENT_KINDS, lambda f: fnmatchcase(event, f.event))

    def for_identify(self, is_bot: bool) -> Fault | None:
        return self._trigger(is_bot, {"identify"}, lambda f: True)

    def _trigger(self, is_bot: bool, kinds: Collection[str], matches: Callable[[Fault], bool]) -> Fault | None:
        """The first active fault of these kinds that matches; counts it."""
        for fault in self:
            if fault.kind in kinds and (is_bot or not fault.bots_only) and matches(fault):
                fault.triggered += 1
                return fault
        return None
