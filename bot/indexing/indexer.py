"""Indexer: takes accepted images to ready or parked. The queue is the store's table of pending images."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
from cachetools import TTLCache

from bot.errors import StoreError, StoreUnusable
from bot.indexing.downloads import STALL_S, FairDownloads
from bot.indexing.registry import BatchWriter, ImageRegistry
from bot.indexing.retry import Gone, Park, Postpone, Release, RetryPolicy, until_stored
from bot.indexing.tagger import Tagger
from bot.indexing.worker import Fetch, ImageWorker
from bot.logging import get_logger
from bot.models import BACKGROUND, REREAD_OWNER, Image, ImageRef, ImageState, Source, TaggingMode, utc_now
from bot.monitoring.metrics import EMBEDDINGS_DAMAGED, IMAGE_ATTEMPTS, IMAGES_ACCEPTED, RECENT_IMAGES
from bot.protocols import Engine
from bot.store.images import INTERRUPTED, PAGE, Finished, ImageStore
from clipcore.fair_places import FairPlaces, Owner, Turns

log = get_logger(__name__)

_IMAGES_PER_DOWNLOAD = 3
_STALLED_DOWNLOADS = 48  # that go on without a place; two thirds of them by one author
_MAX_WITHOUT_PLACE = 1000  # an image that waits for its guild's labels takes a few KiB
_LONGEST_WAIT_S = 600.0  # the system's clock may be set meanwhile


@dataclass(frozen=True, slots=True)
class IndexedMessage:
    """images: those of one message that were indexed for the first time. mode: the tagging mode of its channel."""

    images: tuple[Image, ...]
    mode: TaggingMode


class Indexer:
    """Indexes images in the background, from `start` to `close`.

    At most `concurrency` images of one author are downloaded at a time, and at most three times as many are in
    progress, so that the model has a batch to encode while the next images arrive. There are half as many places again
    for others. New images begin at once where there is room; the rest waits in the store. Servers take turns, and
    within a server its authors do. An image leaves its place to others when its download stalls, and when it is encoded
    and waits for its guild's labels, which may take minutes to prepare.

    An image that fails is tried again after growing pauses and then parked; none of them stops the others.
    on_message_indexed: called when none of a message's images is in its first attempt any more, and again for images
    that succeed later. trouble_pause_s: how long nothing new begins after the store or the engine failed as a whole.
    stall_s: when a download has stalled, see `FairDownloads`.
    """

    def __init__(
        self,
        store: ImageStore,
        engine: Engine,
        fetch: Fetch,
        tagger: Tagger,
        registry: ImageRegistry,
        *,
        on_message_indexed: Callable[[IndexedMessage], None] | None = None,
        concurrency: int = 8,
        retry: RetryPolicy | None = None,
        trouble_pause_s: float = 5.0,
        stall_s: float = STALL_S,
    ) -> None:
        self._store = store
        self._engine = engine
        self._tagger = tagger
        self._registry = registry
        self._on_message_indexed = on_message_indexed
        self._concurrency = concurrency
        self._places = FairPlaces(_with_reserve(_IMAGES_PER_DOWNLOAD * concurrency))
        downloads = FairDownloads(_with_reserve(concurrency), stalled=_STALLED_DOWNLOADS, stall_s=stall_s)
        self._new_worker = partial(ImageWorker, store, fetch=fetch, downloads=downloads)
        self._new_writer = partial(BatchWriter, registry, self._places.free)
        self._retry = retry or RetryPolicy()
        self._trouble_pause_s = trouble_pause_s
        self._tasks: list[asyncio.Task[None]] = []
        self._in_progress: dict[int, asyncio.Task[None]] = {}
        self._with_place: set[int] = set()  # those of them that have not left it to others
        self._beginning: list[int] = []  # images whose attempt the store is counting just now
        self._new: list[Image] = []  # accepted, and about to begin; they have places
        self._queueing = asyncio.Lock()  # so that no image is both in `_new` and begun from the store
        self._damaged: set[int] = set()  # images whose embedding the store found damaged
        self._unread = True  # anybody may have images in the store, beside those known here:
        self._due = Turns()  # those who have due ones
        self._later: dict[Owner, datetime] = {}  # when the next one is due
        self._messages = _Messages()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._trouble = False
        self._requeued = False
        self.requeued = asyncio.Event()
        """Set once images that only another model has encoded are pending."""

    def use(self, engine: Engine, tagger: Tagger) -> None:
        """From the next start on."""
        self._engine, self._tagger = engine, tagger

    async def start(self) -> None:
        """Begins with the images that are pending, and requeues those of another model. The engine has started."""
        self._worker, self._writer = self._new_worker(engine=self._engine), self._new_writer()
        self._requeued, self._unread = False, True
        self.requeued.clear()
        runs = {"requeue images": self._requeue(), "begin images": self._run(), "commit images": self._writer.run()}
        self._tasks = [asyncio.create_task(run, name=name) for name, run in runs.items()]

    async def accept(self, refs: Sequence[ImageRef], *, backfilled: bool = False) -> list[Image]:
        """Commits new images as pending and returns them; known and forgotten ones are ignored.

        backfilled: they get the places that others leave, and are not announced.
        """
        refs = self._registry.acceptable(refs)
        if not refs:
            return []
        async with self._queueing:
            images = await self._store.accept(refs, backfilled=backfilled)
            for image in images:
                at_once = not backfilled and not self._unread and image.owner not in self._due
                if at_once and self._places.take(image.owner):
                    self._new.append(image)
                else:
                    self._due.add(image.owner)
        if images:
            IMAGES_ACCEPTED.inc(len(images))
            self._messages.add(images)
            self._idle.clear()
            self._wake.set()
        return images

    async def retry_forbidden(self, channel_ids: Collection[int]) -> None:
        """The bot may read these channels and their threads: tries the images again that it might not."""
        if images := await self._store.requeue_forbidden(channel_ids):
            log.info("images are tried again: the right to read them is back", images=images)
            self._unread = True
            self._idle.clear()
            self._wake.set()

    def repair(self, image_ids: Sequence[int]) -> None:
        """Encodes these images again, whose stored embeddings are damaged."""
        self._damaged.update(image_ids)
        self._idle.clear()
        self._wake.set()

    @property
    def in_progress(self) -> int:
        """How many images are being downloaded, encoded or committed."""
        return len(self._in_progress)

    async def settled(self) -> None:
        """Waits until no image is due or in progress. Those that wait for a later attempt do not count."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stops until `start`. Images in progress stay pending, at no cost of an attempt. Idempotent."""
        interrupted = list(self._in_progress)
        tasks = [*self._tasks, *self._in_progress.values()]
        self._tasks = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        interrupted += self._beginning
        self._beginning = []
        if interrupted:
            try:
                await self._store.release(interrupted)
            except StoreError:
                log.exception(
                    "images in progress could not be released; each is charged an attempt", images=interrupted
                )

    async def _requeue(self) -> None:
        """Requeues what another model encoded, and what a model failed on. A million images take half a minute, and
        nothing depends on it: searches find the current model's embeddings only.
        """
        try:
            if images := await until_stored(partial(self._store.requeue_for_model, self._engine.card.key)):
                log.info("images are encoded again by another model", images=images, model=self._engine.card.key)
            self.requeued.set()
        except Exception:
            log.exception("images could not be requeued for the model; the next start tries again")
        self._requeued = self._unread = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._trouble:
                self._trouble = False
                await asyncio.sleep(self._trouble_pause_s)
            try:
                begun = await self._begin()
            except Exception:  # the store may be locked or full; the images are safe in it
                log.exception("pending images could not be begun; trying again")
                self._trouble = self._unread = True
                continue
            if not begun:
                await self._wait()

    async def _begin(self) -> bool:
        """Begins as many images as there is room for; whether to look for more at once."""
        while self._damaged:
            await self._requeue_damaged(tuple(self._damaged)[:PAGE])
        async with self._queueing:
            images, self._new = self._new, []
            taken = Counter(image.owner for image in images)  # places, of which those of images that begin are kept
            try:
                await self._read_owners()
                wanted = self._share_out()
                taken += wanted
                if wanted:
                    images += await self._from_store(wanted, exclude=[image.id for image in images])
                for image in await self._begin_attempts(images):
                    self._in_progress[image.id] = asyncio.create_task(self._process(image), name=f"image {image.id}")
                    self._with_place.add(image.id)
                    taken[image.owner] -= 1
                self._beginning = []
            finally:
                for owner in taken.elements():
                    self._places.release(owner)
        return bool(taken)

    async def _begin_attempts(self, images: Sequence[Image]) -> list[Image]:
        """Counts an attempt for each of these. Returns those that had attempts left."""
        for image in (image for image in images if image.attempts >= self._retry.attempts):
            log.warning("image parked: each of its attempts ended with the process", image_id=image.id)
            await self._store.park(image.id, INTERRUPTED)
            IMAGE_ATTEMPTS.labels("parked").inc()
        begun = [image for image in images if image.attempts < self._retry.attempts]
        if begun:
            # Should the process end during the attempt, this is when the image is due again.
            due_again = {one.id: utc_now() + timedelta(seconds=self._pause(one.attempts)) for one in begun}
            # Closing may cancel this after the commit, and must then release these images, too.
            self._beginning = list(due_again)
            try:
                await self._store.begin(due_again)
            except Exception:
                self._beginning = []
                raise
        return begun

    async def _read_owners(self) -> None:
        if self._unread:
            self._unread = False
            for owner, moment in (await self._store.next_attempts(exclude=tuple(self._in_progress))).items():
                self._due_by(owner, moment)
        now = utc_now()
        for owner in [owner for owner, moment in self._later.items() if moment <= now]:
            del self._later[owner]
            self._due.add(owner)

    def _share_out(self) -> Counter[Owner]:
        """Takes places for due images, by turns; for those that can wait the places that new ones leave.

        Images are begun many at a time, since that takes a query and a transaction: as many as can be downloaded at
        once. Only the first one of an author begins alone.
        """
        wanted: Counter[Owner] = Counter()
        take = self._places.take
        while self._places.free:
            owner = self._due.next(lambda one: one[0] != BACKGROUND and take(one)) or self._due.next(take)
            if owner is None:
                break
            wanted[owner] += 1
        if wanted.total() < self._concurrency and all(self._places.held(one) > wanted[one] for one in wanted):
            for owner in wanted.elements():
                self._places.release(owner)
            return Counter()
        return wanted

    async def _requeue_damaged(self, image_ids: tuple[int, ...]) -> None:
        try:
            requeued = await self._store.requeue_damaged(image_ids)
        except StoreUnusable:  # a damaged page, most likely, which must not stop the others
            log.exception("damaged embeddings cannot be deleted; they are left out of searches", images=image_ids)
            requeued = []
        self._damaged.difference_update(image_ids)
        self._due.add(REREAD_OWNER)
        EMBEDDINGS_DAMAGED.inc(len(requeued))
        if requeued:
            log.error("damaged embeddings deleted; their images are encoded again", images=requeued)

    async def _from_store(self, wanted: Counter[Owner], exclude: Sequence[int]) -> list[Image]:
        for owner in wanted:  # an attempt that ends during the query may bring it back
            self._due.discard(owner)
        images, later = await self._store.due(wanted, utc_now(), exclude=(*self._in_progress, *exclude))
        for owner in wanted:
            if owner not in later:
                self._due.add(owner)
            elif (moment := later[owner]) is not None:
                self._due_by(owner, moment)
        self._messages.add([image for image in images if image.attempts == 0])
        return images

    def _due_by(self, owner: Owner, moment: datetime) -> None:
        self._later[owner] = min(moment, self._later.get(owner, moment))

    async def _wait(self) -> None:
        """Until images are accepted, one ends, or the next one is due."""
        busy = self._in_progress or self._new or self._damaged or self._unread or self._due or self._wake.is_set()
        if self._requeued and not busy:
            self._idle.set()
        seconds = _LONGEST_WAIT_S
        if self._later:
            seconds = min(seconds, max(0.0, (min(self._later.values()) - utc_now()).total_seconds()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _process(self, image: Image) -> None:
        indexed, mode, counts = None, TaggingMode.OFF, True
        try:
            encoded = await self._worker.encode(image, partial(self._leave_place, image))
            # The labels may take minutes to prepare, and what is encoded holds next to no memory.
            self._leave_place(image)
            tagged = await self._tagger.tag(image.ref.channel, encoded.embedding[np.newaxis])
            finished, mode = replace(encoded, tags=tagged.tags[0], labels_version=tagged.labels_version), tagged.mode
            if await self._writer.write(image, finished):
                indexed = _ready(image, finished)
                log.info("image indexed", image_id=image.id)
            else:
                log.info("image was deleted while it was indexed", image_id=image.id)
            IMAGE_ATTEMPTS.labels("gone" if indexed is None else "finished").inc()
            if indexed is not None:
                RECENT_IMAGES.note()
        except Exception as error:  # one image that fails must not stop the others
            counts = await self._fail(image, error)
        finally:
            del self._in_progress[image.id]
            self._end_place(image)
        if counts:
            message = self._messages.end(image, indexed if _is_announced(image) else None)
            if message and self._on_message_indexed is not None:
                self._on_message_indexed(IndexedMessage(tuple(message), mode))

    def _leave_place(self, image: Image) -> None:
        if len(self._in_progress) - len(self._with_place) < _MAX_WITHOUT_PLACE:
            self._end_place(image)

    def _end_place(self, image: Image) -> None:
        if image.id in self._with_place:
            self._with_place.discard(image.id)
            self._places.release(image.owner)
        self._wake.set()

    async def _fail(self, image: Image, error: Exception) -> bool:
        """Whether the attempt counts; else it is repeated as if it had not been made."""
        verdict = self._retry.verdict(error, image.attempts, utc_now(), random.random())  # noqa: S311 - spreads load
        try:
            match verdict:
                case Gone():
                    await self._registry.forget_images(image.ref.message_id, [image.ref.key])
                    outcome = "gone"
                case Release():
                    log.warning("image released at no cost", image_id=image.id, reason=type(error).__name__)
                    self._trouble = True
                    await self._store.release([image.id])
                    self._due.add(image.owner)
                    outcome = "returned"
                case Park(reason):
                    log.warning("image parked", image_id=image.id, reason=reason)
                    await self._store.park(image.id, reason)
                    outcome = "parked"
                case Postpone(until, reason):
                    unexpected = error if reason.startswith("unexpected") else None
                    log.warning("image postponed", image_id=image.id, reason=reason, exc_info=unexpected)
                    await self._store.postpone(image.id, until, reason)
                    self._due_by(image.owner, until)
                    outcome = "postponed"
            IMAGE_ATTEMPTS.labels(outcome).inc()
            return not isinstance(verdict, Release)
        except Exception:  # still pending in the store, so it is tried again
            log.exception("the failure of an image could not be recorded", image_id=image.id)
            self._trouble = self._unread = True
            return False

    def _pause(self, attempts: int) -> float:
        return self._retry.pause(attempts, random.random())  # noqa: S311 - spreads load


@dataclass(slots=True)
class _Message:
    """open: ids of its images whose first attempt has not ended. indexed: those that succeeded."""

    open: set[int] = field(default_factory=set)
    indexed: list[Image] = field(default_factory=list)


class _Messages:
    """The messages whose images are in their first attempt, or waiting for it."""

    def __init__(self) -> None:
        # An image that is deleted before its turn never ends, so its message expires.
        self._messages: TTLCache[int, _Message] = TTLCache(4096, ttl=600.0)

    def add(self, images: Sequence[Image]) -> None:
        for image in images:
            if _is_announced(image):
                self._messages.setdefault(image.ref.message_id, _Message()).open.add(image.id)

    def end(self, image: Image, indexed: Image | None) -> list[Image]:
        """An attempt ended. Returns the message's indexed images once none is left in its first attempt."""
        message = self._messages.get(image.ref.message_id) or _Message()
        message.open.discard(image.id)
        if indexed is not None:
            message.indexed.append(indexed)
        if message.open:
            return []
        self._messages.pop(image.ref.message_id, None)
        return message.indexed


def _is_announced(image: Image) -> bool:
    """Whether anybody is told of it once it is indexed: not of one that was indexed before, nor of a backfill's, nor of
    what is posted as a part of talk.
    """
    return not (image.reread or image.backfilled or image.ref.source in (Source.STICKER, Source.EMOJI))


def _with_reserve(places: int) -> int:
    """Places of which `FairPlaces` gives so many to one owner alone."""
    return math.ceil(places * 3 / 2)


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
