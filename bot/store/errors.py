"""The errors that the store raises on purpose. Every other error of a statement is a bug and passes through."""

from __future__ import annotations

from bot.errors import MagpieError


class StoreError(MagpieError):
    """The transaction failed and changed nothing."""


class StoreBusy(StoreError):
    """Another process held the database for longer than the busy timeout. A retry may succeed."""


class StoreUnusable(StoreError):
    """The database or its disk fails. No retry succeeds until an operator has acted."""
