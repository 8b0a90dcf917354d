"""A fake Discord that goes on while the bot is offline, and the bot's side of a catch-up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from bot.indexing.catch_up import CatchUp, ChannelSnapshot
from bot.models import ChannelRef, ImageRef
from bot.store.database import Database
from bot.store.guilds import ChannelStore
from bot.store.images import ImageStore
from tests.indexing.support import GUILD, FakeSleep, image_ref


class Discord:
    """Channels with messages, each with one image. A history may be refused, fail, or be held at a message."""

    def __init__(self) -> None:
        self.messages: dict[int, list[ImageRef]] = {}
        self.made: dict[int, int] = {}
        self.errors: dict[int, list[Exception]] = {}
        self.asked: list[tuple[int, int]] = []
        self.hold_at: dict[int, asyncio.Event] = {}
        self.reached = asyncio.Event()
        self.readers = 0

    def post(self, number: int, where: ChannelRef) -> ImageRef:
        ref = image_ref(number, where)
        self.messages.setdefault(where.channel_id, []).append(ref)
        return ref

    def snapshot(self, where: ChannelRef) -> ChannelSnapshot:
        posted = [ref.message_id for ref in self.messages.get(where.channel_id, [])]
        return ChannelSnapshot(where, max(posted, default=None), self.made.get(where.channel_id))

    async def history(self, channel_id: int, after: int) -> AsyncIterator[tuple[int, list[ImageRef]]]:
        self.asked.append((channel_id, after))
        self.readers += 1
        assert self.readers == 1, "one channel at a time"
        try:
            if self.errors.get(channel_id):
                raise self.errors[channel_id].pop(0)
            for ref in sorted(self.messages.get(channel_id, []), key=lambda ref: ref.message_id):
                if ref.message_id > after:
                    if ref.message_id in self.hold_at:
                        self.reached.set()
                        await self.hold_at[ref.message_id].wait()
                    yield ref.message_id, [ref]
        finally:
            self.readers -= 1


class Bot:
    """What the Discord side does with a CatchUp, on a real store."""

    def __init__(self, database: Database, discord: Discord, *places: ChannelRef) -> None:
        self.discord = discord
        self.places = places
        self.store = ImageStore(database)
        self.channels = ChannelStore(database)
        self.sleep = FakeSleep()
        self.accepting = self.store.accept
        self.catch_up = CatchUp(self._accept, self.channels, discord.history, sleep=self.sleep)

    async def _accept(self, refs: list[ImageRef]) -> list:
        return await self.accepting(refs)

    def connect(self) -> None:
        """A new gateway session: everything up to now may have been missed."""
        self.catch_up.hold()
        self.catch_up.begin(GUILD, [self.discord.snapshot(where) for where in self.places])

    async def online(self) -> None:
        self.catch_up.start()
        self.connect()
        await self.catch_up.finished()

    async def see(self, ref: ImageRef) -> None:
        await self.catch_up.live(ref.channel, ref.message_id, [ref])

    async def known(self) -> list[int]:
        due = await self.store.due(10_000, datetime.max.replace(tzinfo=UTC))
        return sorted(image.ref.message_id for image in due)

    async def watermark(self, where: ChannelRef) -> int | None:
        return await self.channels.last_seen(where.channel_id)
