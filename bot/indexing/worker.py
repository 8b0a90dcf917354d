"""ImageWorker: turns one accepted image into an indexed one: download, hash, encode, tag."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack

import numpy as np
from cachetools import LRUCache

from bot.indexing.tagger import Tagger
from bot.keyed_lock import KeyedLock
from bot.models import Image, ImageRef, TaggingMode
from bot.monitoring.metrics import IMAGE_CONTENTS
from bot.protocols import Engine
from bot.store.embeddings import KnownEmbedding
from bot.store.images import Finished, ImageStore
from clipcore.types import Lane

Fetch = Callable[[ImageRef], AbstractAsyncContextManager[bytes]]
"""Downloads an image. Its bytes are in memory until the block ends, and the fetcher limits how many are.

Raises ImageGone, ImageForbidden, ImageUnreachable or ImageTooLarge.
"""

RECENT_CONTENTS = 256
"""Files whose embedding stays in memory, for reposts that arrive before the first one is committed. 2 KiB each."""


class ImageWorker:
    """downloads: how many at a time."""

    def __init__(self, store: ImageStore, engine: Engine, fetch: Fetch, tagger: Tagger, downloads: int) -> None:
        self._store = store
        self._engine = engine
        self._fetch = fetch
        self._tagger = tagger
        self._downloads = asyncio.Semaphore(downloads)
        self._recent: LRUCache[tuple[int, str], KnownEmbedding] = LRUCache(RECENT_CONTENTS)
        self._one_of_each_content = KeyedLock()

    async def process(
        self, image: Image, while_tagging: Callable[[], AbstractContextManager[None]]
    ) -> tuple[Finished, TaggingMode]:
        """What to commit, and the tagging mode of the image's channel.

        while_tagging: wraps the tagging, which may wait minutes for its guild's labels and holds next to no memory.
        Raises what downloading, decoding and encoding raise.
        """
        async with AsyncExitStack() as held:
            async with self._downloads:
                data = await held.enter_async_context(self._fetch(image.ref))
            content_hash = await content_hash_of(data)
            content = await self._encode(image.ref.channel.guild_id, content_hash, data)
        with while_tagging():
            mode, tags = await self._tagger.tag(image.ref.channel, content.embedding)
        return Finished(image.id, content_hash, content.width, content.height, content.embedding, tags), mode

    async def _encode(self, guild_id: int, content_hash: str, data: bytes) -> KnownEmbedding:
        """Encodes each file of a guild once: of identical ones that arrive together, the others wait for the first."""
        content = guild_id, content_hash
        async with self._one_of_each_content(content):
            source, known = "memory", self._recent.get(content)
            if known is None:
                source, known = "store", await self._store.embedding_of_hash(*content, self._engine.card.key)
            if known is None:
                source, image = "model", await self._engine.encode_image(data, Lane.BACKGROUND)
                known = KnownEmbedding(image.vector.astype(np.float16), image.width, image.height)
            self._recent[content] = known
            IMAGE_CONTENTS.labels(source).inc()
            return known


async def content_hash_of(data: bytes) -> str:
    """The file's SHA-256 in hexadecimal, in a thread: a large file would block the event loop for too long."""
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
