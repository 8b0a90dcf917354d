"""BatchWriter: commits indexed images in batches. Items that arrive during a commit form the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.indexing.registry import ImageRegistry
from bot.logging import get_logger
from bot.models import Image
from bot.store.errors import StoreError
from bot.store.images import Finished

log = get_logger(__name__)

MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class _Item:
    image: Image
    finished: Finished
    committed: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class BatchWriter:
    """capacity: items that may wait."""

    def __init__(self, registry: ImageRegistry, capacity: int) -> None:
        self._registry = registry
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(capacity)

    async def write(self, image: Image, finished: Finished) -> bool:
        """Whether the image was committed and is searchable; False where it was deleted meanwhile.

        Raises what its commit raised.
        """
        item = _Item(image, finished)
        await self._queue.put(item)
        return await item.committed

    async def run(self) -> None:
        """Commits until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._commit(batch)

    async def _commit(self, batch: Sequence[_Item]) -> None:
        try:
            taken = await self._registry.commit([(item.image, item.finished) for item in batch])
        except Exception as error:
            # A store that is locked or full fails every row. Any other error may be the fault of one row.
            if len(batch) == 1 or isinstance(error, StoreError):
                for item in batch:
                    if not item.committed.done():
                        item.committed.set_exception(error)
                return
            log.exception("a batch could not be committed; its images are committed one by one", images=len(batch))
            for item in batch:
                await self._commit([item])
            return
        for item in batch:
            if not item.committed.done():
                item.committed.set_result(item.image.id in taken)
