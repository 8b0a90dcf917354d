"""What the process has counted: metrics are global, so tests compare the values before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY


def values() -> dict[str, float]:
    """Each of our samples, as `name{label="value"}`."""
    found = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name.startswith("magpie_"):
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


class Counted:
    """What was counted within a `counting` block; read it inside or afterwards."""

    def __init__(self) -> None:
        self._before = values()

    def __getitem__(self, name: str) -> float:
        return values()[name] - self._before[name]


@contextmanager
def counting() -> Iterator[Counted]:
    yield Counted()
