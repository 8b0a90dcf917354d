"""Timing on machines that others use too: candidates take turns, so that a slow second falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from time import perf_counter

from benchmarks.figures import Spread

Step = Callable[[], object]


def seconds(step: Step) -> float:
    began = perf_counter()
    step()
    return perf_counter() - began


def spread(step: Step, *, runs: int = 5, warm: int = 1) -> Spread:
    """`runs` timings in seconds, after `warm` that do not count."""
    return taking_turns({"": step}, runs=runs, warm=warm)[""]


def taking_turns(
    steps: Mapping[str, Step], *, runs: int = 5, warm: int = 1, settled: bool = False
) -> dict[str, Spread]:
    """Timings in seconds of each step; in every round each has one turn.

    settled: a turn begins with a call that does not count. OpenMP's threads spin for milliseconds after their last work
    (libgomp's GOMP_SPINCOUNT), so that what comes after a short step of torch's would pay for it.
    """
    for step in steps.values():
        for _ in range(warm):
            step()
    rounds = [{name: _turn(step, settled) for name, step in steps.items()} for _ in range(runs)]
    return {name: Spread(tuple(one[name] for one in rounds)) for name in steps}


def _turn(step: Step, settled: bool) -> float:
    if settled:
        step()
    return seconds(step)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
