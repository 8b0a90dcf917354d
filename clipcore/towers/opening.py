"""Whose checkpoint this is, and so who opens it."""

from __future__ import annotations

from clipcore.checkpoint import Checkpoint
from clipcore.towers.hub import open_hub_layout
from clipcore.towers.seam import Opened


def open_checkpoint(checkpoint: Checkpoint) -> Opened:
    """In float32, on the CPU. Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    return open_hub_layout(checkpoint)
