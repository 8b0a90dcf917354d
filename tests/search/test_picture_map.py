"""Which pictures a map shows to whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace

import pytest

from bot.errors import ImageForbidden, ImageUnreachable
from bot.models import ImageRef, RemoteImage
from bot.search.picture_map import PictureMaps, Pictures
from bot.search.service import Audience
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, Readers, channel_ref, image_ref

SOON_S = 60.0


class Channel:
    """Discord, as a map asks it. removed: messages without their image; deleted: messages; covered: spoilers."""

    def __init__(self) -> None:
        self.removed: set[int] = set()
        self.deleted: set[int] = set()
        self.covered: set[int] = set()
        self.errors: dict[int, Exception] = {}
        self.hanging: set[int] = set()
        self.asked: list[int] = []

    async def __call__(self, refs: Collection[ImageRef]) -> AsyncIterator[tuple[ImageRef, list[RemoteImage] | None]]:
        for ref in refs:
            self.asked.append(ref.message_id)
            if ref.message_id in self.errors:
                raise self.errors[ref.message_id]
            if ref.message_id in self.hanging:
                await asyncio.Event().wait()
            remote = RemoteImage(ref.source, ref.attachment_id, "https://x", spoiler=ref.message_id in self.covered)
            carried = [] if ref.message_id in self.removed else [remote]
            yield ref, None if ref.message_id in self.deleted else carried


@pytest.fixture
def discord() -> Channel:
    return Channel()


@pytest.fixture
async def maps(pipeline: Pipeline, discord: Channel) -> PictureMaps:
    await pipeline.indexer.start()
    return PictureMaps(pipeline.store, pipeline.index.vectors, pipeline.registry, discord)


async def remember(pipeline: Pipeline, number: int, *, channel: int = 1, data: bytes | None = None) -> ImageRef:
    ref = pipeline.cdn.put(image_ref(number, channel_ref(channel)), data or f"file {number}".encode())
    await pipeline.remember(ref)
    return ref


async def choose(maps: PictureMaps, audience: Audience, within: int | None = None, most: int = 50) -> Pictures:
    return await maps.choose(audience, within, most, asyncio.get_running_loop().time() + SOON_S)


def refs(pictures: Pictures) -> list[ImageRef]:
    return [one.image.ref for one in pictures.found]


async def test_only_what_the_audience_may_see_is_on_the_map(
    pipeline: Pipeline, maps: PictureMaps, discord: Channel
) -> None:
    shown, hidden = await remember(pipeline, 1, channel=1), await remember(pipeline, 2, channel=2)
    assert refs(await choose(maps, Readers(shown))) == [shown]
    assert discord.asked == [shown.message_id]
    assert refs(await choose(maps, Readers(shown, hidden), within=hidden.channel.channel_id)) == [hidden]
    assert refs(await choose(maps, Readers(image_ref(9, channel_ref(9))))) == []


async def test_private_threads_are_asked_about_and_a_map_has_those_that_were_joined(
    pipeline: Pipeline, maps: PictureMaps
) -> None:
    joined, foreign = await remember(pipeline, 1, channel=3), await remember(pipeline, 2, channel=4)
    asked = {joined.channel.channel_id: True, foreign.channel.channel_id: False}
    assert refs(await choose(maps, Readers(joined=asked))) == [joined]


async def test_rights_that_are_lost_meanwhile_count(pipeline: Pipeline, maps: PictureMaps) -> None:
    one, other = await remember(pipeline, 1, channel=1), await remember(pipeline, 2, channel=2)
    readers = Readers(one, other)
    pictures = await choose(maps, readers)
    readers.hides(other)
    assert [shown.image.ref for shown in maps.still_visible(readers, pictures.found)] == [one]


async def test_the_newest_are_chosen_and_it_is_said_that_there_are_more(pipeline: Pipeline, maps: PictureMaps) -> None:
    posted = [await remember(pipeline, number) for number in range(5)]
    few = await choose(maps, Readers(*posted), most=2)
    assert (refs(few), few.more) == (posted[:2:-1], True)
    everything = await choose(maps, Readers(*posted), most=5)
    assert (refs(everything), everything.more) == (posted[::-1], False)


async def test_of_reposts_there_is_one_and_none_under_a_spoiler(
    pipeline: Pipeline, maps: PictureMaps, discord: Channel
) -> None:
    first, again = await remember(pipeline, 1, data=b"same"), await remember(pipeline, 2, data=b"same")
    covered = pipeline.cdn.put(replace(image_ref(3), spoiler=True), b"covered")
    await pipeline.remember(covered)
    became_covered = await remember(pipeline, 4)
    discord.covered.add(became_covered.message_id)
    assert refs(await choose(maps, Readers(first))) == [again]
    assert covered.message_id not in discord.asked


async def test_what_is_gone_is_forgotten(pipeline: Pipeline, maps: PictureMaps, discord: Channel) -> None:
    deleted, removed, stays = [await remember(pipeline, number) for number in range(3)]
    discord.deleted.add(deleted.message_id)
    discord.removed.add(removed.message_id)
    pictures = await choose(maps, Readers(stays))
    assert (refs(pictures), pictures.unreachable) == ([stays], 0)
    assert not await pipeline.store.by_message(deleted.message_id)
    assert not await pipeline.store.by_message(removed.message_id)


@pytest.mark.parametrize("error", [ImageForbidden("no"), ImageUnreachable("not now")])
async def test_a_channel_that_discord_does_not_show_costs_its_own_pictures_only(
    pipeline: Pipeline, maps: PictureMaps, discord: Channel, error: Exception
) -> None:
    lost, shown = await remember(pipeline, 1, channel=1), await remember(pipeline, 2, channel=2)
    discord.errors[lost.message_id] = error
    pictures = await choose(maps, Readers(lost, shown))
    assert (refs(pictures), pictures.unreachable) == ([shown], 1)
    assert await pipeline.store.by_message(lost.message_id)


async def test_what_discord_does_not_answer_in_time_is_left_out(
    pipeline: Pipeline, maps: PictureMaps, discord: Channel
) -> None:
    slow, shown = await remember(pipeline, 1, channel=1), await remember(pipeline, 2, channel=2)
    discord.hanging.add(slow.message_id)
    pictures = await maps.choose(Readers(slow, shown), None, 50, asyncio.get_running_loop().time() + 0.5)
    assert (refs(pictures), pictures.unreachable) == ([shown], 1)


async def test_each_picture_has_its_embedding(pipeline: Pipeline, maps: PictureMaps) -> None:
    posted = [await remember(pipeline, number) for number in range(2)]
    pictures = await choose(maps, Readers(*posted))
    vectors = await maps.vectors(GUILD, pictures.found)
    assert vectors.shape == (2, 16)
    await pipeline.store.forget_messages([posted[0].message_id])
    await pipeline.index.discard([pictures.found[1].image.id])
    assert (await maps.vectors(GUILD, pictures.found)).any(axis=1).tolist() == [True, False]
