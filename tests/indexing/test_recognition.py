"""How images are read in the background, with a recognizer that knows what stands in each file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.image_texts import fold_text
from bot.indexing.recognition import TextReader
from bot.indexing.retry import RetryPolicy
from bot.models import ImageRef, utc_now
from clipcore.errors import EncodingFailed, ImageRejected, RejectReason
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, channel_ref, image_ref, until

HERE = channel_ref()
OFTEN = RetryPolicy(first_pause_s=0.0, jitter=0.0, attempts=3)


class FakeRecognizer:
    """A file's text is its bytes, unless there are errors to raise, once each."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.errors: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def recognize(self, data: bytes) -> str:
        self.read.append(data)
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return data.decode()

    async def rest(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


async def no_query() -> None: ...


class Reading:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.recognizer = FakeRecognizer()
        self.reader = self.begun()

    def begun(self) -> TextReader:
        parts = self.pipeline.texts, self.recognizer, self.pipeline.cdn, self.pipeline.registry, no_query
        reader = TextReader(*parts, pause_s=0.0, retry=OFTEN)
        reader.start()
        return reader

    async def post(self, number: int, text: str, *, guild: int = GUILD) -> ImageRef:
        ref = self.pipeline.cdn.put(image_ref(number, channel_ref(guild=guild)), text.encode())
        await self.pipeline.remember(ref)
        return ref

    async def want(self, guild: int = GUILD, *, on: bool = True) -> None:
        await self.pipeline.texts.set_reading(guild, on)
        self.reader.wake()

    async def found(self, words: str, guild: int = GUILD) -> list[int]:
        return await self.pipeline.texts.find([channel_ref(guild=guild).channel_id], fold_text(words), 10)

    async def finds(self, words: str, guild: int = GUILD) -> None:
        async def is_found() -> bool:
            return bool(await self.found(words, guild))

        await until(is_found)

    async def settled(self) -> None:
        """Waits until nothing is left to read."""
        texts = self.pipeline.texts

        async def nothing_left() -> bool:
            return not await texts.guilds_to_read(utc_now())

        await until(nothing_left)


@pytest.fixture
async def reading(pipeline: Pipeline) -> AsyncIterator[Reading]:
    await pipeline.indexer.start()
    reading = Reading(pipeline)
    yield reading
    await reading.reader.close()


async def test_images_of_before_and_after_the_choice_are_read_and_others_are_not(reading: Reading) -> None:
    other = GUILD + (1 << 30)
    await reading.post(1, "before")
    await reading.post(2, "elsewhere", guild=other)
    await reading.want()
    await reading.finds("before")
    await reading.post(3, "after")
    reading.reader.wake()
    await reading.finds("after")
    assert await reading.found("elsewhere", other) == []
    assert reading.recognizer.read == [b"before", b"after"]


async def test_a_restart_goes_on_and_reads_nothing_twice(reading: Reading) -> None:
    reading.recognizer.gate = asyncio.Event()
    for number in range(3):
        await reading.post(number, f"text {number}")
    await reading.want()
    await until(lambda: len(reading.recognizer.read) == 1)
    await reading.reader.close()
    assert reading.recognizer.closed
    reading.recognizer.gate = None
    reading.reader = reading.begun()
    await reading.settled()
    assert sorted(reading.recognizer.read) == [b"text 0", b"text 1", b"text 2", b"text 2"]
    for number in range(3):
        assert len(await reading.found(f"text {number}")) == 1


async def test_another_post_of_a_file_is_not_downloaded_again(reading: Reading) -> None:
    await reading.want()
    for number in range(3):
        await reading.post(number, "the same")
    await reading.settled()
    assert len(await reading.found("the same")) == 3
    assert reading.recognizer.read == [b"the same"]


@pytest.mark.parametrize("error", [ImageUnreachable(), ImageForbidden(), EncodingFailed("no")])
async def test_what_fails_for_a_while_is_read_later_and_holds_up_nothing(reading: Reading, error: Exception) -> None:
    await reading.post(1, "first")
    await reading.post(2, "second")
    reading.recognizer.errors = [error]
    await reading.want()
    await reading.finds("first")
    await reading.finds("second")


async def test_what_cannot_be_read_is_given_up_and_tried_no_more(reading: Reading) -> None:
    await reading.post(1, "hostile")
    reading.recognizer.errors = [ImageRejected(RejectReason.TOO_COSTLY, "no")]
    await reading.want()
    await reading.settled()
    assert reading.recognizer.read == [b"hostile"]
    await reading.post(2, "lost")
    reading.recognizer.errors = [ImageUnreachable()] * OFTEN.attempts
    reading.reader.wake()
    await reading.settled()
    assert reading.recognizer.read == [b"hostile"] + [b"lost"] * OFTEN.attempts


async def test_what_is_gone_is_forgotten(reading: Reading) -> None:
    ref = await reading.post(1, "gone")
    reading.pipeline.cdn.errors[ref.attachment_id] = [ImageGone()]
    await reading.want()

    async def is_forgotten() -> bool:
        return not await reading.pipeline.store.by_message(ref.message_id)

    await until(is_forgotten)


@pytest.mark.parametrize("forget", ["message", "choice"])
async def test_what_is_deleted_while_it_is_read_leaves_nothing(reading: Reading, forget: str) -> None:
    reading.recognizer.gate = asyncio.Event()
    ref = await reading.post(1, "secret")
    await reading.want()
    await until(lambda: len(reading.recognizer.read) == 1)
    if forget == "message":
        await reading.pipeline.registry.forget_messages([ref.message_id])
    else:
        await reading.want(on=False)
    reading.recognizer.gate.set()
    await reading.settled()
    await reading.reader.close()
    assert await reading.found("secret") == []


async def test_without_the_extra_nothing_is_read(pipeline: Pipeline) -> None:
    reader = TextReader(pipeline.texts, None, pipeline.cdn, pipeline.registry, no_query)
    reader.start()
    assert not reader.available
    await reader.close()
