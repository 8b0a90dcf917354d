"""An animation is found by its best frame, and once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.models import Image
from bot.search.question import Question
from bot.store.backup import mark_unverified
from bot.store.database import Database
from bot.store.images import Finished
from tests.empty_database import empty_database
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import CARD, GUILD, Readers, axis, channel_ref, image_ref, like

CHANNELS = 3
Kept = dict[int, tuple[int, list[np.ndarray]]]
"""Channel and frames, by image id."""


async def see(
    pipeline: Pipeline, number: int, first: np.ndarray, *more: np.ndarray, data: bytes | None = None
) -> Image:
    data = data or b"file %d" % number
    pipeline.engine.image_embeddings[data], pipeline.engine.animations[data] = first, more
    [image] = await pipeline.remember(pipeline.cdn.put(image_ref(number), data))
    return image


async def found(pipeline: Pipeline, question: Question) -> list[int]:
    result = await pipeline.search.ask(Readers(image_ref(1)), question)
    return [] if result.nearest else [match.image.id for match in result.matches]


async def test_words_find_an_animation_by_its_best_frame_and_its_likeness_is_that_of_its_first(
    pipeline: Pipeline,
) -> None:
    await pipeline.indexer.start()
    pipeline.engine.query_embeddings["a cat"] = axis(0)
    dance = await see(pipeline, 1, axis(1), axis(0), axis(2))
    still = await see(pipeline, 2, axis(1))
    assert await found(pipeline, Question("a cat")) == [dance.id]
    embedding = await pipeline.search.embedding_of(dance)
    assert embedding is not None
    assert np.allclose(embedding, axis(1))
    assert await found(pipeline, like(embedding, dance.id)) == [still.id]
    assert await found(pipeline, like(axis(2))) == [dance.id]


async def test_a_repost_has_all_frames_without_being_encoded(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    posts = [await see(pipeline, number, axis(1), axis(0), data=b"reposted") for number in (1, 2)]
    assert await found(pipeline, like(axis(0))) == [post.id for post in posts]
    assert pipeline.engine.encoded[b"reposted"] == 1


async def test_what_a_question_avoids_counts_in_any_frame(pipeline: Pipeline) -> None:
    await pipeline.indexer.start()
    pipeline.engine.query_embeddings |= {"a cat": axis(0), "a dog": axis(3)}
    await see(pipeline, 1, axis(0), axis(3))
    cat = await see(pipeline, 2, axis(0))
    assert await found(pipeline, Question("a cat", unlike="a dog")) == [cat.id]


async def test_a_restored_animation_is_found_by_any_frame_once_it_is_verified(
    database: Database, pipeline: Pipeline
) -> None:
    await pipeline.indexer.start()
    image = await see(pipeline, 1, axis(1), axis(0))
    other = await see(pipeline, 2, axis(1))
    await database.write(mark_unverified)
    pipeline.index.drop(GUILD)
    assert await found(pipeline, like(axis(0))) == []
    await pipeline.registry.verify(GUILD, [image.id, other.id])
    assert await found(pipeline, like(axis(0))) == [image.id]


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=CARD.dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


posts = st.lists(st.tuples(st.integers(0, CHANNELS - 1), st.integers(1, 8)), min_size=1, max_size=12)
some_channels = st.sets(st.integers(0, CHANNELS - 1), min_size=1)
some_ids = st.none() | st.sets(st.integers(0, 40), min_size=1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("post"), posts),
        st.tuples(st.just("forget"), st.integers(0, 40)),
        st.tuples(st.just("load again"), st.none()),
        st.tuples(st.just("search"), st.tuples(st.integers(1, 20), some_channels, some_ids)),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(steps=steps)
def test_any_search_gives_the_best_images_by_their_best_frames(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(follow(steps))


async def follow(steps: list[tuple[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        async with await Database.open(empty_database(Path(folder) / "magpie.sqlite3")) as database:
            pipeline, kept = Pipeline(database), Kept()
            await check(pipeline, kept, 20, {0, 1, 2}, None)  # from here on the guild is in memory
            for number, (step, what) in enumerate(steps):
                if step == "post":
                    await post(pipeline, kept, number, what)
                elif step == "forget" and kept:
                    image_id = sorted(kept)[what % len(kept)]
                    [image] = (await pipeline.store.get([image_id])).values()
                    await pipeline.registry.forget_messages([image.ref.message_id])
                    del kept[image_id]
                elif step == "load again":
                    pipeline.index.drop(GUILD)
                elif step == "search":
                    await check(pipeline, kept, *what)
            await check(pipeline, kept, 20, {0, 1, 2}, None)
            await pipeline.close()


async def post(pipeline: Pipeline, kept: Kept, number: int, posts: list[tuple[int, int]]) -> None:
    refs = [image_ref(100 * number + at, channel_ref(channel)) for at, (channel, _) in enumerate(posts)]
    batch = []
    for image, (channel, count) in zip(await pipeline.store.accept(refs), posts, strict=True):
        frames = [unit(10 * image.id + frame) for frame in range(count)]
        batch.append((image, Finished(image.id, f"{image.id}", 1, 1, frames[0], more=tuple(frames[1:]))))
        kept[image.id] = channel, frames
    await pipeline.registry.commit(batch)


async def check(pipeline: Pipeline, kept: Kept, k: int, channels: set[int], only: set[int] | None) -> None:
    query = unit(7).astype(np.float32)
    scores = {
        id_: max(float(np.round(frame.astype(np.float64) @ query.astype(np.float64), 6)) for frame in frames)
        for id_, (channel, frames) in kept.items()
        if channel in channels and (only is None or id_ in only)
    }
    ids = None if only is None else np.array([*only], np.int64)
    hits = (await pipeline.index.search(GUILD, query, [GUILD + channel for channel in channels], k, ids)).hits
    assert [(hit.key, hit.score) for hit in hits] == sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
