"""What model.py asks of a way to run the picture tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from clipcore.types import Pixels, Vectors

Pending = Callable[[], Vectors]
"""Waits for a batch that was begun: float32 [n, dim], unit length. Raises MemoryError where it did not fit."""


class PictureForward(Protocol):
    """Prepared squares in, vectors of unit length out. One thread at a time."""

    @property
    def overlaps(self) -> bool:
        """Whether the device works by itself, so that a batch may be begun ahead of the one that is waited for."""
        ...

    def begin(self, batch: Pixels) -> Pending:
        """batch: uint8 [n, s, s, 3]. Where the device works by itself, this returns while it does; elsewhere the work
        is done by then. Raises MemoryError where the batch does not fit. What is begun first is waited for first.
        """
        ...
