"""Succession: another model encodes every image while the present one answers, and then takes over from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

from bot.indexing.downloads import FairDownloads
from bot.indexing.indexer import Indexer
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import Gone, Postpone, Release, RetryPolicy, Verdict, until_stored
from bot.indexing.worker import Fetch, ImageWorker
from bot.logging import get_logger
from bot.models import Image, utc_now
from bot.protocols import Engine
from bot.store.images import FORBIDDEN, Finished, ImageStore
from bot.store.models import ModelStore
from bot.store.retagging import Progress
from clipcore.errors import EngineClosed

log = get_logger(__name__)

PAGE = 64
"""Images that are encoded before one transaction commits them, which is what a kill costs at most."""

_LOG_EVERY_S = 60.0


def pause_after(failed: Sequence[int], retry: RetryPolicy) -> float | None:
    """Seconds until the images that failed are tried again; None: the successor takes over.

    failed: how many images each pass could not encode, though they may succeed later. Passes count as in vain until one
    leaves fewer than any before it: that others were posted and encoded meanwhile is no progress.
    """
    in_vain = len(failed) - 1 - failed.index(min(failed))
    return None if not failed[-1] or in_vain >= retry.attempts else retry.pause(in_vain, 0.0)


class Succession:
    """Runs from `begin` until the successor answers, or `close`. What it has encoded is in the store, so a restart goes
    on where this one stopped.

    New images are encoded by the present model, so that they are found at once, and then by the successor. Images that
    cannot be read hold nothing up: once the successor answers they are pending, as any that only another model encoded.

    switch: has the successor answer; nothing is being indexed meanwhile. yield_to_queries: of the present engine.
    concurrency: images in work at a time.
    """

    def __init__(
        self,
        store: ModelStore,
        images: ImageStore,
        registry: ImageRegistry,
        indexer: Indexer,
        fetch: Fetch,
        *,
        switch: Callable[[], Awaitable[None]],
        yield_to_queries: Callable[[], Awaitable[None]],
        concurrency: int,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._store = store
        self._images = images
        self._registry = registry
        self._indexer = indexer
        self._fetch = fetch
        self._switch = switch
        self._yield_to_queries = yield_to_queries
        self._places = asyncio.Semaphore(concurrency)
        self._downloads = FairDownloads(concurrency, stalled=concurrency)
        self._retry = retry or RetryPolicy()
        self._progress: Progress | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def progress(self) -> Progress | None:
        """How many images the successor has encoded, and of how many; None where there is no successor."""
        return self._progress

    def begin(self, successor: Engine) -> None:
        """Its engine has started. One successor at a time."""
        self._progress = Progress(0, None)
        self._task = asyncio.create_task(self._run(successor), name="encode images by another model")

    async def close(self) -> None:
        """Stops. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, successor: Engine) -> None:
        log.info("another model encodes all images and answers once that is done", model=successor.card.key)
        worker, failed = ImageWorker(self._images, successor, self._fetch, self._downloads), list[int]()
        while True:
            try:
                failed.append(await self._pass(successor, worker))
                pause = pause_after(failed, self._retry)
                if pause is None:
                    await self._take_over(successor, worker)
                    return
            except EngineClosed:
                log.exception("another model cannot go on encoding; the next start takes it up")
                return
            except Exception:  # the store may be full or damaged
                log.exception("another model could not go on encoding; it tries again")
                pause = self._retry.pause(0, 0.0)
            await asyncio.sleep(pause)

    async def _take_over(self, successor: Engine, worker: ImageWorker) -> None:
        """Nothing is indexed meanwhile, so that the successor lacks nothing but what it cannot read."""
        await self._indexer.close()
        try:
            await self._pass(successor, worker)
            await self._switch()
            self._progress = None
        finally:
            await self._indexer.start()
        log.info("another model answers from now on", model=successor.card.key)

    async def _pass(self, successor: Engine, worker: ImageWorker) -> int:
        """Encodes what is left. Returns how many images failed that may succeed later."""
        self._progress = await until_stored(partial(self._store.progress, successor.card.key))
        failed, after, told = 0, 0, monotonic()
        while page := await until_stored(partial(self._store.left_to, successor.card.key, after, PAGE)):
            after = page[-1].id
            outcomes = await asyncio.gather(*(self._encode(image, worker) for image in page))
            done = [one for one in outcomes if isinstance(one, Finished)]
            added = await until_stored(partial(self._store.add, done, successor.card))
            failed += sum(map(_may_succeed, outcomes))
            self._progress = Progress(self._progress.done + added, self._progress.total)
            if monotonic() - told > _LOG_EVERY_S:
                told = monotonic()
                log.info("another model is encoding", done=self._progress.done, total=self._progress.total)
        return failed

    async def _encode(self, image: Image, worker: ImageWorker) -> Finished | Verdict:
        async with self._places:
            await self._yield_to_queries()
            try:
                return await worker.encode(image)
            except EngineClosed:
                raise
            except Exception as error:  # one image that fails must not stop the others
                log.info("image not encoded by another model", image_id=image.id, reason=type(error).__name__)
                verdict = self._retry.verdict(error, 0, utc_now(), 0.0)
        if isinstance(verdict, Gone):
            await self._registry.forget_images(image.ref.message_id, [image.ref.key])
        return verdict


def _may_succeed(outcome: Finished | Verdict) -> bool:
    """Later, unlike what the bot may not read, or what is no image any more."""
    return isinstance(outcome, Release) or (isinstance(outcome, Postpone) and outcome.reason != FORBIDDEN)
