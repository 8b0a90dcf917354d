"""Catches up on what happened while the bot was away, and never moves a watermark past an unseen message."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from bot.errors import ImageForbidden, ImageGone
from bot.indexing.comparison import MessageComparer
from bot.indexing.retry import RetryPolicy
from bot.logging import get_logger
from bot.models import NEWEST, ChannelRef, Image, SeenMessage
from bot.store.guilds import ChannelStore

log = get_logger(__name__)

# What a gap may have swallowed of older messages is asked after in channels where anything is stored, and, for link
# previews, where the last message was seen at most this long before the newest one of the guild.
_RECENT = (24 * 3600 * 1000) << 22  # a day, as a difference of message ids


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
    so live messages move the watermark. UNREADABLE: the bot may not read the history.
    """

    HELD = auto()
    BEHIND = auto()
    READING = auto()
    LIVE = auto()
    UNREADABLE = auto()


class ChannelEvent(Enum):
    """SESSION: a new gateway session; messages may have been missed since the last one. LISTED: the channel is named
    in the session. MESSAGE: a live message was accepted. LOST: a live message could not be accepted. READ: the history
    was read to its end. REFUSED: the bot may not read it. TURN: the queue reached it.
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
        case ChannelEvent.REFUSED, _:
            return ChannelState.UNREADABLE
    return state


class CatchUp:
    """Owns the channels' watermarks, and the one task that reads histories, channel after channel.

    For each new gateway session (a resumed one misses nothing): call `hold` before its first event is handled, `live`
    as the first thing for each message, `begin` for each guild once its channels are known, and `appeared` for each
    channel or thread that is created later. A channel that was never listed is caught up on at its first live message.
    Histories are read politely: one request at a time, and a pause after each page.

    Once nothing is new anywhere, the last page before the watermark of each active channel is compared with the store,
    the most recent channels first: it tells of deletions, edits and link previews that no event told of. At last come
    the channels that are stored and not listed, archived threads mostly: one request for the newest page of each tells
    what is new there as well, and whether it still exists.
    """

    def __init__(
        self,
        comparer: MessageComparer,
        store: ChannelStore,
        *,
        pause_s: float = 1.0,
        backoff: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """pause_s: seconds after each page of history."""
        self._comparer = comparer
        self._store = store
        self._pause_s = pause_s
        self._backoff = backoff or RetryPolicy(first_pause_s=2.0, longest_pause_s=600.0)
        self._sleep = sleep
        self._channels: dict[int, _Channel] = {}
        self._guilds: set[int] = set()  # those listed in this session
        self._paused: set[int] = set()
        self._pauses: Counter[int] = Counter()  # by guild: a page that was requested before one is no progress
        self._listings: deque[_Listing] = deque()
        self._queue: deque[_Channel] = deque()  # a channel counts only while it is BEHIND
        self._overlaps: dict[tuple[int, int], _Channel] = {}  # by channel id and the last message to compare
        self._unlisted: dict[int, _Channel] = {}
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

    def pause(self, guild_id: int) -> None:
        """Takes in nothing of this guild until `resume`, and moves no watermark there: what is posted meanwhile is read
        then.
        """
        self._paused.add(guild_id)
        self._pauses[guild_id] += 1
        self.hold({guild_id})

    def resume(self, guild_id: int) -> None:
        """Call `begin` afterwards."""
        self._paused.discard(guild_id)

    def hold(self, guild_ids: Collection[int] | None = None) -> None:
        """Messages may be missing in these guilds, by default in all: live messages stop moving the watermarks there,
        until their channel has been caught up on.
        """
        self._guilds -= set(self._guilds if guild_ids is None else guild_ids)
        self._listings = deque(listing for listing in self._listings if listing.guild_id in self._guilds)
        for channel in self._channels.values():
            if guild_ids is None or channel.ref.guild_id in guild_ids:
                channel.on(ChannelEvent.SESSION)

    def begin(self, guild_id: int, snapshots: Sequence[ChannelSnapshot], listed: Collection[int]) -> None:
        """Catches up on a guild in the background. snapshots: its channels and threads whose history may be read.
        listed: the ids of all its channels and active threads. Ignored while the guild is paused.
        """
        if guild_id in self._paused:
            return
        self._guilds.add(guild_id)
        self._list(guild_id, snapshots, ChannelEvent.LISTED, listed)

    def appeared(self, snapshot: ChannelSnapshot) -> None:
        """A channel or thread was created. Ignored before `begin`, which will list it."""
        if snapshot.channel.guild_id in self._guilds:
            self._list(snapshot.channel.guild_id, [snapshot], ChannelEvent.LISTED)

    def unreadable(self, ref: ChannelRef) -> None:
        """The bot may not read the channel now: what is posted there is missed, until `readable` is called."""
        self._channel(ref).on(ChannelEvent.REFUSED)

    def readable(self, guild_id: int, snapshots: Sequence[ChannelSnapshot]) -> None:
        """The bot may read these channels of a guild. What it missed in those that it could not read is read now."""
        unread = (ChannelState.HELD, ChannelState.UNREADABLE)
        missed = [one for one in snapshots if self._channel(one.channel).state in unread]
        if missed and guild_id in self._guilds:
            self._list(guild_id, missed, ChannelEvent.LISTED)
            for one in missed:
                self._channel(one.channel).newest = NEWEST  # no event told how far it got

    async def live(self, ref: ChannelRef, message: SeenMessage) -> list[Image]:
        """Accepts the images of a new message, and moves the channel's watermark if nothing is missing before it.

        Call it for messages without images too, and before anything else is awaited: the order of these calls is taken
        for the order of the messages.
        """
        if ref.guild_id in self._paused:
            return []
        channel, message_id = self._channel(ref), message.message_id
        channel.seen.begin(message_id)
        try:
            accepted = await self._comparer.posted(ref, message)
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

    async def edited(self, ref: ChannelRef | None, message: SeenMessage) -> None:
        """Compares an edited message with the store. Where that fails, it is read again later."""
        try:
            await self._comparer.edited(message)
        except Exception:
            if ref is not None:
                self._compare_later(self._channel(ref), message.message_id)
            raise

    async def finished(self) -> None:
        """Waits until there is nothing left to catch up on."""
        await self._done.wait()

    def _channel(self, ref: ChannelRef) -> _Channel:
        return self._channels.setdefault(ref.channel_id, _Channel(ref))

    def _list(
        self,
        guild_id: int,
        snapshots: Sequence[ChannelSnapshot],
        event: ChannelEvent,
        listed: Collection[int] | None = None,
    ) -> None:
        for snapshot in snapshots:
            channel = self._channel(snapshot.channel)
            channel.newest = max(channel.newest, snapshot.newest or 0, snapshot.channel.channel_id)
            channel.on(event)
        self._listings.append(_Listing(guild_id, snapshots, listed))
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
        failures = 0
        while True:
            try:
                await self._step()
                failures = 0
            except Exception:  # the store failed: the watermarks are where they were, and the work is still queued
                log.exception("catch-up was interrupted and is tried again")
                await self._sleep(self._backoff.pause(failures, random.random()))  # noqa: S311 - spreads load
                failures += 1

    async def _step(self) -> None:
        if self._listings:
            await self._set_first_watermarks(self._listings[0])
        elif self._queue:
            await self._catch_up(self._queue.popleft())
        elif self._overlaps:
            _, message_id = key = next(iter(self._overlaps))
            await self._compare(self._overlaps.pop(key), message_id)
        elif self._unlisted:
            await self._look_at(self._unlisted.pop(next(iter(self._unlisted))))
        else:
            if not self._retries:
                self._done.set()
            self._work.clear()
            await self._work.wait()

    async def _set_first_watermarks(self, listing: _Listing) -> None:
        watermarks = await self._store.seen_channels(listing.guild_id)
        recent = max(watermarks.values(), default=0) - _RECENT
        active = await self._store.active_channels(listing.guild_id, recent)
        active.sort(key=lambda ref: watermarks.get(ref.channel_id, 0), reverse=True)
        for ref, message_id in first_watermarks(listing.snapshots, watermarks):
            await self._store.mark_seen(ref, message_id)
        if self._listings and self._listings[0] is listing:  # else `hold` removed it, and `begin` will bring it again
            self._listings.popleft()
            readable = {one.channel.channel_id: self._channel(one.channel) for one in listing.snapshots}
            self._queue.extend(readable.values())
            for channel_id in [ref.channel_id for ref in active]:
                if channel_id in readable and channel_id in watermarks:
                    self._compare_later(readable[channel_id], watermarks[channel_id])
            if listing.listed is not None:
                for ref in unlisted(active, listing.listed):
                    self._unlisted[ref.channel_id] = _Channel(ref)

    async def _catch_up(self, channel: _Channel) -> None:
        if channel.state is not ChannelState.BEHIND:
            return
        channel.on(ChannelEvent.TURN)

        def again() -> None:
            if channel.state is ChannelState.READING:
                channel.on(ChannelEvent.LOST)
                self._queue.append(channel)

        if await self._attempt(channel, self._read(channel), again):
            channel.on(ChannelEvent.READ)
            await self._move_watermark(channel)

    async def _compare(self, channel: _Channel, message_id: int) -> None:
        """Compares the last messages up to this one."""

        async def read() -> None:
            await self._comparer.read(channel.ref, before=message_id + 1)
            await self._sleep(self._pause_s)

        await self._attempt(channel, read(), lambda: self._compare_later(channel, message_id))

    async def _look_at(self, channel: _Channel) -> None:
        """Reads the newest page of a channel that was not listed."""

        async def read() -> None:
            channel_id = channel.ref.channel_id
            pauses = self._pauses[channel.ref.guild_id]
            seen = await self._store.last_seen(channel_id) or channel_id
            page = await self._comparer.read(channel.ref)
            if self._pauses[channel.ref.guild_id] != pauses:  # its images may have been ignored
                return
            newest = page.messages[-1].message_id if page.messages else 0
            if page.after > seen:  # more is new than a page holds
                self.appeared(ChannelSnapshot(channel.ref, newest))
            elif newest > seen:
                await self._store.mark_seen(channel.ref, newest)
            await self._sleep(self._pause_s)

        def again() -> None:
            self._unlisted[channel.ref.channel_id] = channel

        await self._attempt(channel, read(), again)

    def _compare_later(self, channel: _Channel, message_id: int) -> None:
        self._overlaps.setdefault((channel.ref.channel_id, message_id), channel)
        self._done.clear()
        self._work.set()

    async def _attempt(self, channel: _Channel, work: Awaitable[None], again: Callable[[], None]) -> bool:
        """Whether it succeeded. again: called after a pause where Discord or the store failed, not where it refused."""
        try:
            await work
        except (ImageForbidden, ImageGone) as refused:
            log.info("channel cannot be read", channel_id=channel.ref.channel_id, reason=type(refused).__name__)
            channel.on(ChannelEvent.REFUSED)
        except Exception:  # the watermark is where it was; other channels get their turn
            log.warning("catch-up on a channel failed", channel_id=channel.ref.channel_id, exc_info=True)
            retry = asyncio.create_task(self._retry_later(channel, again), name="retry catch-up")
            self._retries.add(retry)
            retry.add_done_callback(self._retry_ended)
        else:
            channel.failures = 0
            return True
        return False

    async def _read(self, channel: _Channel) -> None:
        """Accepts what was posted after the watermark, and moves it along. Ends early where a new gap opens."""
        channel_id = channel.ref.channel_id
        after = channel.watermark = await self._store.last_seen(channel_id) or channel_id
        pauses = self._pauses[channel.ref.guild_id]
        while channel.newest > after and channel.state is ChannelState.READING:
            page = await self._comparer.read(channel.ref, after=after)
            if self._pauses[channel.ref.guild_id] != pauses:  # its images may have been ignored
                return
            if page.messages:
                after = page.messages[-1].message_id
                log.info("caught up on messages", channel_id=channel_id, messages=len(page.messages))
            # of a new channel it lies just before its id
            await self._write_watermark(channel, max(after, channel_id))
            await self._sleep(self._pause_s)
            if page.until == NEWEST and channel.state is ChannelState.READING:
                channel.newest = after

    async def _retry_later(self, channel: _Channel, again: Callable[[], None]) -> None:
        """After a pause of the channel's own, which grows with each failure in a row."""
        channel.failures += 1
        await self._sleep(self._backoff.pause(channel.failures - 1, random.random()))  # noqa: S311 - spreads load
        again()

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


def unlisted(active: Iterable[ChannelRef], listed: Collection[int]) -> list[ChannelRef]:
    """The channels and threads that Discord did not list, in this order. A thread whose channel is missing too is left
    out: it is deleted with its channel.
    """
    found: dict[int, ChannelRef] = {}
    for ref in active:
        root = ref if ref.parent_id is None else ChannelRef(ref.guild_id, ref.parent_id)
        missing = ref if root.channel_id in listed else root
        if missing.channel_id not in listed:
            found[missing.channel_id] = missing
    return list(found.values())


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


@dataclass(frozen=True, slots=True, eq=False)
class _Listing:
    """See `CatchUp.begin`. listed: None where these are not all channels."""

    guild_id: int
    snapshots: Sequence[ChannelSnapshot]
    listed: Collection[int] | None


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
