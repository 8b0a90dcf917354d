"""`python -m benchmarks.resident WHAT …`: what a thing costs in memory, in a process that does nothing else.

Writes one line of JSON. Bytes are the process's resident memory, as the system counts it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
import torch  # noqa: F401 - the bot has it in its process, and the index searches with it

from benchmarks.backfill import Backfilled, run_backfill
from benchmarks.million import CARD, GUILD, places_of
from benchmarks.random_vectors import DIMENSION, random_halves
from benchmarks.raw_store import read_raw
from bot.search.vector_cache import VectorCache
from bot.store.database import Database
from bot.store.images import ImageStore


@dataclass(frozen=True, slots=True)
class Loaded:
    """growth: bytes more than before."""

    rows: int
    seconds: float
    growth: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """Servers searched in turn. kept: bytes that the index says it has; growth: bytes more than before; at most."""

    servers: int
    kept: int
    growth: int


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def load(path: Path, rows: int) -> Loaded:
    """A server's vectors as the bot loads them, and one search."""
    async with await Database.open(path) as database:
        index = VectorCache(ImageStore(database).embeddings, CARD.key, DIMENSION)
        query = random_halves(1)[0].astype(np.float32)
        await index.search(GUILD - 1, query, [1], 1)  # what the first search of all costs is not an image's
        before, began = resident(), perf_counter()
        hits = (await index.search(GUILD, query, [id_ for id_, _ in places_of()], 10)).hits
        seconds = perf_counter() - began
        loaded = Loaded(index.usage().rows, seconds, resident() - before)
        await index.close()
    if len(hits) != 10 or loaded.rows != rows:
        raise RuntimeError(f"{loaded.rows} of {rows} vectors were loaded")
    return loaded


async def load_raw(path: Path, rows: int) -> Loaded:
    before, began = resident(), perf_counter()
    matrix = read_raw(path, GUILD, DIMENSION, rows)
    return Loaded(len(matrix), perf_counter() - began, resident() - before)


async def rotate(path: Path, ceiling: int) -> Rotated:
    """Every server searched, three times over, each found to answer."""
    async with await Database.open(path) as database:
        store = ImageStore(database)
        index = VectorCache(store.embeddings, CARD.key, DIMENSION, max_bytes=ceiling)
        query = random_halves(1)[0].astype(np.float32)
        servers = await store.guild_ids()
        before, kept, growth = resident(), 0, 0
        for guild_id in servers * 3:
            channels = [place.channel_id for place in await store.searchable_channels(guild_id)]
            if len((await index.search(guild_id, query, channels, 10)).hits) != 10:
                raise RuntimeError("a server that was let go did not answer as before")
            kept, growth = max(kept, index.usage().bytes), max(growth, resident() - before)
        await index.close()
    return Rotated(len(servers), kept, growth)


async def backfill(path: Path, images: int) -> Backfilled:
    return await run_backfill(path, images, resident)


Result = Loaded | Rotated | Backfilled
_KNOWN: dict[str, Callable[[Path, int], Coroutine[None, None, Result]]] = {
    one.__name__: one for one in (load, load_raw, rotate, backfill)
}


def _main() -> None:
    what, path, number = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(_KNOWN[what](Path(path), int(number))))))


if __name__ == "__main__":
    _main()
