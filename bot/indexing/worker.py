"""ImageWorker: turns an image in Discord into an encoded one: download, hash, encode."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import numpy as np
from cachetools import LRUCache

from bot.indexing.downloads import Arrived, FairDownloads
from bot.keyed_lock import KeyedLock
from bot.models import Image, ImageRef
from bot.monitoring.metrics import IMAGE_CONTENTS
from bot.protocols import Engine
from bot.store.embeddings import KnownEmbedding
from bot.store.images import Finished, ImageStore
from clipcore.types import Lane

Fetch = Callable[[ImageRef, Arrived], AbstractAsyncContextManager[bytes]]
"""Downloads an image. Its bytes are in memory until the block ends, and the fetcher limits how many are.

Raises ImageGone, ImageForbidden, ImageUnreachable or ImageTooLarge.
"""

RECENT_CONTENTS = 256
"""Files whose embedding stays in memory, for reposts that arrive before the first one is committed. 2 KiB a frame."""

FRAMES = 8
"""Of an animation, those that are encoded at most: it is found by any of them, and tagged by the first."""


class ImageWorker:
    def __init__(self, store: ImageStore, engine: Engine, fetch: Fetch, downloads: FairDownloads) -> None:
        self._store = store
        self._engine = engine
        self._fetch = fetch
        self._downloads = downloads
        self._recent: LRUCache[tuple[int, str], KnownEmbedding] = LRUCache(RECENT_CONTENTS)
        self._one_of_each_content = KeyedLock()

    async def encode(self, image: Image, on_stalled: Callable[[], None] | None = None) -> Finished:
        """What to commit, yet without tags.

        on_stalled: called when the download stalls. Raises what downloading, decoding and encoding raise.
        """
        async with AsyncExitStack() as held:
            async with self._downloads.place(image.owner, on_stalled) as download:
                data = await held.enter_async_context(self._fetch(image.ref, download.arrived))
            content_hash = await content_hash_of(data)
            content = await self._encode(image, content_hash, data)
        size = content.width, content.height
        return Finished(
            *(image.id, content_hash, *size, content.embedding),
            more=content.more,
            perceptual_hash=content.perceptual_hash,
        )

    async def _encode(self, image: Image, content_hash: str, data: bytes) -> KnownEmbedding:
        """Encodes each file of a guild once: of identical ones by one author that arrive together, the others wait for
        the first. They do not wait for that of another author, whose turn may be far away.
        """
        content = image.ref.channel.guild_id, content_hash
        async with self._one_of_each_content((content, image.owner)):
            source, known = "memory", self._recent.get(content)
            if known is None:
                source, known = "store", await self._store.embedding_of_hash(*content, self._engine.card.key)
            if known is None:
                source = "model"
                encoded = await self._engine.encode_image(data, Lane.BACKGROUND, image.owner, frames=FRAMES)
                vector, *more = (frame.astype(np.float16) for frame in (encoded.vector, *encoded.more))
                size = encoded.width, encoded.height
                known = KnownEmbedding(vector, *size, tuple(more), encoded.perceptual_hash)
            self._recent[content] = known
            IMAGE_CONTENTS.labels(source).inc()
            return known


async def content_hash_of(data: bytes) -> str:
    """The file's SHA-256 in hexadecimal, in a thread: a large file would block the event loop for too long."""
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
