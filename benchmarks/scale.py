"""How much a benchmark does: all of it for figures worth keeping, little to see that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """quick: seconds instead of minutes; the figures mean nothing then. device: torch's name for where models run."""

    quick: bool = False
    device: str = "auto"

    def of(self, whole: int, quick: int) -> int:
        """A count: `whole` in earnest."""
        return quick if self.quick else whole

    @property
    def runs(self) -> int:
        return self.of(5, 1)
