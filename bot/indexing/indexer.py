"""An image's way in and out: accepted durably, read by a few workers, written, announced, and forgotten for good."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from itertools import count

from bot.indexing.protocols import ChannelSettings, Clock, Fetch, MakeRoom, OnFinished, Sleep
from bot.indexing.retry import Forget, Leave, Park, Postpone, RetryPolicy, Verdict
from bot.indexing.tagger import Tagger
from bot.indexing.worker import ByteBudget, ImageReader
from bot.indexing.writer import Announcer, Writer
from bot.models import Image, ImageRef, utc_now
from bot.monitoring.metrics import IMAGE_ATTEMPTS, IMAGES_ACCEPTED, IMAGES_FORGOTTEN
from bot.search.protocols import Engine, VectorSearch
from bot.store.errors import StoreError
from bot.store.images import INTERRUPTED, ImageStore


class Waker:
    """One sleeper, any number of wakers. `sleep` is injected so that tests own the time."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._event = asyncio.Event()

    @property
    def awake(self) -> bool:
        return self._event.is_set()

    def wake(self) -> None:
        self._event.set()

    def reset(self) -> None:
        """Forgets earlier calls of `wake`: call it before looking for work, so that none is missed after."""
        self._event.clear()

    async def nap(self, seconds: float) -> None:
        """Returns after `seconds`, or as soon as somebody wakes."""
        waiting = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._event.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, whoever wakes."""
        await self._sleep(seconds)


log = logging.getLogger(__name__)

TROUBLE_PAUSE_S = 5.0
"""How long nothing new is begun after the store or the engine failed as a whole."""

LONGEST_NAP_S = 30.0
"""How late an image that an earlier run postponed may be begun: nothing in memory knows its time."""

_IN_HAND_A_DOWNLOAD = 3
# Room for three photographs as they come from a telephone. What waits are files near the largest size allowed, and
# previews, whose size nobody tells beforehand.
_BYTES_A_DOWNLOAD = 16 * 2**20

_OUTCOMES = {
    Forget: "gone",
    Leave: "returned",
    Park: "parked",
    Postpone: "postponed",
}


class Indexer:
    """Turns accepted references into remembered images.

    The queue is the store's table of pending images. There are never more than `concurrency` downloads at a time, nor
    more than three times as many images in hand, so that the model has a batch to look at while the next ones come.
    Their files have at most 16 MiB for each download together, but for one alone that is larger.
    An image that fails is tried again after growing pauses and then parked; none of them stops the loop. `on_finished`
    hears of each image that became searchable for the first time, at most once; `on_forgotten` is called after
    whatever deleted at least one.
    """

    def __init__(
        self,
        store: ImageStore,
        engine: Engine,
        tagger: Tagger,
        index: VectorSearch,
        fetch: Fetch,
        channels: ChannelSettings,
        *,
        on_finished: OnFinished | None = None,
        on_forgotten: Callable[[], None] | None = None,
        concurrency: int = 8,
        retry: RetryPolicy | None = None,
        clock: Clock = utc_now,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._engine = engine
        self._index = index
        self._retry = retry or RetryPolicy()
        self._clock = clock
        self._on_forgotten = on_forgotten
        self._memory = asyncio.Lock()
        self._fetch = fetch
        self._downloading = asyncio.Semaphore(concurrency)
        self._reader = ImageReader(store, engine, self._fetch_in_turn, ByteBudget(_BYTES_A_DOWNLOAD * concurrency))
        room = _IN_HAND_A_DOWNLOAD * concurrency
        self._writer = Writer(store, engine, tagger, channels, index, self._memory, room)
        self._announcer = Announcer(on_finished)
        self._concurrency = concurrency
        self._in_hand: dict[int, asyncio.Task[None]] = {}
        self._owned: list[asyncio.Task[None]] = []
        self._waker = Waker(sleep)
        self._idle = asyncio.Event()
        self._retries: list[datetime] = []
        self._trouble = False
        self._requeued = False

    async def start(self) -> None:
        """Begins with what was pending, and queues again what another model has seen. The engine has been started."""
        # By then what a killed process had just begun is due again.
        heapq.heappush(self._retries, self._clock() + timedelta(seconds=self._retry.pause(0, 1.0)))
        runs: list[Callable[[], Coroutine[None, None, None]]]
        runs = [self._requeue, self._run, self._writer.run, self._announcer.run]
        self._owned = [asyncio.create_task(run(), name=f"indexer {run.__qualname__}") for run in runs]

    async def accept(self, refs: Sequence[ImageRef]) -> list[Image]:
        """Remembers that these images exist; those not known before come back, pending and committed."""
        if not refs:
            return []
        images = await self._store.accept(refs)
        if images:
            IMAGES_ACCEPTED.inc(len(images))
            self._idle.clear()
            self._waker.wake()
        return images

    async def forget_messages(self, message_ids: Sequence[int]) -> list[int]:
        """Deletes for good, like every `forget_…`, also what is being read now. Gives the deleted images' ids."""
        return await self._forget(lambda: self._store.forget_messages(message_ids))

    async def forget_attachments(self, message_id: int, attachment_ids: Sequence[int]) -> list[int]:
        return await self._forget(lambda: self._store.forget_attachments(message_id, attachment_ids))

    async def forget_channel(self, channel_id: int) -> list[int]:
        """The channel and every thread under it."""
        return await self._forget(lambda: self._store.forget_channel(channel_id))

    async def forget_author(self, guild_id: int, author_id: int, *, up_to_message: int | None = None) -> list[int]:
        """All of a member's images in a server. up_to_message: nothing up to it comes back; by default, up to now."""
        return await self._forget(lambda: self._store.forget_author(guild_id, author_id, up_to_message=up_to_message))

    async def forget_guild(self, guild_id: int) -> list[int]:
        async with self._memory:
            gone = list(await self._store.forget_guild(guild_id))
            self._index.drop(guild_id)
        log.info("guild %d forgotten with %d images", guild_id, len(gone))
        self._tell_forgotten(gone)
        return gone

    @property
    def in_hand(self) -> int:
        """How many images are being worked on."""
        return len(self._in_hand)

    async def settled(self) -> None:
        """Waits until nothing is due, in hand or to be announced. What waits for a later attempt does not count."""
        await self._idle.wait()
        await self._announcer.all_said()

    async def close(self) -> None:
        """Stops. What is not finished stays pending for the next start. Idempotent."""
        begun = list(self._in_hand)
        tasks = [*self._owned, *self._in_hand.values()]
        self._owned = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._let_go(begun)

    async def _let_go(self, begun: Sequence[int]) -> None:
        if not begun:
            return
        try:
            await self._store.release(begun)
        except StoreError:
            log.exception("%d images that were under way lose an attempt", len(begun))

    async def _requeue(self) -> None:
        """Beside everything else, since a million images take half a minute. Nothing depends on it: what another
        model read is not found, queued or not. What is ready again just as it is re-read keeps what it has.
        """
        for failures in count():
            try:
                stale = await self._store.requeue_for_model(self._engine.card.key)
                break
            except Exception:  # what is queued is queued; the rest is found again
                log.exception("what another model has read could not all be queued, and is tried again")
                await self._waker.sleep(self._retry.pause(failures, random.random()))  # noqa: S311 - as below
        if stale:
            log.info("%d images are read again by model %s", stale, self._engine.card.key)
        self._requeued = True
        self._waker.wake()

    async def _run(self) -> None:
        while True:
            self._waker.reset()
            if self._trouble:
                self._trouble = False
                await self._waker.sleep(TROUBLE_PAUSE_S)
            try:
                begun = await self._begin_due()
            except Exception:  # the store may be locked or full; the images are safe in it
                log.exception("the images that are due could not be read")
                self._trouble = True
                continue
            if not begun:
                self._idle_if_done()
                await self._waker.nap(self._until_next_retry())

    async def _begin_due(self) -> int:
        """Takes up enough for every download once more, as soon as there is room for so many: one question to the store
        and one write for many images, and nobody waits for it.
        """
        room = _IN_HAND_A_DOWNLOAD * self._concurrency - len(self._in_hand)
        if room < self._concurrency:
            return 0
        due = await self._store.due(room, self._clock(), exclude=self._in_hand.keys())
        spent = [image for image in due if image.attempts >= self._retry.attempts]
        for image in spent:
            log.warning("image %d is given up: its attempts never ended", image.id)
            await self._store.park(image.id, INTERRUPTED)
            IMAGE_ATTEMPTS.labels("parked").inc()
        fresh = [image for image in due if image.attempts < self._retry.attempts]
        await self._store.begin({image.id: self._next_attempt(image) for image in fresh})
        # Nobody else begins images, so what was not in hand when the store was asked still is not.
        for image in fresh:
            self._in_hand[image.id] = asyncio.create_task(self._work(image), name=f"image {image.id}")
        return len(due)

    def _next_attempt(self, image: Image) -> datetime:
        """When to try again should this attempt end with the process."""
        return self._clock() + timedelta(seconds=self._retry.pause(image.attempts, random.random()))  # noqa: S311 - as below

    def _idle_if_done(self) -> None:
        if self._requeued and not self._in_hand and not self._waker.awake:
            self._idle.set()

    def _until_next_retry(self) -> float:
        now = self._clock()
        while self._retries and self._retries[0] <= now:
            heapq.heappop(self._retries)
        if not self._retries:
            return LONGEST_NAP_S
        return min((self._retries[0] - now).total_seconds(), LONGEST_NAP_S)

    async def _work(self, image: Image) -> None:
        try:
            await self._finish(image)
        except Exception as error:  # one image that fails must not stop the others
            await self._fail(image, error)
        finally:
            self._in_hand.pop(image.id, None)
            self._waker.wake()

    async def _finish(self, image: Image) -> None:
        finished = await self._reader.read(image)
        ready = await self._writer.write(image, finished)
        if ready is None:
            log.info("image %d was forgotten, or is ready again, while it was read", image.id)
            IMAGE_ATTEMPTS.labels("gone").inc()
            return
        log.info("image %d is ready", image.id)
        IMAGE_ATTEMPTS.labels("finished").inc()
        if not image.reread:
            self._announcer.announce(ready)

    async def _fetch_in_turn(self, ref: ImageRef, make_room: MakeRoom) -> bytes:
        async with self._downloading:
            return await self._fetch(ref, make_room)

    async def _fail(self, image: Image, error: Exception) -> None:
        verdict = self._retry.verdict(error, image.attempts, self._clock(), random.random())  # noqa: S311 - spreads load
        try:
            await self._carry_out(image, verdict, error)
            IMAGE_ATTEMPTS.labels(_OUTCOMES[type(verdict)]).inc()
        except Exception:  # still pending in the store, so it comes back by itself
            log.exception("the failure of image %d could not be recorded", image.id)
            self._trouble = True

    async def _carry_out(self, image: Image, verdict: Verdict, error: Exception) -> None:
        match verdict:
            case Forget():
                await self.forget_attachments(image.ref.message_id, [image.ref.attachment_id])
            case Leave():
                log.warning("image %d was left as it was: %s", image.id, type(error).__name__)
                self._trouble = True
                await self._store.release([image.id])
            case Park(reason):
                log.warning("image %d is given up: %s", image.id, reason)
                await self._store.park(image.id, reason)
            case Postpone(until, reason):
                unexpected = reason.startswith("unexpected")
                log.warning(
                    "image %d waits for another try: %s", image.id, reason, exc_info=error if unexpected else None
                )
                await self._store.postpone(image.id, until, reason)
                heapq.heappush(self._retries, until)

    async def _forget(self, delete: Callable[[], Awaitable[Sequence[int]]]) -> list[int]:
        async with self._memory:
            gone = list(await delete())
            await self._index.discard(gone)
        if gone:
            log.info("%d images forgotten", len(gone))
        self._tell_forgotten(gone)
        return gone

    def _tell_forgotten(self, gone: Sequence[int]) -> None:
        if not gone:
            return
        IMAGES_FORGOTTEN.inc(len(gone))
        if self._on_forgotten is not None:
            self._on_forgotten()
