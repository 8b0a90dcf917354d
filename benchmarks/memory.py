"""What images cost in memory, how long their vectors take to come from the database, and what a backfill leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import Against, Curve, Figure, Outcome, Spread
from benchmarks.million import database_of
from benchmarks.random_vectors import DIMENSION
from benchmarks.scale import Scale

A_IMAGE = 1.15 * 1024  # bytes
LOADING_S = 6.0
STEADY = 8 * 2**20
"""Bytes by which the process may grow in the second half of a backfill, beyond its vectors: no allocator is exact."""

_MIB = 2**20


def run(scale: Scale) -> Outcome:
    steady, curve = _backfill(scale.of(100_000, 400))
    return Outcome([*_loading(scale), _ceiling(scale), steady], [curve])


def _loading(scale: Scale) -> list[Figure]:
    rows = scale.of(1_000_000, 5_000)
    path = database_of(rows)
    rounds = [(_measured("load", path, rows), _measured("load_raw", path, rows)) for _ in range(scale.of(3, 1))]
    seconds, raw_seconds = (Spread(tuple(one["seconds"] for one in side)) for side in zip(*rounds, strict=True))
    growth = Spread(tuple(ours["growth"] / rows for ours, _ in rounds))
    return [
        Figure(
            f"memory, {rows:,} images",
            growth,
            "bytes/image",
            (Against("wanted", A_IMAGE, at_most=1.0), Against("the vector itself", 2 * DIMENSION)),
            "resident memory after loading a server and searching it once, less that before",
        ),
        Figure(
            f"loading, {rows:,} images",
            seconds,
            "s",
            (Against("wanted", LOADING_S, at_most=1.0), Against("sqlite3 into one matrix", raw_seconds.median)),
            "the first search of a server, from the database in the system's cache",
        ),
    ]


def _ceiling(scale: Scale) -> Figure:
    images, servers, ceiling = scale.of(200_000, 8_000), 10, scale.of(64, 4) * _MIB
    found = _measured("rotate", database_of(images, channels=20, servers=servers), ceiling)
    return Figure(
        f"memory, {servers} servers in turn under a ceiling",
        Spread((found["growth"] / _MIB,)),
        "MiB",
        (Against("all of them", images * 2 * DIMENSION / _MIB), Against("the ceiling", ceiling / _MIB)),
        f"resident memory at most; the index counted {found['kept'] / _MIB:.1f} MiB at most after a search",
    )


def _backfill(images: int) -> tuple[Figure, Curve]:
    found = _measured("backfill", database_of(0), images)
    beyond = [all_of_it - kept for all_of_it, kept in zip(found["resident"], found["kept"], strict=True)]
    growth = beyond[-1] - beyond[len(beyond) // 2 - 1]
    figure = Figure(
        f"growth over the second half of a backfill of {images:,}",
        Spread((growth / _MIB,)),
        "MiB",
        (Against("constant but for the allocator", STEADY / _MIB, at_most=1.0),),
        f"resident memory beyond the vectors; {images / found['seconds']:,.0f} images/s with nothing to see",
    )
    done = tuple(images * (at + 1) / len(beyond) for at in range(len(beyond)))
    series = {
        "the process": tuple(value / _MIB for value in found["resident"]),
        "beyond its vectors": tuple(value / _MIB for value in beyond),
    }
    return figure, Curve("Memory during a backfill", "images", done, "MiB", series, logarithmic=False)


def _measured(what: str, path: Path, number: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.resident", what, str(path), str(number)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - our own module
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
