"""The real indexer over a long history, with nothing to download and nothing to see: what it keeps of each image."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.million import CARD, NEWEST, TAGS
from benchmarks.random_vectors import DIMENSION, random_halves
from bot.indexing.deletions import DeletionJournal
from bot.indexing.indexer import Indexer
from bot.indexing.labels import shipped_labels
from bot.indexing.registry import ImageRegistry
from bot.indexing.tagger import Tagger
from bot.models import DISCORD_EPOCH_MS, ChannelRef, ImageRef, Source
from bot.search.vector_cache import VectorCache
from bot.store.database import Database
from bot.store.guilds import ChannelStore
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from clipcore.batching import batches_of
from clipcore.types import Calibration, ImageVector, Label, Lane, ModelCard, Vectors

STEPS = 20
_GUILD = 1 << 52
_CHANNELS = 20


@dataclass(frozen=True, slots=True)
class Backfilled:
    """resident, kept: bytes after each of STEPS equal parts, of the process and of its vectors in memory."""

    images: int
    seconds: float
    resident: list[int]
    kept: list[int]


async def run_backfill(path: Path, images: int, resident: Callable[[], int]) -> Backfilled:
    """All of it in a server whose vectors are in memory, so that they grow with it."""
    async with await Database.open(path) as database:
        store, engine = ImageStore(database), _Blind()
        index = VectorCache(store.embeddings, CARD.key, DIMENSION)
        tagger = Tagger(engine, LabelStore(database), ChannelStore(database), shipped_labels(engine.card.id))
        registry = ImageRegistry(store, index, tagger, CARD, DeletionJournal(path))
        indexer = Indexer(store, engine, _own_bytes, tagger, registry)
        await indexer.start()
        await index.search(_GUILD, await engine.encode_query(""), [_GUILD + 1], 1)
        began, seen = perf_counter(), Backfilled(images, 0.0, [], [])
        for page in batches_of(_refs(images), images // STEPS):
            await indexer.accept(page)
            await indexer.settled()
            seen.resident.append(resident())
            seen.kept.append(index.usage().bytes)
        seconds = perf_counter() - began
        await indexer.close()
        await index.close()
    return Backfilled(images, seconds, seen.resident, seen.kept)


@asynccontextmanager
async def _own_bytes(ref: ImageRef, arrived: object) -> AsyncIterator[bytes]:
    yield ref.attachment_id.to_bytes(8)


def _refs(images: int) -> Iterator[ImageRef]:
    first = (NEWEST - DISCORD_EPOCH_MS) << 22
    places = [ChannelRef(_GUILD, _GUILD + at) for at in range(1, _CHANNELS + 1)]
    for n in range(images):
        yield ImageRef(places[n % _CHANNELS], first + (n << 12), n + 1, Source.ATTACHMENT, n % 100)


class _Blind:
    """Gives each image another vector without looking at it."""

    card: ModelCard = CARD
    calibration = Calibration(text_threshold=0.2, image_threshold=0.7, tag_threshold=0.3)

    def pause_background(self) -> AbstractContextManager[None]:
        return nullcontext()

    def __init__(self) -> None:
        self._vectors = random_halves(1_000).astype(np.float32)
        self._seen = count()

    async def encode_image(
        self, data: bytes, lane: Lane = Lane.BACKGROUND, owner: object = None, *, frames: int = 1
    ) -> ImageVector:
        number = next(self._seen)
        vector: Vectors = np.roll(self._vectors[number % 1_000], number // 1_000)
        return ImageVector(vector, 640, 480)

    async def encode_query(self, text: str) -> Vectors:
        first: Vectors = self._vectors[0]
        return first

    async def classifier(self, labels: Sequence[Label], *, keep: bool = False) -> _FirstLabels:
        return _FirstLabels(labels)


class _FirstLabels:
    def __init__(self, labels: Sequence[Label]) -> None:
        self._probabilities = np.where(np.arange(len(labels)) < TAGS, np.float32(0.5), np.float32(0))

    def probabilities(self, vectors: Vectors) -> Vectors:
        return np.tile(self._probabilities, (len(vectors), 1))
