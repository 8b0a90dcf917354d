"""How much a benchmark does: all of it for figures worth keeping, little to see that it works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """quick: seconds instead of minutes; the figures mean nothing then. device: torch's name for where models run.

    weights, gallery: of the relevance benchmark: another model, and a labelled folder.
    """

    quick: bool = False
    device: str = "auto"
    weights: str | None = None
    gallery: Path | None = None

    def of(self, whole: int, quick: int) -> int:
        """A count: `whole` in earnest."""
        return quick if self.quick else whole

    @property
    def runs(self) -> int:
        return self.of(5, 1)
