"""Tags and writes what the workers read: whatever collected during one transaction goes into the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.indexing.protocols import ChannelSettings, OnFinished
from bot.indexing.tagger import Tagger
from bot.models import ChannelRef, Image, ImageState, Tag, TaggingMode
from bot.search.protocols import Engine, IndexedEmbedding, VectorSearch
from bot.store.errors import StoreError
from bot.store.images import Finished, ImageStore

log = logging.getLogger(__name__)

LARGEST_BATCH = 64


@dataclass(frozen=True, slots=True)
class Read:
    """An image that a worker has read, on its way to the store."""

    image: Image
    finished: Finished
    done: asyncio.Future[Image | None]
    """As the store took it; None when it was forgotten meanwhile. Fails where the row cannot be written."""

    @property
    def place(self) -> ChannelRef:
        return self.image.ref.channel


class Writer:
    """Owns the path from read to remembered: tags and one transaction for a micro-batch, then the memory index.

    memory: held while the store and the memory index change together. Whoever forgets images holds it too, so that
    an image is never added to the index after it was discarded from it.
    """

    def __init__(
        self,
        store: ImageStore,
        engine: Engine,
        tagger: Tagger,
        channels: ChannelSettings,
        index: VectorSearch,
        memory: asyncio.Lock,
        room: int,
    ) -> None:
        self._store = store
        self._engine = engine
        self._tagger = tagger
        self._channels = channels
        self._index = index
        self._memory = memory
        self._queue: asyncio.Queue[Read] = asyncio.Queue(maxsize=room)

    async def write(self, image: Image, finished: Finished) -> Image | None:
        """The finished image once it is committed and searchable; None when it was forgotten meanwhile."""
        read = Read(image, finished, asyncio.get_running_loop().create_future())
        await self._queue.put(read)
        return await read.done

    async def run(self) -> None:
        """Writes batches until cancelled. Nothing sleeps to fill one."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._settle(batch)

    async def _settle(self, batch: Sequence[Read]) -> None:
        try:
            tagged = await self._tagged(batch)
            _answer(batch, tagged, await self._commit(batch, tagged))
        except StoreError as error:  # the whole store is locked or full: no use in trying row by row
            for read in batch:
                _fail(read, error)
        except Exception as error:  # the writer outlives any row; whoever waits is told
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            log.exception("a batch of %d images was not written; trying them one by one", len(batch))
            for read in batch:
                await self._settle([read])

    async def _tagged(self, batch: Sequence[Read]) -> list[Finished]:
        """With the tags that each image's server and channel want."""
        channels = await self._channels.tagging_modes({read.place for read in batch})
        tags: dict[int, tuple[Tag, ...]] = {}
        for guild_id in {place.guild_id for place in channels}:
            wanted = [
                read.finished
                for read in batch
                if read.place.guild_id == guild_id and channels[read.place] is not TaggingMode.OFF
            ]
            if wanted:
                found = await self._tagger.tags(guild_id, [finished.embedding for finished in wanted])
                tags.update(zip((finished.image_id for finished in wanted), found, strict=True))
        return [replace(read.finished, tags=tags.get(read.image.id, ())) for read in batch]

    async def _commit(self, batch: Sequence[Read], tagged: Sequence[Finished]) -> set[int]:
        async with self._memory:
            taken = await self._store.finish(tagged, self._engine.card)
            rows: dict[int, list[IndexedEmbedding]] = {}
            for read in batch:
                if read.image.id in taken:
                    rows.setdefault(read.place.guild_id, []).append(_row(read))
            for guild_id, added in rows.items():
                await self._index.add(guild_id, added)
            return taken


def _row(read: Read) -> IndexedEmbedding:
    return IndexedEmbedding(read.image.id, read.place.channel_id, read.finished.embedding)


def _answer(batch: Sequence[Read], tagged: Sequence[Finished], taken: set[int]) -> None:
    for read, finished in zip(batch, tagged, strict=True):
        if not read.done.done():
            read.done.set_result(_ready(read.image, finished) if finished.image_id in taken else None)


def _fail(read: Read, error: Exception) -> None:
    if not read.done.done():
        read.done.set_exception(error)


def _ready(image: Image, finished: Finished) -> Image:
    return replace(
        image,
        state=ImageState.READY,
        content_hash=finished.content_hash,
        width=finished.width,
        height=finished.height,
        tags=tuple(finished.tags),
        attempts=0,
        reason=None,
    )


AT_ONCE = 4
WAITING_ROOM = 256
LONGEST_S = 60.0


class Announcer:
    """Owns the queue of finished images that wait to be announced.

    An announcement is a courtesy: when more wait than there is room for (Discord is slow or refuses), the newest are
    left unsaid rather than let uploads wait. At most once: a crash in between leaves an image unannounced.
    """

    def __init__(self, on_finished: OnFinished | None) -> None:
        self._on_finished = on_finished
        self._waiting: asyncio.Queue[Image] = asyncio.Queue(maxsize=WAITING_ROOM)

    def announce(self, image: Image) -> None:
        if self._on_finished is None:
            return
        try:
            self._waiting.put_nowait(image)
        except asyncio.QueueFull:
            log.warning("image %d is not announced: too many announcements wait", image.id)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as speakers:
            for _ in range(AT_ONCE):
                speakers.create_task(self._speak())

    async def all_said(self) -> None:
        await self._waiting.join()

    async def _speak(self) -> None:
        while True:
            image = await self._waiting.get()
            try:
                await self._tell(image)
            finally:
                self._waiting.task_done()

    async def _tell(self, image: Image) -> None:
        if self._on_finished is None:
            return
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._on_finished(image)
        except Exception:  # one announcement that fails must not silence the next
            log.exception("image %d could not be announced", image.id)
