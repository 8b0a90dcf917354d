"""Fakes and helpers for the tests of indexing and search: a fake engine, a fake CDN, and references to images."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np

from bot.models import DISCORD_EPOCH_MS, ChannelRef, ImageRef, Readable, Source
from bot.search.question import Question
from bot.store.labels import Edit, LabelSet, OwnLabel
from clipcore.errors import ClipError
from clipcore.types import Calibration, ImageVector, Label, Lane, ModelCard

DIMENSION = 16
GUILD = 1 << 40
CARD = ModelCard("fake", "1", DIMENSION, 8, 8, 20.0)
CALIBRATION = Calibration(text_threshold=0.5, image_threshold=0.7, tag_threshold=0.3)


def channel_ref(channel: int = 1, guild: int = GUILD, parent: int | None = None) -> ChannelRef:
    return ChannelRef(guild, guild + channel, None if parent is None else guild + parent)


def snowflake(seconds: float = 0) -> int:
    """A message id made this many seconds after 1 January 2026."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return (int(moment.timestamp() * 1000) - DISCORD_EPOCH_MS) << 22


def image_ref(number: int, where: ChannelRef | None = None, *, message: int | None = None, author: int = 7) -> ImageRef:
    message_id = snowflake(number) if message is None else message
    return ImageRef(where or channel_ref(), message_id, snowflake(number) + 1, Source.ATTACHMENT, author)


def direction(name: str) -> np.ndarray:
    """A unit vector that belongs to a name: the same each time, nearly orthogonal to others."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def axis(index: int) -> np.ndarray:
    return np.eye(DIMENSION, dtype=np.float32)[index]


def like(sight: np.ndarray, *left_out: int) -> Question:
    """What is similar to an image, every post of it."""
    return Question(image=sight, left_out=frozenset(left_out), every_post=True)


class FakeEngine:
    """Encodes a file as `image_embeddings` says, or else by its bytes. Errors are raised once each, in order."""

    def __init__(self, card: ModelCard = CARD) -> None:
        self.card = card
        self.calibration = CALIBRATION
        self.image_embeddings: dict[bytes, np.ndarray] = {}
        self.animations: dict[bytes, tuple[np.ndarray, ...]] = {}  # their frames after the first
        self.query_embeddings: dict[str, np.ndarray] = {}
        self.errors: dict[bytes, list[Exception]] = {}
        self.encoded: Counter[bytes] = Counter()
        self.lanes: list[Lane] = []
        self.classifiers: list[tuple[Label, ...]] = []
        self.kept: list[tuple[Label, ...]] = []  # those of the classifiers that are wanted again at the next start
        self.classifier_error: Exception | None = None
        self.slow_labels: dict[str, asyncio.Event] = {}  # a classifier of such a label waits for the event
        self.gate: asyncio.Event | None = None
        self.in_foreground = 0
        self.query_error: Exception | None = None
        self.probabilities: list[float] | None = None  # of the labels, for every image

    async def encode_image(
        self, data: bytes, lane: Lane = Lane.BACKGROUND, owner: object = None, *, frames: int = 1
    ) -> ImageVector:
        self.encoded[data] += 1
        self.lanes.append(lane)
        if self.gate is not None:
            await self.gate.wait()
        if self.errors.get(data):
            raise self.errors[data].pop(0)
        more = self.animations.get(data, ())[: frames - 1]
        return ImageVector(self.image_embeddings.get(data, direction(data.hex())), 640, 480, more)

    async def encode_query(self, text: str) -> np.ndarray:
        if self.query_error is not None:
            raise self.query_error
        return self.query_embeddings.get(text, direction(text))

    @contextmanager
    def pause_background(self) -> Iterator[None]:
        self.in_foreground += 1
        try:
            yield
        finally:
            self.in_foreground -= 1

    async def classifier(self, labels: tuple[Label, ...], *, keep: bool = False) -> FakeClassifier:
        if self.classifier_error is not None:
            raise self.classifier_error
        self.classifiers.append(tuple(labels))
        if keep:
            self.kept.append(tuple(labels))
        for label in labels:
            if label.name in self.slow_labels:
                await self.slow_labels[label.name].wait()
        return FakeClassifier(tuple(labels), self.probabilities)


class FakeClassifier:
    """Finds the first of its labels in everything, unless it is told how probable each is."""

    def __init__(self, labels: tuple[Label, ...], probabilities: list[float] | None = None) -> None:
        self._row = probabilities or [0.9, *[0.0] * (len(labels) - 1)]

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == DIMENSION
        return np.array([self._row for _ in vectors], np.float32)


def only(*names: str) -> Edit:
    """A guild's own labels and no others."""
    return lambda _: LabelSet((), tuple(map(OwnLabel, names)))


class FakeCdn:
    """A `Fetch`: gives each reference its own bytes. Errors are raised once each, in order; a held one waits."""

    def __init__(self) -> None:
        self.files: dict[int, bytes] = {}
        self.errors: dict[int, list[Exception]] = {}
        self.held: dict[int, asyncio.Event] = {}
        self.fetched: Counter[int] = Counter()
        self.times: dict[int, list[float]] = {}
        self.downloading = 0
        self.most_downloading = 0
        self.in_memory = 0

    def put(self, ref: ImageRef, data: bytes) -> ImageRef:
        self.files[ref.attachment_id] = data
        return ref

    def hold(self, ref: ImageRef) -> asyncio.Event:
        return self.held.setdefault(ref.attachment_id, asyncio.Event())

    @asynccontextmanager
    async def __call__(self, ref: ImageRef, arrived: object = None) -> AsyncIterator[bytes]:
        data = await self._download(ref)
        self.in_memory += 1
        try:
            yield data
        finally:
            self.in_memory -= 1

    async def _download(self, ref: ImageRef) -> bytes:
        self.fetched[ref.attachment_id] += 1
        self.times.setdefault(ref.attachment_id, []).append(asyncio.get_running_loop().time())
        self.downloading += 1
        self.most_downloading = max(self.most_downloading, self.downloading)
        try:
            if ref.attachment_id in self.held:
                await self.held[ref.attachment_id].wait()
            else:
                await asyncio.sleep(0)
            if self.errors.get(ref.attachment_id):
                raise self.errors[ref.attachment_id].pop(0)
            return self.files.get(ref.attachment_id, str(ref.attachment_id).encode())
        finally:
            self.downloading -= 1


class Readers:
    """An audience that may read these channels; `hides` takes one away, from the next question on.

    joined: threads by id that it must ask about, and whether it has joined them. asked: what it asked about, each time.
    """

    guild_id = GUILD

    def __init__(self, *refs: ImageRef, joined: Mapping[int, bool] | None = None) -> None:
        self.channels = {ref.channel.channel_id for ref in refs}
        self.joined = dict(joined or {})
        self.asked: list[list[int]] = []

    def hides(self, ref: ImageRef) -> None:
        self.channels.discard(ref.channel.channel_id)

    def readable(self, channels: Iterable[ChannelRef]) -> Readable:
        known = frozenset(channel.channel_id for channel in channels)
        return Readable(known & self.channels, known & self.joined.keys())

    async def ask(self, thread_ids: Iterable[int]) -> None:
        self.asked.append(list(thread_ids))
        self.channels |= {thread_id for thread_id in self.asked[-1] if self.joined.pop(thread_id)}


class FakeSleep:
    """Sleeps for a moment, however long it was asked to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.002)


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Waits for a condition, with a time limit that only a broken test reaches."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if await met if isinstance(met, Awaitable) else met:
                return
            await asyncio.sleep(0.005)


class EngineTrouble(ClipError):
    """An unexpected error."""
