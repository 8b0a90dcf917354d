"""One picture from reference to its vector: fetch, hash, look or remember."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from bot.events import ContentRead, ContentSource, Tell, unheard
from bot.index.byte_budget import ByteBudget
from bot.index.content import content_hash_of
from bot.index.seams import Engine, Fetch
from bot.records import Picture
from bot.store.pictures import Finished, KnownVector, PictureStore
from clipcore.types import Lane

REMEMBERED_CONTENTS = 256
"""Contents whose vector stays in memory, for reposts that come before the first is written. About 2 KiB each."""


@dataclass(slots=True)
class _Gate:
    """Lets one picture of each content through to the engine; the others wait and find its vector."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class PictureReader:
    def __init__(
        self,
        store: PictureStore,
        engine: Engine,
        fetch: Fetch,
        memory: ByteBudget,
        tell: Tell = unheard,
    ) -> None:
        self._store = store
        self._engine = engine
        self._fetch = fetch
        self._memory = memory
        self._tell = tell
        self._recent: OrderedDict[str, KnownVector] = OrderedDict()
        self._gates: dict[str, _Gate] = {}

    async def read(self, picture: Picture) -> Finished:
        """What the store keeps of this picture, yet without tags. Raises what fetching, decoding and encoding raise."""
        with self._memory.share() as share:
            data = await self._fetch(picture.ref, share.take)
            share.shrink(len(data))
            content_hash = await content_hash_of(data)
            content = await self._content(content_hash, data)
        return Finished(picture.id, content_hash, content.width, content.height, content.vector)

    async def _content(self, content_hash: str, data: bytes) -> KnownVector:
        async with self._only_one(content_hash):
            known, source = self._recent.get(content_hash), ContentSource.MEMORY
            if known is None:
                source = ContentSource.STORE
                known = await self._store.vector_of_hash(content_hash, self._engine.card.key)
            if known is None:
                source = ContentSource.MODEL
                image = await self._engine.encode_image(data, Lane.BACKGROUND)
                known = KnownVector(image.vector.astype(np.float16), image.width, image.height)
            self._keep(content_hash, known)
            self._tell(ContentRead(source))
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

    def _keep(self, content_hash: str, content: KnownVector) -> None:
        self._recent[content_hash] = content
        self._recent.move_to_end(content_hash)
        if len(self._recent) > REMEMBERED_CONTENTS:
            self._recent.popitem(last=False)
