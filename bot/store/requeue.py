"""After a change of model: queues images to be encoded again, one page in each transaction.

So other writers wait for one page at most, and a process that ends in between continues at its next start: a page that
is done is not selected again, or its images no longer meet the condition of the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, Update, exists, select, text, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import ImageState
from bot.store.database import Store, reads, writes
from bot.store.schema import embeddings, images, models

ENCODING_FAILED = "encoding_failed"
"""The reason of a parked image that the model or its device failed on: another start may succeed."""

PAGE = 1_000
"""Images that one transaction changes: 30 ms, in which other writers wait."""

_PARKED = images.c.state == text("'parked'")  # the words of the partial index, without which it is not used


class Requeue(Store):
    async def requeue_for_model(self, model_key: str, *, page: int = PAGE) -> int:
        """Makes images pending that another model encoded, as `reread`, and images that a model failed on.

        Images that this model encoded before an earlier change become ready again. Many transactions; a call that is
        interrupted leaves the rest to the next one. Returns the number of images queued.
        """
        ids = await self._models()
        model = ids.pop(model_key, None)
        if model is not None:
            restore = update(images).values(state=ImageState.READY, next_attempt=None, attempts=0, reason=None)
            encoded = exists().where(embeddings.c.image_id == images.c.id, embeddings.c.model_id == model)
            restore = restore.where(encoded)
            waiting = images.c.next_attempt.is_not(None), images.c.reread == true()
            await self._update_pages(select(*images.c["next_attempt", "id"]).where(*waiting), restore, page)
            parked = select(*images.c["reason", "id"]).where(_PARKED, images.c.reread == true())
            await self._update_pages(parked, restore, page)
        retry = update(images).values(state=ImageState.PENDING, next_attempt=self._now(), attempts=0, reason=None)
        reread = retry.where(images.c.state == ImageState.READY).values(reread=True)
        queued = 0
        for other in ids.values():
            keys = select(*embeddings.c["guild_id", "image_id"]).where(embeddings.c.model_id == other)
            queued += await self._update_pages(keys, reread, page)
        for again in (False, True):
            failed = select(images.c.id).where(_PARKED, images.c.reread == again, images.c.reason == ENCODING_FAILED)
            queued += await self._update_pages(failed, retry, page)
        return queued

    @reads
    async def _models(self, connection: AsyncConnection) -> dict[str, int]:
        return {row.key: row.id for row in await connection.execute(select(*models.c["key", "id"]))}

    async def _update_pages(self, keys: Select[Any], change: Update, size: int) -> int:
        """Applies `change` to the images whose keys the query selects, and returns how many it changed.

        keys: the columns of an index, the image's id last: pages follow each other in the order of that index.
        """
        changed = 0
        page: Sequence[Row[Any]] = ()
        while True:
            page, count = await self._update_page(keys, change, size, page[-1] if page else None)
            changed += count
            if len(page) < size:
                return changed

    @writes
    async def _update_page(
        self, connection: AsyncConnection, keys: Select[Any], change: Update, size: int, after: Row[Any] | None
    ) -> tuple[Sequence[Row[Any]], int]:
        columns = keys.selected_columns
        query = keys.order_by(*columns).limit(size)
        if after is not None:
            query = query.where(tuple_(*columns) > tuple(after))
        page = (await connection.execute(query)).all()
        if not page:
            return page, 0
        changed = await connection.execute(change.where(images.c.id.in_([row[-1] for row in page])))
        return page, changed.rowcount
