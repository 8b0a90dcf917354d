"""Images per second that the store accepts and finishes, beside sqlite3 alone; on an empty database and a large one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from time import perf_counter

from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.million import CARD, NEWEST, TAGS, database_of, hash_of
from benchmarks.random_vectors import random_halves
from benchmarks.raw_store import finish_raw, open_raw
from benchmarks.scale import Scale
from bot.models import DISCORD_EPOCH_MS, ChannelRef, ImageRef, Source, Tag
from bot.store.database import Database
from bot.store.images import Finished, ImageStore
from clipcore.batching import batches_of

BATCH = 64  # the indexer's largest
PAGE = 100  # messages that a history is read in
WANTED = 5_000
_VISITORS = 1 << 51
_CHANNELS = 50
_numbers = count(1)


def run(scale: Scale) -> Outcome:
    images = scale.of(12_800, 640)
    figures: list[Figure] = []
    for there in (0, scale.of(1_000_000, 5_000)):
        figures += asyncio.run(_on(database_of(there), there, images, scale.runs))
    return Outcome(figures)


async def _on(path: Path, there: int, images: int, runs: int) -> list[Figure]:
    async with await Database.open(path) as database:
        store = ImageStore(database)
        raw = open_raw(path)
        rounds = [await _round(store, raw, images) for _ in range(runs + 1)][1:]
        raw.close()
    rates = {name: Spread(tuple(one[name] for one in rounds)).rate(images) for name in rounds[0]}
    on = f"on {there:,} images"
    limit = Against("sqlite3 by itself", rates["raw"].median)
    bar = Against("wanted", WANTED, at_least=1.0)
    note = f"{BATCH} in a transaction, {TAGS} tags and an embedding each, checkpoints included"
    return [
        Figure(f"finish, {on}", rates["finish"], "images/s", (bar, limit), note),
        Figure(f"accept, {on}", rates["accept"], "images/s", note=f"{PAGE} in a transaction"),
        Figure(f"due, {on}", rates["due"], "images/s", note=f"{BATCH} in a transaction"),
        Figure(f"begin, {on}", rates["begin"], "images/s", note=f"{BATCH} in a transaction"),
    ]


class _Round:
    """One round of each step, on new images of a new server."""

    def __init__(self, store: ImageStore, images: int) -> None:
        self._store = store
        self._guild = _VISITORS + (next(_numbers) << 30)
        self._refs = _refs(self._guild, images)
        self._later = datetime.now(UTC) + timedelta(days=1)
        self._ids: list[int] = []
        self._finished: list[Finished] = []

    async def accept(self) -> None:
        for some in batches_of(self._refs, PAGE):
            self._ids += [image.id for image in await self._store.accept(some)]

    async def due(self) -> None:
        for _ in range(0, len(self._ids), BATCH):
            await self._store.due({(self._guild, author): 1 for author in range(BATCH)}, self._later)

    async def begin(self) -> None:
        for some in batches_of(self._ids, BATCH):
            await self._store.begin(dict.fromkeys(some, self._later))

    async def finish(self) -> None:
        for some in batches_of(self._finished, BATCH):
            await self._store.finish(some, CARD)

    async def finish_raw(self, connection: sqlite3.Connection) -> None:
        finish_raw(connection, self._finished, BATCH)

    async def forget(self) -> None:
        """Which empties the write-ahead log, too, so that every round begins alike."""
        await self._store.forget_guild(self._guild)

    def prepare(self) -> None:
        self._finished = _finished(self._ids)


async def _round(store: ImageStore, connection: sqlite3.Connection, images: int) -> dict[str, float]:
    """Seconds of each step."""
    ours, raw = _Round(store, images), _Round(store, images)
    found = {step.__name__: await _seconds(step) for step in (ours.accept, ours.due, ours.begin)}
    ours.prepare()
    found["finish"] = await _seconds(ours.finish)
    await ours.forget()
    await raw.accept()
    await raw.begin()
    raw.prepare()
    found["raw"] = await _seconds(lambda: raw.finish_raw(connection))
    await raw.forget()
    return found


def _refs(guild: int, images: int) -> list[ImageRef]:
    first = (NEWEST - DISCORD_EPOCH_MS) << 22
    places = [ChannelRef(guild, guild + (at << 20)) for at in range(1, _CHANNELS + 1)]
    numbers = (next(_numbers) for _ in range(images))
    return [ImageRef(places[n % _CHANNELS], first + (n << 12), n, Source.ATTACHMENT, n % 100) for n in numbers]


def _finished(ids: Sequence[int]) -> list[Finished]:
    embeddings = random_halves(len(ids), seed=ids[0])
    tags = tuple(Tag(f"label {rank}", 0.5 / (rank + 1)) for rank in range(TAGS))
    return [
        Finished(id_, hash_of(id_), 640, 480, embedding, tags) for id_, embedding in zip(ids, embeddings, strict=True)
    ]


async def _seconds(step: Callable[[], Awaitable[None]]) -> float:
    began = perf_counter()
    await step()
    return perf_counter() - began
