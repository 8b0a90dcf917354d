"""Indexing stands back from a question's first moment until its images are ranked, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import numpy as np
import pytest

from bot.app import behind_questions
from bot.errors import ImageUnreachable
from bot.features.answers import Answers
from bot.models import ChannelRef, Hit, Image, ImageRef, ImageState, SearchAnswer, SearchQuery, Source
from clipcore.errors import QueueFull

PLACE = ChannelRef(guild_id=1, channel_id=2)
IMAGE = Image(3, ImageRef(PLACE, 4, 5, Source.ATTACHMENT, 6), ImageState.READY)
VECTOR = np.ones(4, np.float32)
BOTH = pytest.mark.parametrize("ask", [
    lambda house: house.answers.to_words(house, "a cat"),
    lambda house: house.answers.to_vector(house, VECTOR),
])  # fmt: skip


class House:
    """All that an answer asks, in one: it notes at each step whether indexing stands back. held: a step that waits."""

    guild_id = 1

    def __init__(self, *, readable: bool = True, refuses: bool = False) -> None:
        self.in_front = 0
        self.steps: list[tuple[str, bool]] = []
        self.held: str | None = None
        self.waiting = asyncio.Event()
        self._readable, self._refuses = readable, refuses
        room = cast(Any, self)
        self.answers = Answers(room, room, room, room, self.foreground, limit=5)

    @contextmanager
    def foreground(self) -> Iterator[None]:
        self.in_front += 1
        try:
            yield
        finally:
            self.in_front -= 1

    async def places(self, guild_id: int) -> list[ChannelRef]:
        await self._step("places")
        return [PLACE]

    async def readable(self, places: Iterable[ChannelRef]) -> frozenset[int]:
        await self._step("rights")
        return frozenset({PLACE.channel_id} if self._readable else ())

    async def find(self, words: str, query: SearchQuery) -> SearchAnswer:
        await self._step("search")
        if self._refuses:
            raise QueueFull
        return SearchAnswer((Hit(IMAGE, 0.9),), nothing_alike=False)

    async def similar(self, vector: object, query: SearchQuery, exclude: object) -> SearchAnswer:
        return await self.find("", query)

    async def look(self, ref: ImageRef) -> list[object]:
        await self._step("look-up")
        raise ImageUnreachable("not now")

    async def _step(self, name: str) -> None:
        self.steps.append((name, self.in_front > 0))
        if name == self.held:
            self.waiting.set()
            await asyncio.Event().wait()


Ask = Callable[[House], Awaitable[object]]


@asynccontextmanager
async def asked(house: House, ask: Ask) -> AsyncIterator[asyncio.Task[object]]:
    task = asyncio.ensure_future(ask(house))
    await asyncio.wait_for(house.waiting.wait(), 10)
    yield cast("asyncio.Task[object]", task)
    task.cancel()
    await asyncio.wait([task])


@BOTH
async def test_indexing_stands_back_until_the_images_are_ranked_and_not_while_they_are_looked_up(ask: Ask) -> None:
    house = House()
    await ask(house)
    assert house.steps == [
        ("places", True),
        ("rights", True),
        ("search", True),
        ("rights", False),
        ("look-up", False),
    ]
    assert house.in_front == 0


@BOTH
async def test_it_goes_on_where_there_is_nothing_to_search(ask: Ask) -> None:
    house = House(readable=False)
    await ask(house)
    assert house.in_front == 0


@BOTH
async def test_it_goes_on_where_the_question_is_refused(ask: Ask) -> None:
    house = House(refuses=True)
    with pytest.raises(QueueFull):
        await ask(house)
    assert house.in_front == 0


@BOTH
@pytest.mark.parametrize("step", ["places", "rights", "search"])
async def test_it_goes_on_where_the_question_is_given_up(ask: Ask, step: str) -> None:
    house = House()
    house.held = step
    async with asked(house, ask):
        assert house.in_front == 1
    assert house.in_front == 0


async def test_a_file_that_has_come_is_read_once_the_question_is_done() -> None:
    done = asyncio.Event()

    async def fetch(ref: ImageRef, make_room: object) -> bytes:
        return b"a file"

    async def stand_back() -> None:
        await done.wait()

    fetching = asyncio.ensure_future(behind_questions(fetch, stand_back)(IMAGE.ref, cast(Any, None)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not fetching.done()
    done.set()
    assert await fetching == b"a file"
