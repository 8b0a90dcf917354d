"""Exact filtered search over a server's images, beside the time in which memory yields the same bytes."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from importlib.util import find_spec

import psutil

from benchmarks.figures import Against, Curve, Figure, Outcome, Spread
from benchmarks.machine import reading
from benchmarks.measure import Step, taking_turns
from benchmarks.random_vectors import DIMENSION
from benchmarks.scale import Scale
from benchmarks.search_rivals import faiss_scan, numpy_scan
from benchmarks.search_rows import Server, equal, skewed, tiny
from clipcore.types import Vectors

_HITS = 20
_ROW_BYTES = 2 * DIMENSION
_CURVE = (1_000, 10_000, 100_000, 1_000_000, 5_000_000)
_KEEP_FREE = 6 * 2**30
_MOST_BYTES = 7 * 2**30


def run(scale: Scale) -> Outcome:
    rows, channels = scale.of(1_000_000, 20_000), scale.of(500, 20)
    servers = {
        f"{channels} channels of one size": equal(rows, channels),
        f"{channels} channels as on a real server": skewed(rows, channels),
        f"{rows // 10:,} threads of ten images": tiny(rows),
    }
    figures = [figure for name, server in servers.items() for figure in _against_rivals(name, server, scale)]
    curve, stopped = _curve(scale)
    figures.append(_resident(scale))
    return Outcome(figures, [curve], missing=[*([] if find_spec("faiss") else ["faiss"]), *stopped])


def _against_rivals(name: str, server: Server, scale: Scale) -> list[Figure]:
    """Half of the channels are readable. There is no bar for threads of ten images, whose rows lie scattered."""
    index, readable, query = server.index(), server.half(), server.query()
    count = server.count(readable)
    steps: dict[str, Step] = {
        "ours": lambda: index.search(query, _HITS, readable),
        "memory": reading(count * _ROW_BYTES),
    }
    timings = taking_turns(steps, runs=scale.of(15, 2), warm=2, settled=True)
    bar = None if server.tiny else 1.3
    title = f"{count:,} readable of {server.rows:,}, {name}"
    limit = Against("reading as many bytes", timings["memory"].median, at_most=bar)
    found = [Figure(f"search: {title}", timings["ours"], "s", (limit,), note=server.note)]
    return found if server.tiny else [*found, _rivals(title, server, readable, query, scale)]


def _rivals(title: str, server: Server, readable: frozenset[int], query: Vectors, scale: Scale) -> Figure:
    """The same question to each; numpy has a copy of the readable rows in fp32, which nobody could keep."""
    index = server.index()
    rivals: dict[str, Step] = {"numpy fp32, readable rows copied together": numpy_scan(server, readable, query, _HITS)}
    if find_spec("faiss"):
        rivals["faiss fp16 with a selector"] = faiss_scan(server, readable, query, _HITS)
    steps = {"ours": lambda: index.search(query, _HITS, readable), **rivals}
    timings = taking_turns(steps, runs=scale.of(9, 2), warm=1, settled=True)
    against = tuple(Against(name, timings[name].median, at_most=1.0) for name in rivals)
    return Figure(f"search beside others: {title}", timings["ours"], "s", against)


def _curve(scale: Scale) -> tuple[Curve, list[str]]:
    """Ten channels, all readable, so that the readable images are the images."""
    sizes = _CURVE if not scale.quick else (1_000, 10_000)
    free = min(_MOST_BYTES, psutil.virtual_memory().available - _KEEP_FREE)
    fitting = [size for size in sizes if size * (_ROW_BYTES + 64) < free]
    ours, limits = [], []
    for size in fitting:
        server = equal(size, 10)
        index, query = server.index(), server.query()
        steps: dict[str, Step] = {
            "ours": partial(index.search, query, _HITS),
            "memory": reading(min(size * _ROW_BYTES, 2**29)),
        }
        timings = taking_turns(steps, runs=scale.of(7, 1), warm=2, settled=True)
        ours.append(timings["ours"].median)
        limits.append(timings["memory"].median * max(1, size * _ROW_BYTES / 2**29))
        del index, steps
    curve = Curve(
        "search by readable images",
        "readable images",
        tuple(float(size) for size in fitting),
        "seconds",
        {"search": tuple(ours), "reading as many bytes": tuple(limits)},
    )
    return curve, [f"a curve to {size:,} images (too little memory free)" for size in sizes if size not in fitting]


def _resident(scale: Scale) -> Figure:
    """In a process of its own, which grows by nothing else."""
    rows, channels = scale.of(1_000_000, 20_000), scale.of(500, 20)
    command = [sys.executable, "-m", "benchmarks.search_rows", str(rows), str(channels)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    return Figure(
        f"resident bytes an image, {rows:,} in {channels} channels",
        Spread((float(done.stdout),)),
        "bytes",
        (Against("fp16 rows alone", _ROW_BYTES, at_most=1.15),),
        note="grown in order of arrival, the channels mixed",
    )
