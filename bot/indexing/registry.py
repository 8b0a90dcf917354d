"""Commits indexed images, in batches, and forgets deleted ones, in the store and in the vector index alike."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from bot.errors import StoreBusy, StoreError, StoreUnusable
from bot.indexing.deletions import (
    Covered,
    DeletionJournal,
    ExcludeImages,
    ForgetAllBut,
    ForgetAuthor,
    ForgetChannel,
    ForgetGuild,
    ForgetImages,
    ForgetMessages,
    ForgetUpTo,
    Obligation,
    OptOut,
    ReadmitGuild,
    covered_by,
    supersedes,
)
from bot.indexing.retry import RetryPolicy
from bot.indexing.tagger import Tagger
from bot.logging import get_logger, outline
from bot.models import Image, ImageKey, ImageRef
from bot.monitoring.metrics import IMAGES_FORGOTTEN
from bot.protocols import IndexedEmbedding, VectorSearch
from bot.store.embeddings import Model
from bot.store.images import Finished, ImageStore

log = get_logger(__name__)

MAX_FAILURES = 10
"""Deletions that fail before the others wait for the next attempt."""


class ImageRegistry:
    """Holds one lock while the store and the vector index change, so that no image is added to the index after it was
    removed from it. A deletion therefore wins over work in progress, at whatever moment it comes.

    A deletion is an obligation: from the call of a `forget_…` method on, `hides` tells that its images must not be
    shown, and it is tried until the store has done it. `forget_…` returns the ids of the deleted images; None where the
    store did not manage within `patience_s`: then the journal keeps the obligation over a restart. on_forgotten: called
    when images were deleted.
    """

    def __init__(
        self,
        store: ImageStore,
        index: VectorSearch,
        tagger: Tagger,
        model: Model,
        journal: DeletionJournal,
        *,
        on_forgotten: Callable[[], None] | None = None,
        patience_s: float = 2.0,
        backoff: RetryPolicy | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._tagger = tagger
        self._model = model
        self._journal = journal
        self._on_forgotten = on_forgotten
        self._patience_s = patience_s
        self._backoff = backoff or RetryPolicy(first_pause_s=1.0, factor=2.0, longest_pause_s=60.0)
        self._lock = asyncio.Lock()
        self._owed: dict[Obligation, asyncio.Future[list[int]]] = {}
        self._covered: Covered | None = None  # by those owed
        self._worker: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._closed = False

    async def start(self) -> None:
        """Takes up what an earlier run left. Call it before anything is accepted or shown. Raises StartupError."""
        if left := [self._owe(one) for one in await self._journal.read()]:
            await asyncio.wait(left, timeout=self._patience_s)

    async def close(self) -> None:
        """Stops. The journal keeps what is owed. Idempotent."""
        self._closed = True
        await self._keep()  # at once: what the worker is at may take longer than a shutdown may
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self._keep()
        for done in self._owed.values():
            done.cancel()

    async def use(self, index: VectorSearch, tagger: Tagger, model: Model) -> None:
        """From now on, for what is committed, verified and forgotten."""
        async with self._lock:
            self._index, self._tagger, self._model = index, tagger, model

    @property
    def owed(self) -> int:
        """How many deletions the store has not done yet."""
        return sum(not isinstance(one, ReadmitGuild) for one in self._owed)

    def hides(self, ref: ImageRef) -> bool:
        """Whether this image is to be deleted as soon as the store can."""
        if self._covered is None:
            self._covered = covered_by(self._owed)
        return ref in self._covered

    def acceptable(self, refs: Sequence[ImageRef]) -> list[ImageRef]:
        """Those that are not to be deleted. Raises StoreBusy where some are to be stored, but not before the store has
        done an older deletion: the guild invited the bot again, or an edit brought a link's preview or an emoji back.
        """
        hidden = {ref for ref in refs if self.hides(ref)}
        if any(ReadmitGuild(ref.channel.guild_id) in self._owed or ref.source.returns for ref in hidden):
            raise StoreBusy("The database has yet to do an older deletion.")
        return [ref for ref in refs if ref not in hidden]

    async def commit(self, batch: Sequence[tuple[Image, Finished]]) -> set[int]:
        """Makes these images ready and searchable. Returns their ids; the others were deleted meanwhile."""
        async with self._lock:
            left = [(image, finished) for image, finished in batch if not self.hides(image.ref)]
            taken = await self._store.finish([finished for _, finished in left], self._model)
            rows: defaultdict[int, list[IndexedEmbedding]] = defaultdict(list)
            for image, finished in left:
                if image.id in taken:
                    channel = image.ref.channel
                    row = IndexedEmbedding(image.id, channel.channel_id, finished.embedding, finished.more)
                    rows[channel.guild_id].append(row)
            for guild_id, added in rows.items():
                await self._index.add(guild_id, added)
            return taken

    async def verify(self, guild_id: int, image_ids: Sequence[int]) -> None:
        """These images of a restored backup exist in Discord: makes them searchable."""
        async with self._lock:
            page = await self._store.verify(image_ids, self._model.key)
            if page is not None:
                firsts = np.flatnonzero(page.frames == 0)
                of_each = zip(firsts, np.split(page.embeddings, firsts[1:]), strict=True)
                rows = [
                    IndexedEmbedding(int(page.ids[at]), int(page.channel_ids[at]), frames[0], tuple(frames[1:]))
                    for at, frames in of_each
                ]
                await self._index.add(guild_id, rows)

    async def forget_messages(self, message_ids: Collection[int]) -> list[int] | None:
        return await self._forget(ForgetMessages(tuple(sorted(message_ids))))

    async def forget_images(self, message_id: int, keys: Collection[ImageKey]) -> list[int] | None:
        return await self._forget(ForgetImages(message_id, tuple(sorted(keys))))

    async def forget_all_but(self, message_id: int, kept: Collection[ImageKey]) -> list[int] | None:
        """The images that an edit removed. kept: the keys of those that the message still carries."""
        return await self._forget(ForgetAllBut(message_id, tuple(sorted(kept))))

    async def forget_channel(self, channel_id: int) -> list[int] | None:
        """The channel and every thread under it."""
        return await self._forget(ForgetChannel(channel_id))

    async def forget_author(self, guild_id: int, author_id: int, up_to_message: int) -> list[int] | None:
        """A member's images in a guild. Nothing up to this message comes back; later ones are indexed.

        Raises StoreUnusable where neither the store nor the journal takes it, so that it may not outlast this process.
        """
        return await self._forget_for_good(ForgetAuthor(guild_id, author_id, up_to_message))

    async def opt_out(self, author_id: int) -> list[int] | None:
        """Everything about a member, in all guilds, and what they will post. Raises as `forget_author`."""
        return await self._forget_for_good(OptOut(author_id))

    async def opt_in(self, author_id: int, until: int) -> None:
        """Takes an opt-out back: what the member posts after this message is indexed. Raises StoreError."""
        if OptOut(author_id) in self._owed:
            raise StoreBusy("The database has yet to do this member's deletion.")
        await self._store.opt_in(author_id, until)

    async def forget_up_to(
        self, guild_id: int, channel_ids: Collection[int], up_to_message: int, *, for_good: bool
    ) -> list[int] | None:
        """The images in messages up to this one, of these channels and their threads, or, where none are named, of the
        guild. for_good: a later backfill does not bring them back either; raises as `forget_author`.
        """
        what = ForgetUpTo(guild_id, tuple(sorted(channel_ids)), up_to_message, for_good)
        return await (self._forget_for_good(what) if for_good else self._forget(what))

    async def exclude_images(self, guild_id: int, message_id: int, keys: Collection[ImageKey] = ()) -> list[int] | None:
        """For good, of a message that still exists; all of its images, where no keys are given. Raises as
        `forget_author`.
        """
        return await self._forget_for_good(ExcludeImages(guild_id, message_id, tuple(sorted(keys))))

    async def forget_guild(self, guild_id: int) -> list[int] | None:
        return await self._forget(ForgetGuild(guild_id))

    async def readmit_guild(self, guild_id: int) -> None:
        """The bot was invited again: images posted from now on are accepted. Waits until the store has noted it, after
        it has forgotten what was posted before.
        """
        await asyncio.shield(self._owe(ReadmitGuild(guild_id)))

    async def _forget_for_good(self, what: Obligation) -> list[int] | None:
        """At somebody's request."""
        forgotten = await self._forget(what)
        if what in self._owed and what not in self._journal:
            raise StoreUnusable("A request to forget could not be written down.")
        return forgotten

    async def _forget(self, what: Obligation) -> list[int] | None:
        done = self._owe(what)
        await asyncio.wait({done}, timeout=self._patience_s)
        if done.done() and not done.cancelled():
            return done.result()
        await self._keep()
        return None

    def _owe(self, what: Obligation) -> asyncio.Future[list[int]]:
        """The future has the ids of the deleted images."""
        for old in [old for old in self._owed if supersedes(what, old)]:
            self._settle(old, [])
        done = self._owed.setdefault(what, asyncio.get_running_loop().create_future())
        self._covered = None
        self._more.set()
        if self._worker is None and not self._closed:
            self._worker = asyncio.create_task(self._work(), name="delete")
        return done

    def _settle(self, what: Obligation, forgotten: list[int]) -> None:
        done = self._owed.pop(what, None)
        self._covered = None
        if done is not None and not done.done():
            done.set_result(forgotten)

    async def _work(self) -> None:
        """Does what is owed until nothing is left, neither in memory nor in the journal."""
        failures = 0
        while self._owed or self._journal:
            self._more.clear()
            trouble = await self._do_all()
            kept = await self._keep() if trouble or self._journal else True
            if trouble or not kept:
                log.warning(
                    "deletions wait for the store or their journal; until they are done, their images are not shown",
                    deletions=self.owed,
                    error=trouble and outline(trouble),
                )
                pause = self._backoff.pause(failures, random.random())  # noqa: S311 - spreads load
                failures += 1
                await asyncio.sleep(min(pause, self._backoff.first_pause_s))  # however many arrive meanwhile
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._more.wait()
            elif failures:
                log.info("the store works again; the deletions that waited for it are done")
                failures = 0
        self._worker = None

    async def _do_all(self) -> Exception | None:
        """Tries everything once; what went wrong. One deletion may meet a damaged page, and others not, so those that
        fail come last the next time. A store that is locked or full fails them all, so a few failures are enough.
        """
        failed: list[Exception] = []
        for what in [*self._owed]:
            if what not in self._owed:
                continue
            if isinstance(what, ReadmitGuild) and self._is_left(what.guild_id):
                continue  # in the journal it would delete the guild's new images after a restart
            try:
                await self._do(what)
            except Exception as error:  # it stays owed
                failed.append(error)
                if what in self._owed:
                    self._owed[what] = self._owed.pop(what)
                if isinstance(error, StoreBusy) or len(failed) == MAX_FAILURES:
                    break
        return failed[-1] if failed else None

    def _is_left(self, guild_id: int) -> bool:
        return ForgetGuild(guild_id) in self._owed or ForgetGuild(guild_id) in self._journal

    async def _do(self, what: Obligation) -> None:
        async with self._lock:
            forgotten = await self._delete(what)
        if isinstance(what, ForgetGuild):
            await self._tagger.invalidate(what.guild_id)
            log.info("guild forgotten", guild_id=what.guild_id, images=len(forgotten))
        elif forgotten:
            log.info("images forgotten", images=len(forgotten))
        if forgotten:
            IMAGES_FORGOTTEN.inc(len(forgotten))
            if self._on_forgotten is not None:
                self._on_forgotten()
        self._settle(what, forgotten)
        if self._journal:
            await self._keep()

    async def _delete(self, what: Obligation) -> list[int]:
        match what:
            case ForgetMessages(ids):
                forgotten = await self._store.forget_messages(ids)
            case ForgetImages(message_id, keys):
                forgotten = await self._store.forget_images(message_id, keys)
            case ForgetAllBut(message_id, kept):
                stored = [image.ref for image in await self._store.by_message(message_id)]
                gone = [ref.key for ref in stored if ref.key not in kept]
                forgotten = await self._store.forget_images(message_id, gone) if gone else []
            case ForgetChannel(channel_id):
                forgotten = await self._store.forget_channel(channel_id)
            case ForgetAuthor(guild_id, author_id, up_to_message):
                forgotten = await self._store.forget_author(guild_id, author_id, up_to_message=up_to_message)
            case OptOut(author_id):
                forgotten = await self._store.opt_out(author_id)
            case ForgetUpTo(guild_id, channel_ids, up_to_message, for_good):
                forgotten = await self._store.forget_up_to(guild_id, channel_ids, up_to_message, for_good=for_good)
            case ExcludeImages(guild_id, message_id, keys):
                forgotten = await self._store.exclude_images(guild_id, message_id, keys)
            case ForgetGuild(guild_id):
                forgotten = await self._store.forget_guild(guild_id)
                self._index.drop(guild_id)
                return forgotten
            case ReadmitGuild(guild_id):
                await self._store.readmit_guild(guild_id)
                return []
        await self._index.discard(forgotten)
        return forgotten

    async def _keep(self) -> bool:
        """Whether the journal holds exactly what is owed."""
        try:
            await self._journal.hold(self._owed)
        except OSError as error:
            log.error(
                "deletions that wait for the store cannot be written down, and a restart would lose them: give the bot "
                "write access to the database's directory, and free some space",
                deletions=self.owed,
                error=type(error).__name__,
            )
            return False
        return True


MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class _Item:
    image: Image
    finished: Finished
    committed: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class BatchWriter:
    """Commits indexed images in batches: those that arrive during a commit form the next batch.

    capacity: images that may wait.
    """

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
