"""The sandbox told to misbehave: each fault waits for what it matches and wears off after striking as told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

Kind = Literal["rate_limit", "server_error", "drop", "delay", "double_event", "late_event", "lost_event"]
SCOPES = ("user", "shared", "global")
HTTP_KINDS = frozenset({"rate_limit", "server_error", "drop", "delay"})

_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "method": (str,),
    "path": (str,),
    "event": (str,),
    "times": (int, type(None)),
    "seconds": (int, float),
    "status": (int,),
    "is_global": (bool,),
    "scope": (str,),
    "bots_only": (bool,),
}


@dataclass(slots=True)
class Fault:
    """One kind of trouble.

    HTTP kinds match `method` and `path` (a shell pattern against the path after /api/v10, or the whole path for the
    CDN); event kinds match `event`. `times`: how often it strikes, None for ever. `seconds`: retry_after, or the delay.
    """

    kind: Kind
    method: str = "*"
    path: str = "*"
    event: str = "*"
    times: int | None = 1
    seconds: float = 0.2
    status: int = 500
    is_global: bool = False
    scope: str = "user"
    bots_only: bool = True
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raises ValueError for what could never strike, or would break the answer instead of spoiling it."""
        for name, kinds in _TYPES.items():
            if type(getattr(self, name)) not in kinds:
                raise ValueError(f"{name} is not of the right type")
        if self.kind not in get_args(Kind):
            raise ValueError(f"no such fault: {self.kind}; there are {', '.join(get_args(Kind))}")
        if self.scope not in SCOPES or not 400 <= self.status <= 599 or self.seconds < 0:
            raise ValueError(f"scope is one of {', '.join(SCOPES)}, status 400 to 599, seconds not negative")

    @property
    def spent(self) -> bool:
        return self.times is not None and self.struck >= self.times


class Faults:
    """The faults in force. `add` arms one and gives it back, so that a test can see how often it struck."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter([f for f in self._armed if not f.spent])

    def add(self, fault: Fault) -> Fault:
        self._armed = [f for f in self._armed if not f.spent]
        self._armed.append(fault)
        return fault

    def clear(self) -> None:
        self._armed.clear()

    def for_request(self, method: str, path: str, is_bot: bool) -> Fault | None:
        for fault in self:
            if fault.kind not in HTTP_KINDS or (fault.bots_only and not is_bot):
                continue
            if fault.method in ("*", method) and fnmatchcase(path, fault.path):
                fault.struck += 1
                return fault
        return None

    def for_event(self, event: str, is_bot: bool) -> Fault | None:
        for fault in self:
            if fault.kind in HTTP_KINDS or (fault.bots_only and not is_bot):
                continue
            if fnmatchcase(event, fault.event):
                fault.struck += 1
                return fault
        return None
