"""Indexing yields from the beginning of a search until its matches are ranked, however the search ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import numpy as np
import pytest

from bot.errors import ImageUnreachable
from bot.models import ChannelRef, Image, ImageRef, ImageState, Readable, RemoteImage, Source
from bot.search.question import Question
from bot.search.service import SearchService
from clipcore.errors import QueueFull
from clipcore.relevance import Scored
from clipcore.types import SearchHit
from tests.indexing.support import CALIBRATION

CHANNEL = ChannelRef(guild_id=1, channel_id=2)
IMAGE = Image(3, ImageRef(CHANNEL, 4, 5, Source.ATTACHMENT, 6), ImageState.READY)
BOTH = pytest.mark.parametrize("ask", [
    lambda bot: bot.service.ask(bot, Question("a cat")),
    lambda bot: bot.service.ask(bot, Question(image=np.ones(4, np.float32))),
])  # fmt: skip


class Bot:
    """Everything that a search uses, in one. It notes at each step whether indexing yields. held: a step that waits."""

    guild_id = 1
    calibration = CALIBRATION

    def __init__(self, *, readable: bool = True, refuses: bool = False, to_ask: Collection[int] = ()) -> None:
        self.searching = 0
        self.steps: list[tuple[str, bool]] = []
        self.held: str | None = None
        self.waiting = asyncio.Event()
        self._readable, self._refuses, self._to_ask = readable, refuses, frozenset(to_ask)
        this = cast(Any, self)
        self.service = SearchService(this, this, this, this, this.look_up, texts=this, page_size=5)

    @contextmanager
    def pause_background(self) -> Iterator[None]:
        self.searching += 1
        try:
            yield
        finally:
            self.searching -= 1

    async def searchable_channels(self, guild_id: int) -> list[ChannelRef]:
        await self._step("channels")
        return [CHANNEL]

    def readable(self, channels: Iterable[ChannelRef]) -> Readable:
        self.steps.append(("visibility", self.searching > 0))
        return Readable(frozenset({CHANNEL.channel_id} if self._readable else ()), self._to_ask)

    async def ask(self, thread_ids: Iterable[int]) -> None:
        await self._step("threads")
        self._to_ask = frozenset()

    async def encode_query(self, text: str) -> np.ndarray:
        return np.ones(4, np.float32)

    async def search(self, guild_id: int, vector: object, channels: object, k: int, only: object) -> Scored:
        await self._step("search")
        if self._refuses:
            raise QueueFull
        return Scored([SearchHit(IMAGE.id, 0.9)], None)

    async def vectors(self, guild_id: int, ids: Sequence[int]) -> np.ndarray:
        self.steps.append(("vectors", self.searching > 0))
        return np.ones((len(ids), 4), np.float32)

    async def find(self, *_: object) -> list[int]:
        return []

    async def get(self, ids: Iterable[int]) -> dict[int, Image]:
        await self._step("rows")
        return {IMAGE.id: IMAGE}

    def hides(self, ref: ImageRef) -> bool:
        return False

    async def any_unverified(self, channels: Iterable[int]) -> bool:
        return False

    async def look_up(self, ref: ImageRef) -> list[RemoteImage]:
        await self._step("look-up")
        raise ImageUnreachable("not now")

    async def _step(self, name: str) -> None:
        self.steps.append((name, self.searching > 0))
        if name == self.held:
            self.waiting.set()
            await asyncio.Event().wait()


Ask = Callable[[Bot], Awaitable[object]]


@asynccontextmanager
async def asked(bot: Bot, ask: Ask) -> AsyncIterator[asyncio.Task[object]]:
    task = asyncio.ensure_future(ask(bot))
    await asyncio.wait_for(bot.waiting.wait(), 10)
    yield cast("asyncio.Task[object]", task)
    task.cancel()
    await asyncio.wait([task])


@BOTH
async def test_indexing_yields_until_the_matches_are_ranked_and_not_while_they_are_looked_up(ask: Ask) -> None:
    bot = Bot()
    await ask(bot)
    assert bot.steps == [
        ("channels", True),
        ("visibility", False),
        ("visibility", True),
        ("search", True),
        ("rows", True),
        ("vectors", True),
        ("visibility", False),
        ("look-up", False),
    ]
    assert bot.searching == 0


@BOTH
async def test_indexing_goes_on_while_discord_is_asked_about_threads(ask: Ask) -> None:
    bot = Bot(to_ask={CHANNEL.channel_id})
    await ask(bot)
    assert [step for step in bot.steps if step[0] == "threads"] == [("threads", False)]


@BOTH
async def test_indexing_goes_on_where_there_is_nothing_to_search(ask: Ask) -> None:
    bot = Bot(readable=False)
    await ask(bot)
    assert bot.searching == 0


@BOTH
async def test_indexing_goes_on_where_the_search_is_refused(ask: Ask) -> None:
    bot = Bot(refuses=True)
    with pytest.raises(QueueFull):
        await ask(bot)
    assert bot.searching == 0


@BOTH
@pytest.mark.parametrize("step", ["channels", "search", "rows"])
async def test_indexing_goes_on_where_the_search_is_cancelled(ask: Ask, step: str) -> None:
    bot = Bot()
    bot.held = step
    async with asked(bot, ask):
        assert bot.searching == 1
    assert bot.searching == 0
