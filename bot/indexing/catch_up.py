"""Catches up on messages that were posted while the bot was away, and never moves a watermark past an unseen one."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from bot.errors import ImageForbidden, ImageGone
from bot.indexing.retry import RetryPolicy
from bot.logging import get_logger
from bot.models import ChannelRef, Image, ImageRef
from bot.store.guilds import ChannelStore

log = get_logger(__name__)

Accept = Callable[[Sequence[ImageRef]], Awaitable[list[Image]]]
"""`Indexer.accept`: commits these images as pending; those not known before are returned."""

History = Callable[[int, int], AsyncIterator[tuple[int, list[ImageRef]]]]
"""history(channel_id, after): every message newer than `after`, oldest first, as (message id, its images).

Raises ImageForbidden or ImageGone where the channel cannot be read, ImageUnreachable where it cannot be read now.
"""

PAGE_MESSAGES = 100
"""Messages of a history that are accepted together: one page of Discord's history, one watermark, one pause."""


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel as Discord describes it now.

    newest: its `last_message_id`, None where nothing was ever posted. Discord may name a message that has been deleted
    since; as a point in time it is still right.
    created: when it was created, as a snowflake. None: its own id says so, except for a thread that was created from a
    message, which has the id of that message, however old the message was.
    """

    channel: ChannelRef
    newest: int | None
    created: int | None = None

    @property
    def created_at(self) -> int:
        return self.channel.channel_id if self.created is None else self.created

    @property
    def present(self) -> int:
        return max(self.newest or 0, self.created_at)


class ChannelState(Enum):
    """HELD: messages may be missing, and the channel is not queued: its guild is not listed yet. BEHIND: queued, to be
    read. READING: its history is being read, or failed to be and waits for the next attempt. LIVE: nothing is missing,
    so live messages move the watermark. UNREADABLE: Discord refused the history.
    """

    HELD = auto()
    BEHIND = auto()
    READING = auto()
    LIVE = auto()
    UNREADABLE = auto()


class ChannelEvent(Enum):
    """SESSION: a new gateway session; messages may have been missed since the last one. LISTED: the channel is named
    in the session. MESSAGE: a live message was accepted. LOST: a live message could not be accepted. READ: the history
    was read to its end. REFUSED: Discord refused it. TURN: the queue reached it.
    """

    SESSION = auto()
    LISTED = auto()
    MESSAGE = auto()
    LOST = auto()
    TURN = auto()
    READ = auto()
    REFUSED = auto()


def transition(state: ChannelState, event: ChannelEvent) -> ChannelState:
    """Only a channel that was read to its end without a new gap becomes LIVE: a gap takes it out of READING."""
    match event, state:
        case ChannelEvent.SESSION, _:
            return ChannelState.HELD
        case (ChannelEvent.LISTED, _) | (ChannelEvent.MESSAGE, ChannelState.HELD):
            return ChannelState.BEHIND
        case ChannelEvent.LOST, ChannelState.HELD | ChannelState.READING | ChannelState.LIVE:
            return ChannelState.BEHIND
        case ChannelEvent.TURN, ChannelState.BEHIND:
            return ChannelState.READING
        case ChannelEvent.READ, ChannelState.READING:
            return ChannelState.LIVE
        case ChannelEvent.REFUSED, ChannelState.READING:
            return ChannelState.UNREADABLE
    return state


class CatchUp:
    """Owns the channels' watermarks, and the one task that reads histories, channel after channel.

    For each new gateway session (a resumed one misses nothing): call `hold` before its first event is handled, `live`
    as the first thing for each message, `begin` for each guild once its channels are known, and `appeared` for each
    channel or thread that is created later. A channel that was never listed is caught up on at its first live message.
    Histories are read politely: one request at a time, a pause after each page, and none where nothing is new.
    """

    def __init__(
        self,
        accept: Accept,
        store: ChannelStore,
        history: History,
        *,
        pause_s: float = 1.0,
        backoff: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """pause_s: seconds after each page of history."""
        self._accept = accept
        self._store = store
        self._history = history
        self._pause_s = pause_s
        self._backoff = backoff or RetryPolicy(first_pause_s=2.0, longest_pause_s=600.0)
        self._sleep = sleep
        self._channels: dict[int, _Channel] = {}
        self._guilds: set[int] = set()  # those listed in this session
        self._listings: deque[tuple[int, Sequence[ChannelSnapshot]]] = deque()
        self._queue: deque[_Channel] = deque()  # a channel counts only while it is BEHIND
        self._work = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()
        self._task: asyncio.Task[None] | None = None
        self._retries: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="catch up")

    async def close(self) -> None:
        """Stops reading. Watermarks stay where they are, and the next start goes on from there. Idempotent."""
        tasks = [*self._retries, *filter(None, [self._task])]
        self._task = None
        self.hold()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, guild_ids: Collection[int] | None = None) -> None:
        """Messages may be missing in these guilds, by default in all: live messages stop moving the watermarks there,
        until their channel has been caught up on.
        """
        self._guilds -= set(self._guilds if guild_ids is None else guild_ids)
        self._listings = deque(listing for listing in self._listings if listing[0] in self._guilds)
        for channel in self._channels.values():
            if guild_ids is None or channel.ref.guild_id in guild_ids:
                channel.on(ChannelEvent.SESSION)

    def begin(self, guild_id: int, snapshots: Sequence[ChannelSnapshot]) -> None:
        """Catches up on a guild in the background. snapshots: its channels and threads whose history may be read."""
        self._guilds.add(guild_id)
        self._list(guild_id, snapshots, ChannelEvent.LISTED)

    def appeared(self, snapshot: ChannelSnapshot) -> None:
        """A channel or thread was created. Ignored before `begin`, which will list it."""
        if snapshot.channel.guild_id in self._guilds:
            self._list(snapshot.channel.guild_id, [snapshot], ChannelEvent.LISTED)

    async def live(self, ref: ChannelRef, message_id: int, images: Sequence[ImageRef]) -> list[Image]:
        """Accepts the images of a new message, and moves the channel's watermark if nothing is missing before it.

        Call it for messages without images too, and before anything else is awaited: the order of these calls is taken
        for the order of the messages.
        """
        channel = self._channel(ref)
        channel.seen.begin(message_id)
        try:
            accepted = await self._accept(images)
        except BaseException:
            channel.seen.abandon(message_id)
            self._read_again(channel, message_id, ChannelEvent.LOST)
            raise
        channel.seen.end(message_id)
        if channel.state is ChannelState.LIVE:
            await self._move_watermark(channel)
        else:
            self._read_again(channel, message_id, ChannelEvent.MESSAGE)
        return accepted

    async def finished(self) -> None:
        """Waits until there is nothing left to catch up on."""
        await self._done.wait()

    def _channel(self, ref: ChannelRef) -> _Channel:
        return self._channels.setdefault(ref.channel_id, _Channel(ref))

    def _list(self, guild_id: int, snapshots: Sequence[ChannelSnapshot], event: ChannelEvent) -> None:
        for snapshot in snapshots:
            channel = self._channel(snapshot.channel)
            channel.newest = max(channel.newest, snapshot.newest or 0, snapshot.channel.channel_id)
            channel.on(event)
        self._listings.append((guild_id, snapshots))
        self._done.clear()
        self._work.set()

    def _read_again(self, channel: _Channel, message_id: int, event: ChannelEvent) -> None:
        """Queues a channel in which a message was missed, or may have been, unless it is queued already."""
        channel.newest = max(channel.newest, message_id)
        listed = channel.ref.guild_id in self._guilds
        if not listed:
            channel.on(ChannelEvent.SESSION)  # `begin` is yet to list it
        elif transition(channel.state, event) is not channel.state:
            self._list(channel.ref.guild_id, [ChannelSnapshot(channel.ref, message_id)], event)

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except Exception:  # the store failed: the watermarks are where they were, and the work is still queued
                log.exception("catch-up was interrupted and is tried again")
                await self._sleep(self._pause_s)

    async def _step(self) -> None:
        if self._listings:
            await self._set_first_watermarks(self._listings[0])
        elif self._queue:
            await self._catch_up(self._queue.popleft())
        else:
            if not self._retries:
                self._done.set()
            self._work.clear()
            await self._work.wait()

    async def _set_first_watermarks(self, listing: tuple[int, Sequence[ChannelSnapshot]]) -> None:
        guild_id, snapshots = listing
        for ref, message_id in first_watermarks(snapshots, await self._store.seen_channels(guild_id)):
            await self._store.mark_seen(ref, message_id)
        if self._listings and self._listings[0] is listing:  # else `hold` removed it, and `begin` will bring it again
            self._listings.popleft()
            self._queue.extend(self._channel(one.channel) for one in snapshots)

    async def _catch_up(self, channel: _Channel) -> None:
        if channel.state is not ChannelState.BEHIND:
            return
        channel.on(ChannelEvent.TURN)
        try:
            await self._read(channel)
        except (ImageForbidden, ImageGone) as refused:
            log.info("channel cannot be read", channel_id=channel.ref.channel_id, reason=type(refused).__name__)
            channel.on(ChannelEvent.REFUSED)
        except Exception:  # Discord or the store failed: the watermark is where it was; other channels get their turn
            log.warning("catch-up on a channel failed", channel_id=channel.ref.channel_id, exc_info=True)
            retry = asyncio.create_task(self._retry_later(channel), name="retry catch-up")
            self._retries.add(retry)
            retry.add_done_callback(self._retry_ended)
        else:
            channel.failures = 0
            channel.on(ChannelEvent.READ)
            await self._move_watermark(channel)

    async def _read(self, channel: _Channel) -> None:
        """Accepts what was posted after the watermark, and moves it along. Ends early where a new gap opens."""
        channel_id = channel.ref.channel_id
        after = channel.watermark = await self._store.last_seen(channel_id) or channel_id
        if channel.newest <= after:
            return
        page: list[tuple[int, list[ImageRef]]] = []
        async for message in self._history(channel_id, after):
            if channel.state is not ChannelState.READING:
                break
            page.append(message)
            if len(page) == PAGE_MESSAGES:
                await self._accept_page(channel, page)
                page = []
        if page:
            await self._accept_page(channel, page)
        elif channel.state is ChannelState.READING:
            await self._write_watermark(channel, channel_id)  # of a new channel it lies just before its id

    async def _accept_page(self, channel: _Channel, page: list[tuple[int, list[ImageRef]]]) -> None:
        await self._accept([ref for _, refs in page for ref in refs])
        await self._write_watermark(channel, page[-1][0])
        log.info("caught up on messages", channel_id=channel.ref.channel_id, messages=len(page))
        await self._sleep(self._pause_s)

    async def _retry_later(self, channel: _Channel) -> None:
        """Queues the channel again after a pause of its own, which grows with each failure in a row."""
        channel.failures += 1
        await self._sleep(self._backoff.pause(channel.failures - 1, random.random()))  # noqa: S311 - spreads load
        if channel.state is ChannelState.READING:
            channel.on(ChannelEvent.LOST)
            self._queue.append(channel)

    def _retry_ended(self, retry: asyncio.Task[None]) -> None:
        self._retries.discard(retry)
        self._work.set()

    async def _move_watermark(self, channel: _Channel) -> None:
        """One write at a time for a channel; messages that end meanwhile go into the next."""
        while channel.state is ChannelState.LIVE and not channel.writing and channel.seen.value > channel.watermark:
            channel.writing = True
            try:
                await self._write_watermark(channel, channel.seen.value)
            except Exception:  # an older watermark only means reading more later; the message itself is safe
                log.exception("the watermark of a channel could not be written", channel_id=channel.ref.channel_id)
                return
            finally:
                channel.writing = False

    async def _write_watermark(self, channel: _Channel, message_id: int) -> None:
        if message_id > channel.watermark:
            await self._store.mark_seen(channel.ref, message_id)
            channel.watermark = message_id


def first_watermarks(
    snapshots: Iterable[ChannelSnapshot], watermarks: Mapping[int, int]
) -> list[tuple[ChannelRef, int]]:
    """The first watermark of each channel that has none, in the order in which they must be written.

    watermarks: those of the guild by channel id, before any of this session's messages moved one.

    A channel younger than every watermark was created while the bot was away, so everything in it is new: it begins
    just before its own id, which in a forum is its first message's. Any other channel is seen for the first time and
    begins at the present: history from before is not read. The young ones come first, the oldest of them leading, then
    the others, the greatest watermark leading: wherever a crash cuts the list, the rest is judged the same again.
    """
    present = max(watermarks.values(), default=None)
    new = [one for one in snapshots if one.channel.channel_id not in watermarks]
    young = [one for one in new if present is not None and one.created_at > present]
    others = [one for one in new if present is None or one.created_at <= present]
    young.sort(key=lambda one: one.created_at)
    others.sort(key=lambda one: one.present, reverse=True)
    return [(one.channel, one.channel.channel_id - 1) for one in young] + [(one.channel, one.present) for one in others]


class Watermark:
    """The newest message of a channel such that it and every older one that arrived has been handled.

    Messages are handled concurrently, so a later one may end before an earlier one. The watermark stays below the
    oldest one that is open: after a crash, reading on from the watermark finds everything that was not handled.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._newest_ended = 0

    def begin(self, message_id: int) -> None:
        self._open.add(message_id)

    def end(self, message_id: int) -> None:
        self._open.discard(message_id)
        self._newest_ended = max(self._newest_ended, message_id)

    def abandon(self, message_id: int) -> None:
        """The message was not handled; reading the history again will find it."""
        self._open.discard(message_id)

    @property
    def value(self) -> int:
        """0 before any message has ended."""
        return min(self._newest_ended, min(self._open) - 1) if self._open else self._newest_ended


@dataclass(slots=True)
class _Channel:
    """newest: the newest message known to exist. seen: this session's messages. watermark: as it is in the store."""

    ref: ChannelRef
    state: ChannelState = ChannelState.HELD
    newest: int = 0
    seen: Watermark = field(default_factory=Watermark)
    watermark: int = 0
    writing: bool = False
    failures: int = 0

    def on(self, event: ChannelEvent) -> None:
        self.state = transition(self.state, event)
