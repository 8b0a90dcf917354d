"""Work that is stopped in the middle, as by Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Stop(Exception):
    pass


def stopping_after(number: int, things: Iterable[T]) -> Iterator[T]:
    for count, thing in enumerate(things):
        if count == number:
            raise Stop
        yield thing
