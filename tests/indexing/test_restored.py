"""Images of a restored backup: compared with Discord, the newest first, and searchable only if they still exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.comparison import PAGE_MESSAGES, MessageComparer
from bot.indexing.restored import RestoredImages
from bot.indexing.retry import RetryPolicy
from bot.models import ChannelRef, Image, ImageRef, Page, RemoteImage, SeenMessage, Source
from bot.search.question import Question
from bot.store.backup import mark_unverified
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, Readers, channel_ref, direction, image_ref

Carried = frozenset[tuple[Source, int]]
QUICK = RetryPolicy(first_pause_s=0.01, factor=1, longest_pause_s=0.01)
OTHER = channel_ref(2)


class FakeDiscord:
    """carried: by channel and message. refused: errors by channel or message id. requests: what was asked for."""

    def __init__(self) -> None:
        self.carried: dict[int, dict[int, Carried | None]] = {}
        self.refused: dict[int, Exception] = {}
        self.shows_history = True
        self.requests: list[tuple[str, int]] = []
        self.on_page: Callable[[], Awaitable[object]] | None = None

    def post(self, *refs: ImageRef) -> None:
        for ref in refs:
            messages = self.carried.setdefault(ref.channel.channel_id, {})
            messages[ref.message_id] = (messages.get(ref.message_id) or frozenset()) | {ref.key}

    def delete(self, ref: ImageRef) -> None:
        del self.carried[ref.channel.channel_id][ref.message_id]

    async def page(self, channel: ChannelRef, *, after: int | None = None, before: int | None = None) -> Page:
        assert after is None
        assert before is not None
        self.requests.append(("page", channel.channel_id))
        self._refuse(channel.channel_id)
        messages = self.carried[channel.channel_id] if self.shows_history else {}
        newest = sorted(id_ for id_ in messages if id_ < before)[-PAGE_MESSAGES:]
        page = [SeenMessage(id_, carried=messages[id_]) for id_ in newest]
        if self.on_page is not None:
            await self.on_page()
        return Page(page, newest[0] - 1 if len(newest) == PAGE_MESSAGES else 0, before - 1)

    async def look_up(self, ref: ImageRef) -> list[RemoteImage]:
        self.requests.append(("message", ref.message_id))
        self._refuse(ref.channel.channel_id, ref.message_id)
        if ref.message_id not in self.carried.get(ref.channel.channel_id, {}):
            raise ImageGone
        carried = self.carried[ref.channel.channel_id][ref.message_id]
        if carried is None:
            raise ImageUnreachable
        return [RemoteImage(*key, url="https://cdn.discordapp.com/a.png") for key in carried]

    def _refuse(self, *ids: int) -> None:
        for id_ in ids:
            if id_ in self.refused:
                raise self.refused[id_]

    def comparison(self, pipeline: Pipeline) -> RestoredImages:
        async def nothing(*_: object) -> list[Image]:
            return []

        store, registry = pipeline.store, pipeline.registry
        comparer = MessageComparer(store, registry, nothing, self.page, self.look_up, nothing, nothing)  # type: ignore[arg-type]
        return RestoredImages(store, registry, comparer, pause_s=0, backoff=QUICK)


class Restored:
    """A pipeline whose images were all restored from a backup."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.discord = pipeline, FakeDiscord()
        self.refs: list[ImageRef] = []
        self.comparison = self.discord.comparison(pipeline)

    async def index(self, *refs: ImageRef) -> None:
        """They exist in Discord, are indexed, and then restored."""
        self.refs += refs
        self.discord.post(*refs)
        await self.pipeline.remember(*(self.pipeline.cdn.put(ref, b"a cat") for ref in refs))
        await self.pipeline.store._database.write(mark_unverified)
        self.pipeline.index.drop(GUILD)

    async def restart(self) -> None:
        await self.comparison.close()
        self.comparison = self.discord.comparison(self.pipeline)
        self.comparison.start()

    async def found(self) -> list[ImageRef]:
        """Every image that a search finds, oldest message first."""
        ranking = await self.pipeline.index.search(GUILD, direction(b"a cat".hex()), self._channels(), 10_000)
        images = await self.pipeline.store.get([hit.key for hit in ranking.hits])
        return sorted((image.ref for image in images.values()), key=lambda ref: (ref.message_id, ref.attachment_id))

    def _channels(self) -> set[int]:
        return {ref.channel.channel_id for ref in self.refs}

    async def until_found(self, *refs: ImageRef) -> None:
        async with asyncio.timeout(60):
            while await self.found() != [*refs]:  # noqa: ASYNC110 - a task works
                await asyncio.sleep(0.01)

    async def finished(self) -> None:
        await asyncio.wait_for(self.comparison.finished(), 60)


@pytest.fixture
async def restored(pipeline: Pipeline) -> AsyncIterator[Restored]:
    await pipeline.indexer.start()
    built = Restored(pipeline)
    yield built
    await built.comparison.close()


async def test_what_exists_is_found_after_the_comparison_and_what_is_gone_at_no_time(restored: Restored) -> None:
    stays, gone, message = image_ref(1), image_ref(2), image_ref(3)
    removed = ImageRef(message.channel, message.message_id, 5, message.source, message.author_id)
    await restored.index(stays, gone, message, removed)
    restored.discord.delete(gone)
    restored.discord.carried[message.channel.channel_id][message.message_id] = frozenset({message.key})
    assert await restored.found() == []
    restored.comparison.start()
    await restored.finished()
    assert await restored.found() == [stays, message]
    assert await restored.pipeline.store.by_message(gone.message_id) == []
    assert await restored.pipeline.store.accept([gone, removed]) == []


async def test_a_page_of_history_verifies_a_hundred_messages_with_one_request(restored: Restored) -> None:
    refs = [image_ref(number) for number in range(1, 251)]
    await restored.index(*refs)
    restored.comparison.start()
    await restored.finished()
    assert await restored.found() == refs
    assert [kind for kind, _ in restored.discord.requests] == ["page"] * 3


async def test_the_newest_images_of_all_channels_come_first(restored: Restored) -> None:
    await restored.index(image_ref(1), image_ref(2, OTHER), image_ref(300), image_ref(301, channel_ref(3)))
    restored.discord.post(*(image_ref(number) for number in range(100, 300)))  # so that the first page ends there
    restored.comparison.start()
    await restored.finished()
    assert [id_ - GUILD for _, id_ in restored.discord.requests] == [3, 1, 2, 1]


async def test_an_empty_page_as_without_the_right_to_read_deletes_nothing(restored: Restored) -> None:
    ref = image_ref(1)
    await restored.index(ref)
    restored.discord.shows_history = False
    restored.discord.refused = {ref.message_id: ImageForbidden()}
    restored.comparison.start()
    async with asyncio.timeout(60):
        while len(restored.discord.requests) < 5:  # noqa: ASYNC110 - a task works
            await asyncio.sleep(0.01)
    assert len(await restored.pipeline.store.by_message(ref.message_id)) == 1
    assert await restored.found() == []
    restored.discord.refused = {}
    restored.discord.shows_history = True
    await restored.finished()
    assert await restored.found() == [ref]


async def test_a_channel_that_is_gone_is_forgotten(restored: Restored) -> None:
    gone, stays = image_ref(1), image_ref(2, OTHER)
    await restored.index(gone, stays)
    restored.discord.refused = {gone.channel.channel_id: ImageGone()}
    restored.comparison.start()
    await restored.finished()
    assert await restored.found() == [stays]
    assert await restored.pipeline.store.by_message(gone.message_id) == []


async def test_a_channel_that_fails_keeps_no_other_from_its_turn_and_is_tried_again(restored: Restored) -> None:
    first, second = image_ref(1, OTHER), image_ref(2)
    await restored.index(first, second)
    restored.discord.refused = {second.channel.channel_id: ImageUnreachable()}
    restored.comparison.start()
    await restored.until_found(first)
    restored.discord.refused = {}
    await restored.finished()
    assert await restored.found() == [first, second]


async def test_a_message_that_cannot_be_read_keeps_no_other_from_its_turn(restored: Restored) -> None:
    first, withheld, unreachable, last = [image_ref(number) for number in (1, 2, 3, 4)]
    await restored.index(first, withheld, unreachable, last)
    messages = restored.discord.carried[first.channel.channel_id]
    known, messages[withheld.message_id] = messages[withheld.message_id], None
    restored.discord.refused = {unreachable.message_id: ImageUnreachable()}
    carried = messages.pop(unreachable.message_id)  # the page lacks it, too
    restored.comparison.start()
    await restored.until_found(first, last)
    messages |= {withheld.message_id: known, unreachable.message_id: carried}
    restored.discord.refused = {}
    await restored.finished()
    assert await restored.found() == [first, withheld, unreachable, last]


async def test_a_restart_goes_on_where_the_comparison_was(restored: Restored) -> None:
    first, second = image_ref(1, OTHER), image_ref(2)
    await restored.index(first, second)
    restored.discord.refused = {first.channel.channel_id: ImageUnreachable()}
    restored.comparison.start()
    await restored.until_found(second)
    restored.discord.refused = {}
    restored.discord.requests.clear()
    await restored.restart()
    await restored.finished()
    assert await restored.found() == [first, second]
    assert ("page", second.channel.channel_id) not in restored.discord.requests


async def test_a_deletion_that_comes_between_the_page_and_its_use_wins(restored: Restored) -> None:
    ref = image_ref(1)
    await restored.index(ref)
    restored.discord.on_page = lambda: restored.pipeline.registry.forget_messages([ref.message_id])
    restored.comparison.start()
    await restored.finished()
    assert await restored.found() == []
    assert await restored.pipeline.store.by_message(ref.message_id) == []


async def test_an_answer_says_that_restored_images_are_missing_until_they_are_compared(restored: Restored) -> None:
    first, second = image_ref(1), image_ref(2, OTHER)
    await restored.index(first, second)
    restored.pipeline.engine.query_embeddings["cats"] = direction(b"a cat".hex())
    ask, cats = restored.pipeline.search.ask, Question("cats")
    result = await ask(Readers(first), cats)
    assert (result.matches, result.unverified) == ((), True)
    restored.discord.refused = {second.channel.channel_id: ImageUnreachable()}
    restored.comparison.start()
    await restored.until_found(first)
    result = await ask(Readers(first), cats)
    assert ([match.image.ref for match in result.matches], result.unverified) == ([first], False)
    assert (await ask(Readers(first, second), cats)).unverified
