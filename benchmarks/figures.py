"""What a benchmark says: figures, each a median, beside a baseline or a computed limit of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of one thing. In the unit of the figure: seconds, images a second, bytes."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.runs)

    @property
    def least(self) -> float:
        return min(self.runs)

    @property
    def most(self) -> float:
        return max(self.runs)

    def rate(self, count: float = 1.0) -> Spread:
        """Seconds for `count` things -> things a second."""
        return Spread(tuple(count / seconds for seconds in self.runs))

    def times(self, factor: float) -> Spread:
        return Spread(tuple(factor * run for run in self.runs))


@dataclass(frozen=True, slots=True)
class Against:
    """Another figure of the same run, in the same unit.

    at_least, at_most: where the ratio of ours to it should lie; both None where it is there for comparison only.
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    def ratio(self, ours: float) -> float:
        return ours / self.value

    def met(self, ours: float) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        ratio = self.ratio(ours)
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)


@dataclass(frozen=True, slots=True)
class Figure:
    """name: what was measured, in words. note: how, or what to know when reading it."""

    name: str
    spread: Spread
    unit: str
    against: tuple[Against, ...] = ()
    note: str = ""

    @property
    def value(self) -> float:
        return self.spread.median


@dataclass(frozen=True, slots=True)
class Curve:
    """Figures along one quantity, for a plot. series: for each line its y values, one for each of `x`."""

    name: str
    x_name: str
    x: tuple[float, ...]
    y_name: str
    series: dict[str, tuple[float, ...]]
    logarithmic: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one benchmark found. skipped: why there is nothing, in one sentence."""

    figures: Sequence[Figure] = ()
    curves: Sequence[Curve] = ()
    skipped: str = ""
    missing: Sequence[str] = ()
    """Baselines that are not installed here, by name."""
