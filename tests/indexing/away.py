"""A Discord without a network, and a bot that can be away from it. For the tests of catch-up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bot.errors import ImageGone
from bot.indexing.backfill import Backfills, ThreadPage
from bot.indexing.catch_up import CatchUp, ChannelSnapshot
from bot.indexing.comparison import MessageComparer
from bot.indexing.deletions import DeletionJournal
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import RetryPolicy
from bot.models import NEWEST, ChannelRef, Hits, Image, ImageRef, Page, PublicReply, RemoteImage, SeenMessage, Source
from bot.store.backfills import BackfillStore, SearchFilter, TaskKind
from bot.store.database import Database
from bot.store.guilds import ChannelStore, ReplyStore
from bot.store.images import ImageStore
from bot.store.rules import RuleStore
from tests.indexing.support import CARD, GUILD, FakeSleep, image_ref
from tests.store.samples import due

PAGE_MESSAGES = 100


class Discord:
    """Channels with messages, each with one image at first. A history may be refused, fail, or be held.

    held: a page that contains this message is not delivered before the event is set. lacks: messages that exist, and
    are in no page. looked_up: those that were asked for by themselves. archived: threads by their channel and what they
    are listed as; two fit on a page. searched: each search's channels, what it wanted, and where it ended.
    meanwhile: called once each, after a page was made and before it is delivered.
    """

    def __init__(self, page_messages: int = PAGE_MESSAGES) -> None:
        self.messages: dict[int, dict[int, SeenMessage]] = {}
        self.made: dict[int, int] = {}
        self.newest: dict[int, int] = {}
        self.errors: dict[int, list[Exception]] = {}
        self.asked: list[tuple[int, int]] = []
        self.compared: list[tuple[int, int]] = []
        self.looked_up: list[int] = []
        self.lacks: set[int] = set()
        self.hold_at: dict[int, asyncio.Event] = {}
        self.reached = asyncio.Event()
        self.readers = 0
        self.page_messages = page_messages
        self.archived: dict[tuple[int, TaskKind], list[ChannelRef]] = {}
        self.search_errors: list[Exception] = []
        self.searched: list[tuple[set[int], SearchFilter, int]] = []
        self.meanwhile: deque[Callable[[], Awaitable[object]]] = deque()

    def post(self, number: int, where: ChannelRef) -> ImageRef:
        ref = image_ref(number, where)
        self.put(where, SeenMessage(ref.message_id, (ref,), frozenset({ref.key})))
        return ref

    def put(self, where: ChannelRef, message: SeenMessage) -> None:
        """Posts a message, or edits it."""
        self.messages.setdefault(where.channel_id, {})[message.message_id] = message
        self.newest[where.channel_id] = max(self.newest.get(where.channel_id, 0), message.message_id)

    def of(self, ref: ImageRef) -> SeenMessage:
        return self.messages[ref.channel.channel_id][ref.message_id]

    def delete(self, ref: ImageRef) -> None:
        del self.messages[ref.channel.channel_id][ref.message_id]

    def remove_file(self, ref: ImageRef) -> None:
        message = self.of(ref)
        left = tuple(one for one in message.images if one.key != ref.key)
        self.put(ref.channel, replace(message, images=left, carried=frozenset(one.key for one in left)))

    def set_spoiler(self, ref: ImageRef, spoiler: bool) -> None:
        message = self.of(ref)
        images = tuple(replace(one, spoiler=spoiler) if one.key == ref.key else one for one in message.images)
        self.put(ref.channel, replace(message, images=images))

    def add_preview(self, ref: ImageRef) -> ImageRef:
        """To the message of this image."""
        message = self.of(ref)
        preview = replace(ref, attachment_id=ref.attachment_id + 1, source=Source.PREVIEW)
        images = (*message.images, preview)
        self.put(ref.channel, replace(message, images=images, carried=frozenset(one.key for one in images)))
        return preview

    def snapshot(self, where: ChannelRef) -> ChannelSnapshot:
        return ChannelSnapshot(where, self.newest.get(where.channel_id), self.made.get(where.channel_id))

    async def page(self, channel: ChannelRef, *, after: int | None = None, before: int | None = None) -> Page:
        channel_id = channel.channel_id
        if after is not None:
            self.asked.append((channel_id, after))
        else:
            self.compared.append((channel_id, NEWEST if before is None else before - 1))
        self.readers += 1
        assert self.readers == 1, "one channel at a time"
        try:
            if self.errors.get(channel_id):
                raise self.errors[channel_id].pop(0)
            found = self._page(channel_id, after, before)
            if self.meanwhile:
                await self.meanwhile.popleft()()
            for event in [self.hold_at[one.message_id] for one in found.messages if one.message_id in self.hold_at]:
                self.reached.set()
                await event.wait()
            return found
        finally:
            self.readers -= 1

    async def look_up(self, ref: ImageRef) -> list[RemoteImage]:
        self.looked_up.append(ref.message_id)
        message = self.messages.get(ref.channel.channel_id, {}).get(ref.message_id)
        if message is None:
            raise ImageGone
        return [RemoteImage(*key, url="https://cdn.discordapp.com/a.png") for key in message.carried or ()]

    async def threads(self, channel: ChannelRef, kind: TaskKind, cursor: int | None) -> ThreadPage:
        there = self.archived.get((channel.channel_id, kind), [])
        begin = cursor or 0
        return ThreadPage(there[begin : begin + 2], begin + 2 if len(there) > begin + 2 else None)

    async def search(
        self, guild_id: int, channels: Sequence[ChannelRef], wanted: SearchFilter, *, after: int, before: int
    ) -> Hits:
        """Finds no previews of links."""
        ids = {one.channel_id for one in channels}
        self.searched.append((ids, wanted, before))
        if self.search_errors:
            raise self.search_errors.pop(0)
        sources = wanted.sources - {Source.PREVIEW}
        matching = [
            message
            for channel_id in ids
            for message in self.messages.get(channel_id, {}).values()
            if after < message.message_id < before and any(image.source in sources for image in message.images)
        ]
        matching.sort(key=lambda one: one.message_id)
        page = matching[-self.page_messages :]
        if self.meanwhile:
            await self.meanwhile.popleft()()
        return Hits(page, page[0].message_id - 1 if page else after, before - 1, len(matching))

    def _page(self, channel_id: int, after: int | None, before: int | None) -> Page:
        there = sorted(self.messages.get(channel_id, {}).items())
        messages = [one for message_id, one in there if message_id not in self.lacks]
        if after is not None:
            found = [one for one in messages if one.message_id > after][: self.page_messages]
            full = len(found) == self.page_messages
            return Page(found, after, found[-1].message_id if full else NEWEST)
        until = NEWEST if before is None else before - 1
        found = [one for one in messages if one.message_id <= until][-self.page_messages :]
        full = len(found) == self.page_messages
        return Page(found, found[0].message_id - 1 if full else 0, until)


class NoIndex:
    async def discard(self, image_ids: list[int]) -> None: ...


class Bot:
    """What the Discord side does with a CatchUp, on a real store."""

    def __init__(self, database: Database, discord: Discord, *places: ChannelRef) -> None:
        self.discord = discord
        self.places = places
        self.store = ImageStore(database)
        self.channels = ChannelStore(database)
        self.replies = ReplyStore(database)
        self.sleep = FakeSleep()
        self.accepting = self.store.accept
        journal = DeletionJournal(database.path)
        self.registry = ImageRegistry(self.store, NoIndex(), None, CARD, journal)  # type: ignore[arg-type]
        comparer = MessageComparer(
            self.store, self.registry, self._accept, discord.page, discord.look_up, self._found, self._covered
        )
        self.catch_up = CatchUp(comparer, self.channels, sleep=self.sleep)
        self.rules = RuleStore(database)
        self.backfill_store = BackfillStore(database)
        self.backfills = Backfills(
            *(self.backfill_store, self.rules, self.store, comparer, discord),
            **{
                "pause_s": 0.01,
                "longest_indexing_s": 1.0,
                "backoff": RetryPolicy(first_pause_s=0.01),
                "sleep": self.sleep,
            },
        )

    async def _accept(self, refs: Sequence[ImageRef], *, backfilled: bool = False) -> list[Image]:
        return await (self.store.accept(refs, backfilled=True) if backfilled else self.accepting(refs))

    async def _found(self, channel: ChannelRef, found: Mapping[int, PublicReply]) -> None:
        await self.replies.find(channel, found)

    async def _covered(self, images: Sequence[Image]) -> None:
        await self.replies.orphan([image.id for image in images])

    def connect(self) -> None:
        """A new gateway session: everything up to now may have been missed."""
        self.catch_up.hold()
        self.catch_up.begin(
            GUILD, [self.discord.snapshot(where) for where in self.places], {where.channel_id for where in self.places}
        )

    async def online(self) -> None:
        self.catch_up.start()
        self.connect()
        await self.catch_up.finished()

    async def see(self, ref: ImageRef) -> None:
        """A new message with this image, as it was posted."""
        await self.catch_up.live(ref.channel, SeenMessage(ref.message_id, (ref,), frozenset({ref.key})))

    async def known(self) -> list[int]:
        return sorted(image.ref.message_id for image in await self.images())

    async def images(self) -> list[Image]:
        return await due(self.store, 10_000, datetime.max.replace(tzinfo=UTC))

    async def watermark(self, where: ChannelRef) -> int | None:
        return await self.channels.last_seen(where.channel_id)
