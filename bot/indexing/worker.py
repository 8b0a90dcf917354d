"""One image from reference to its vector: fetch, hash, look or remember."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from bot.indexing.protocols import Fetch
from bot.models import Image
from bot.monitoring.metrics import IMAGE_CONTENTS
from bot.search.protocols import Engine
from bot.store.embeddings import KnownEmbedding
from bot.store.images import Finished, ImageStore
from clipcore.types import Lane


async def content_hash_of(data: bytes) -> str:
    """The file's SHA-256 in hexadecimal. Off the event loop: a large file takes longer than an event may wait."""
    return await asyncio.to_thread(_sha256, data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    turn: asyncio.Future[None]
    count: int


class ByteBudget:
    """At most `most` bytes are held, but for one file alone, which is let in however large it is.

    Who asks first is served first: a small file does not overtake a large one, which would else wait for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def held(self) -> int:
        return self._held

    def share(self) -> Share:
        """Of nothing, at first. Left as a context, it gives back what it has."""
        return Share(self)

    async def _take(self, count: int) -> None:
        if not self._waiting and self._fits(count):
            self._held += count
            return
        waiting = _Waiting(asyncio.get_running_loop().create_future(), count)
        self._waiting.append(waiting)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._waiting.remove(waiting)
                self._let_in()
            else:  # let in and given up in the same moment
                self._give_back(count)
            raise

    def _give_back(self, count: int) -> None:
        self._held -= count
        self._let_in()

    def _let_in(self) -> None:
        """A turn that was cancelled is taken out of the line by its own task, which lets in those behind it."""
        while self._waiting and not self._waiting[0].turn.cancelled() and self._fits(self._waiting[0].count):
            waiting = self._waiting.popleft()
            self._held += waiting.count
            waiting.turn.set_result(None)

    def _fits(self, count: int) -> bool:
        return not self._held or self._held + count <= self._most


class Share:
    """What one file has of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._count = 0

    async def take(self, count: int) -> None:
        """Waits until there is room for so many bytes in place of those it has."""
        self.shrink(0)
        await self._budget._take(count)
        self._count = count

    def shrink(self, count: int) -> None:
        """Gives back what it has beyond so many bytes."""
        beyond = max(0, self._count - count)
        self._count -= beyond
        self._budget._give_back(beyond)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.shrink(0)


REMEMBERED_CONTENTS = 256
"""Contents whose vector stays in memory, for reposts that come before the first is written. About 2 KiB each."""


@dataclass(slots=True)
class _Gate:
    """Lets one image of each content through to the engine; the others wait and find its vector."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class ImageReader:
    def __init__(
        self,
        store: ImageStore,
        engine: Engine,
        fetch: Fetch,
        memory: ByteBudget,
    ) -> None:
        self._store = store
        self._engine = engine
        self._fetch = fetch
        self._memory = memory
        self._recent: OrderedDict[str, KnownEmbedding] = OrderedDict()
        self._gates: dict[str, _Gate] = {}

    async def read(self, image: Image) -> Finished:
        """What the store keeps of this image, yet without tags. Raises what fetching, decoding and encoding raise."""
        with self._memory.share() as share:
            data = await self._fetch(image.ref, share.take)
            share.shrink(len(data))
            content_hash = await content_hash_of(data)
            content = await self._content(content_hash, data)
        return Finished(image.id, content_hash, content.width, content.height, content.embedding)

    async def _content(self, content_hash: str, data: bytes) -> KnownEmbedding:
        async with self._only_one(content_hash):
            known, source = self._recent.get(content_hash), "memory"
            if known is None:
                source = "store"
                known = await self._store.embedding_of_hash(content_hash, self._engine.card.key)
            if known is None:
                source = "model"
                image = await self._engine.encode_image(data, Lane.BACKGROUND)
                known = KnownEmbedding(image.vector.astype(np.float16), image.width, image.height)
            self._keep(content_hash, known)
            IMAGE_CONTENTS.labels(source).inc()
            return known

    @asynccontextmanager
    async def _only_one(self, content_hash: str) -> AsyncIterator[None]:
        gate = self._gates.setdefault(content_hash, _Gate())
        gate.users += 1
        try:
            async with gate.lock:
                yield
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[content_hash]

    def _keep(self, content_hash: str, content: KnownEmbedding) -> None:
        self._recent[content_hash] = content
        self._recent.move_to_end(content_hash)
        if len(self._recent) > REMEMBERED_CONTENTS:
            self._recent.popitem(last=False)
