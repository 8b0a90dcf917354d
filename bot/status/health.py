"""Whether the bot does its work at this moment: each part is asked, and says in one sentence what is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

Check = Callable[[], Awaitable[str | None]]
"""Gives what is wrong in one sentence, without ids, names and addresses; None where all is well."""


class Phase(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Report:
    """status: "ok", "failing", "starting" or "closing". checks: each part's name with "ok" or what is wrong."""

    status: str
    checks: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return self.status == "ok"


class Health:
    """Nothing is well before `serve` and after `close`, whatever the parts say."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._checks: Mapping[str, Check] = {}

    def serve(self, checks: Mapping[str, Check]) -> None:
        self._phase, self._checks = Phase.SERVING, checks

    def close(self) -> None:
        self._phase = Phase.CLOSING

    async def report(self) -> Report:
        if self._phase is not Phase.SERVING:
            return Report(self._phase, {})
        found = {name: await check() or "ok" for name, check in self._checks.items()}
        if self._phase is not Phase.SERVING:  # it may have ended while the database was asked
            return Report(self._phase, {})
        return Report("ok" if set(found.values()) == {"ok"} else "failing", found)
