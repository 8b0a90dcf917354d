"""Which servers' vectors leave memory when there is too much of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """A server in memory. bytes: what its vectors take; searched: greater, the later its last search began; busy: being
    read or searched right now.
    """

    guild_id: int
    bytes: int
    searched: int
    busy: bool


def to_drop(residents: Iterable[Resident], ceiling: int) -> list[int]:
    """The servers to let go of until the rest takes at most `ceiling` bytes, the longest unsearched first.

    What is busy stays, and so does the server searched last, however large: its next search is the likeliest.
    """
    by_age = sorted(residents, key=lambda one: one.searched)
    excess = sum(one.bytes for one in by_age) - ceiling
    dropped = []
    for one in by_age[:-1]:
        if excess <= 0:
            break
        if not one.busy:
            dropped.append(one.guild_id)
            excess -= one.bytes
    return dropped
