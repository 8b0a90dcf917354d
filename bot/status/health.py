"""Whether the bot does its work at this moment: each part is asked, and says in one sentence what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)

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


def _nothing() -> Collection[str]:
    return ()


class Health:
    """Nothing is well before `serve` and after `close`, whatever the parts say. A verdict that turns is logged once."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._checks: Mapping[str, Check] = {}
        self._awaited: Callable[[], Collection[str]] = _nothing
        self._failing = False

    def serve(self, checks: Mapping[str, Check], awaited: Callable[[], Collection[str]] = _nothing) -> None:
        """awaited: checks that cannot be well yet. While all others are, the bot is starting and nothing has failed."""
        self._phase, self._checks, self._awaited = Phase.SERVING, checks, awaited

    def close(self) -> None:
        self._phase = Phase.CLOSING

    async def report(self) -> Report:
        if self._phase is not Phase.SERVING:
            return Report(self._phase, {})
        found = {name: await check() or "ok" for name, check in self._checks.items()}
        if self._phase is not Phase.SERVING:  # it may have ended while the database was asked
            return Report(self._phase, {})
        failed = [name for name, told in found.items() if told != "ok"]
        if failed and set(failed) <= set(self._awaited()):
            return Report(Phase.STARTING, found)
        self._log(failed)
        return Report("failing" if failed else "ok", found)

    def _log(self, failed: Sequence[str]) -> None:
        if failed and not self._failing:
            log.warning("no longer well: %s", ", ".join(failed))
        elif self._failing and not failed:
            log.info("all is well again")
        self._failing = bool(failed)
