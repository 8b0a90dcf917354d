"""Catching up on what was posted while the bot was away, without ever marking as seen what was not."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bot.errors import ImageForbidden, ImageGone
from bot.indexing.protocols import Accept, ChannelMarks, History, Sleep
from bot.indexing.retry import RetryPolicy
from bot.models import ChannelRef, Image, ImageRef


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel as Discord describes it now.

    newest: its `last_message_id`, None where nothing was ever posted. Discord may name a message that has been deleted
    since; as a point in time it is still right.
    made: when it was made, as a snowflake; None: its own id says so. A thread's id does not, since a thread that hangs
    on a message has that message's id, however old the message was.
    """

    place: ChannelRef
    newest: int | None
    made: int | None = None

    @property
    def born(self) -> int:
        return self.place.channel_id if self.made is None else self.made


def first_marks(standings: Iterable[Standing], marks: Mapping[int, int]) -> list[tuple[ChannelRef, int]]:
    """The first mark of each channel that has none, in the order in which they must be written.

    marks: the server's marks, by channel id, before anything of this session moved one.

    A channel younger than every mark was made while nobody looked, so all that was posted in it is new: it begins just
    before its own id, which in a forum is its first message's. Any other is seen for the first time and begins at the
    present: history from before is not read. The young come first, the oldest of them leading, then the others, the
    greatest mark leading: wherever a crash cuts the list, the rest is judged the same again.
    """
    present = max(marks.values(), default=None)
    unmarked = [one for one in standings if one.place.channel_id not in marks]
    young = [one for one in unmarked if present is not None and one.born > present]
    others = [one for one in unmarked if present is None or one.born <= present]
    young.sort(key=lambda one: one.born)
    others.sort(key=_present, reverse=True)
    return [(one.place, one.place.channel_id - 1) for one in young] + [(one.place, _present(one)) for one in others]


def _present(standing: Standing) -> int:
    return max(standing.newest or 0, standing.born)


class Watermark:
    """The newest message of a channel such that it and everything older that arrived has been taken care of.

    Messages are handled side by side, so a later one may be done before an earlier one. The mark stays below the oldest
    that is still open: after a crash, reading on from the mark finds everything that was not done.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._newest_done = 0

    def begin(self, message_id: int) -> None:
        self._open.add(message_id)

    def end(self, message_id: int) -> None:
        self._open.discard(message_id)
        self._newest_done = max(self._newest_done, message_id)

    def abandon(self, message_id: int) -> None:
        """It was not taken care of, and somebody else will see to it."""
        self._open.discard(message_id)

    @property
    def mark(self) -> int:
        """0 while nothing is done."""
        if not self._open:
            return self._newest_done
        return min(self._newest_done, min(self._open) - 1)


log = logging.getLogger(__name__)

MESSAGES_A_PAGE = 100
"""Messages of a history that are accepted together, with one mark and one pause: one page of Discord's history."""


@dataclass(slots=True)
class _Channel:
    """caught_up: everything up to now has been seen, so live messages may move the mark.

    gap: something may have been missed since the reading of its history began.
    newest: the newest message known to exist; written: the mark in the store; unreadable: Discord refused the history.
    """

    place: ChannelRef
    newest: int = 0
    seen: Watermark = field(default_factory=Watermark)
    written: int = 0
    writing: bool = False
    caught_up: bool = False
    gap: bool = False
    unreadable: bool = False
    failures: int = 0


@dataclass(slots=True)
class _Page:
    refs: list[ImageRef] = field(default_factory=list)
    messages: int = 0
    newest: int = 0

    def take(self, message_id: int, refs: Sequence[ImageRef]) -> None:
        self.refs.extend(refs)
        self.messages += 1
        self.newest = max(self.newest, message_id)


class CatchUp:
    """Owns the channels' last-seen marks, and the one task that reads histories, one channel after the other.

    What keeps the marks honest, for each new gateway session (a resumed one misses nothing): `hold()` before its first
    event is handled; `live(...)` as the first thing for each message; `begin(...)` for each server once its channels
    are known, and `appeared(...)` for each channel or thread made later. A channel that nobody named is caught up on at
    its first live message. Reading is polite: one request at a time, a pause after each page, and none for a channel
    where nothing is new.
    """

    def __init__(
        self,
        accept: Accept,
        marks: ChannelMarks,
        history: History,
        *,
        pause_s: float = 1.0,
        retry: RetryPolicy | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """accept: Indexer.accept; pause_s: seconds after each page of history."""
        self._accept = accept
        self._marks = marks
        self._history = history
        self._pause_s = pause_s
        self._retry = retry or RetryPolicy(first_pause_s=2.0, longest_pause_s=60.0, attempts=4)
        self._sleep = sleep
        self._channels: dict[int, _Channel] = {}
        self._known_guilds: set[int] = set()
        self._unmarked: deque[tuple[int, Sequence[Standing]]] = deque()
        self._unread: dict[int, _Channel] = {}
        self._work = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="catch up")

    async def close(self) -> None:
        """Stops reading. The marks stay where they are, so the next start goes on from there. Idempotent."""
        task, self._task = self._task, None
        self.hold()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def hold(self) -> None:
        """A gap may lie ahead: from now on live messages move no mark, until their channel has been caught up on."""
        self._known_guilds.clear()
        self._unmarked.clear()
        self._unread.clear()
        for channel in self._channels.values():
            channel.caught_up, channel.unreadable, channel.gap = False, False, True

    def begin(self, guild_id: int, standings: Sequence[Standing]) -> None:
        """Catches up on a server, in the background. standings: every channel and thread whose history may be read."""
        self._known_guilds.add(guild_id)
        self._take_up(guild_id, standings)

    def appeared(self, standing: Standing) -> None:
        """A channel or thread was made just now. Before `begin`, which will name it, this does nothing."""
        if standing.place.guild_id in self._known_guilds:
            self._take_up(standing.place.guild_id, [standing])

    async def live(self, place: ChannelRef, message_id: int, refs: Sequence[ImageRef]) -> list[Image]:
        """Accepts the images of a message that came in just now, and moves the channel's mark if there is no gap.

        Call it for messages without images too, and before anything else is awaited: the order of these calls is
        taken for the order of the messages.
        """
        channel = self._channel(place)
        channel.seen.begin(message_id)
        try:
            images = await self._accept(refs)
        except BaseException:
            channel.seen.abandon(message_id)
            channel.caught_up, channel.gap = False, True
            self._read_if_needed(channel, message_id)
            raise
        channel.seen.end(message_id)
        if channel.caught_up:
            await self._move_mark(channel)
        else:
            self._read_if_needed(channel, message_id)
        return images

    async def finished(self) -> None:
        """Waits until nothing is left to catch up on."""
        await self._done.wait()

    def _take_up(self, guild_id: int, standings: Sequence[Standing]) -> None:
        for standing in standings:
            channel = self._channel(standing.place)
            channel.newest = max(channel.newest, standing.newest or 0, standing.place.channel_id)
            channel.caught_up, channel.unreadable, channel.gap = False, False, True
        self._unmarked.append((guild_id, standings))
        self._wake()

    def _read_if_needed(self, channel: _Channel, message_id: int) -> None:
        channel.newest = max(channel.newest, message_id)
        waits = channel.place.channel_id in self._unread or channel.unreadable
        if not waits and channel.place.guild_id in self._known_guilds:
            self._take_up(channel.place.guild_id, [Standing(channel.place, message_id)])

    def _channel(self, place: ChannelRef) -> _Channel:
        return self._channels.setdefault(place.channel_id, _Channel(place))

    def _wake(self) -> None:
        self._done.clear()
        self._work.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except Exception:  # the store failed; the marks are where they were, and the work is still listed
                log.exception("catching up was interrupted")
                await self._sleep(self._pause_s)

    async def _step(self) -> None:
        if self._unmarked:
            await self._set_first_marks(*self._unmarked[0])
        elif self._unread:
            await self._catch_up(next(iter(self._unread.values())))
        else:
            self._done.set()
            self._work.clear()
            await self._work.wait()

    async def _set_first_marks(self, guild_id: int, standings: Sequence[Standing]) -> None:
        marks = await self._marks.seen_channels(guild_id)
        for place, message_id in first_marks(standings, marks):
            await self._marks.mark_seen(place, message_id)
        # `hold` may have emptied the list meanwhile; then `begin` will bring it again.
        if self._unmarked and self._unmarked[0][1] is standings:
            self._unmarked.popleft()
            self._unread.update({one.place.channel_id: self._channel(one.place) for one in standings})

    async def _catch_up(self, channel: _Channel) -> None:
        channel.gap = False
        try:
            await self._read(channel)
        except (ImageForbidden, ImageGone) as refused:
            log.info("channel %d cannot be read: %s", channel.place.channel_id, type(refused).__name__)
            channel.unreadable = True
            self._take_off(channel)
        except (
            Exception
        ):  # Discord or the store failed; the mark is where it was, and the other channels get their turn
            await self._put_off(channel)
        else:
            await self._join_live(channel)

    async def _read(self, channel: _Channel) -> None:
        """Accepts what was posted after the mark and moves the mark along. Ends early when a new gap opens."""
        place = channel.place
        after = channel.written = await self._marks.last_seen(place.channel_id) or place.channel_id
        if channel.newest <= after:
            return
        page = _Page()
        async for message_id, refs in self._history(place.channel_id, after):
            if channel.gap:
                break
            page.take(message_id, refs)
            if page.messages == MESSAGES_A_PAGE:
                await self._accept_page(channel, page)
                page = _Page()
        if page.messages:
            await self._accept_page(channel, page)
        elif not channel.gap:
            await self._write_mark(channel, place.channel_id)

    async def _accept_page(self, channel: _Channel, page: _Page) -> None:
        await self._accept(page.refs)
        await self._write_mark(channel, page.newest)
        log.info("channel %d: %d messages were posted meanwhile", channel.place.channel_id, page.messages)
        await self._sleep(self._pause_s)

    async def _join_live(self, channel: _Channel) -> None:
        """From here on live messages move the mark, unless something was missed again while the history was read."""
        self._take_off(channel)
        if not channel.gap:
            channel.caught_up, channel.failures = True, 0
            await self._move_mark(channel)
        elif channel.place.guild_id in self._known_guilds:
            self._unread[channel.place.channel_id] = channel

    async def _put_off(self, channel: _Channel) -> None:
        """To the end of the line, after a pause; given up until the next message or session when it fails too often."""
        channel.failures += 1
        self._take_off(channel)
        if channel.failures >= self._retry.attempts:
            log.exception("channel %d could not be caught up on", channel.place.channel_id)
            channel.failures = 0
            return
        log.warning("catching up on channel %d failed and is tried again", channel.place.channel_id, exc_info=True)
        held = channel.gap
        await self._sleep(self._retry.pause(channel.failures - 1, random.random()))  # noqa: S311 - spreads load
        if not held and channel.place.guild_id in self._known_guilds:
            self._unread[channel.place.channel_id] = channel

    def _take_off(self, channel: _Channel) -> None:
        self._unread.pop(channel.place.channel_id, None)

    async def _move_mark(self, channel: _Channel) -> None:
        """One write at a time for a channel; what is done meanwhile goes into the next."""
        while channel.caught_up and not channel.writing and channel.seen.mark > channel.written:
            channel.writing = True
            try:
                await self._write_mark(channel, channel.seen.mark)
            except Exception:  # an older mark only means reading more, later; the message itself is safe
                log.exception("the mark of channel %d could not be written", channel.place.channel_id)
                return
            finally:
                channel.writing = False

    async def _write_mark(self, channel: _Channel, message_id: int) -> None:
        if message_id > channel.written:
            await self._marks.mark_seen(channel.place, message_id)
            channel.written = message_id
