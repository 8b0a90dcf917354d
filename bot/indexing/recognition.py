"""TextReader: has the words in images recognized, once these are indexed, for the guilds that want it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from bot.image_texts import fold_text
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import Gone, Park, Postpone, Release, RetryPolicy
from bot.indexing.worker import Fetch
from bot.logging import get_logger, outline
from bot.models import utc_now
from bot.monitoring.metrics import IMAGE_TEXTS
from bot.store.image_texts import ImageTextStore, Unread
from clipcore.recognition import Recognizer

log = get_logger(__name__)

LOOK_AGAIN_S = 5.0
_REST_AFTER_S = 60.0
_FAILED_PAUSE_S = 5.0


class TextReader:
    """Runs in the background, from `start` to `close`: one image after the other, and guilds take turns. What is to be
    read is in the store, so a restart goes on. Each image is downloaded again, after its message was looked up; another
    post of a file that was read in its guild is not.

    recognizer: None where the extra `ocr` is not installed; then nothing is read. pause_s: after each download, for
    which Discord is asked about its message. yield_to_queries: waits while a query runs.
    """

    def __init__(
        self,
        store: ImageTextStore,
        recognizer: Recognizer | None,
        fetch: Fetch,
        registry: ImageRegistry,
        yield_to_queries: Callable[[], Awaitable[None]],
        *,
        pause_s: float = 1.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._store = store
        self._recognizer = recognizer
        self._fetch = fetch
        self._registry = registry
        self._yield_to_queries = yield_to_queries
        self.pause_s = pause_s
        self._retry = retry or RetryPolicy(first_pause_s=60.0, attempts=6)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        return self._recognizer is not None

    def start(self) -> None:
        if self._recognizer is not None:
            self._task = asyncio.create_task(self._run(self._recognizer), name="read text")

    async def close(self) -> None:
        """Stops. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._recognizer is not None:
            await self._recognizer.close()

    def wake(self) -> None:
        """A guild has begun to want it."""
        self._woken.set()

    async def _run(self, recognizer: Recognizer) -> None:
        idle_s = 0.0
        while True:
            self._woken.clear()
            try:
                if await self._read_one_of_each(recognizer):
                    idle_s = 0.0
                    continue
                pause_s = LOOK_AGAIN_S
                idle_s += pause_s
                if _REST_AFTER_S <= idle_s < _REST_AFTER_S + pause_s:
                    await recognizer.rest()
            except Exception as error:  # the store may be locked; what is to be read is safe in it
                log.warning("text cannot be recognized at present", error=outline(error))
                pause_s = _FAILED_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()

    async def _read_one_of_each(self, recognizer: Recognizer) -> bool:
        """Whether there was anything to do."""
        guild_ids = await self._store.guilds_to_read(utc_now())
        for guild_id in guild_ids:
            unread = await self._store.next_unread(guild_id, utc_now())
            if unread is None:
                await self._store.queue_earlier(guild_id)
            elif unread.text is not None:
                await self._store.save(unread.image.id, unread.text)
                IMAGE_TEXTS.labels("copied").inc()
            else:
                await self._read(unread, recognizer)
                await asyncio.sleep(self.pause_s)
        return bool(guild_ids)

    async def _read(self, unread: Unread, recognizer: Recognizer) -> None:
        image = unread.image
        if self._registry.hides(image.ref):  # it goes as soon as the store can delete it
            await self._store.postpone(image.id, utc_now() + timedelta(seconds=_FAILED_PAUSE_S))
            return
        await self._yield_to_queries()
        try:
            async with self._fetch(image.ref, lambda _: None) as data:
                text = fold_text(await recognizer.recognize(data))
        except Exception as error:  # one image must not end all others
            await self._fail(unread, error)
            return
        await self._store.save(image.id, text)
        IMAGE_TEXTS.labels("recognized").inc()

    async def _fail(self, unread: Unread, error: Exception) -> None:
        image = unread.image
        verdict = self._retry.verdict(error, unread.attempts, utc_now(), random.random())  # noqa: S311 - spreads load
        match verdict:
            case Gone():
                await self._registry.forget_images(image.ref.message_id, [image.ref.key])
                outcome = "gone"
            case Release():
                raise error
            case Postpone():
                log.info("text will be recognized later", image_id=image.id, reason=verdict.reason)
                await self._store.postpone(image.id, verdict.until)
                outcome = "postponed"
            case Park():
                log.info("text is not recognized", image_id=image.id, reason=verdict.reason)
                await self._store.save(image.id, "")
                outcome = "parked"
        IMAGE_TEXTS.labels(outcome).inc()
