"""What is answered, and what is honestly not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.models import Image, ImageRef, ImageState
from bot.search.service import Choice
from clipcore.types import Lane, SearchHit
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import axis, image_ref, place


def between(first: int, second: int, cosine: float) -> np.ndarray:
    """A unit vector with this cosine to the first axis; the rest of it lies along the second."""
    return (cosine * axis(first) + np.sqrt(1 - cosine**2) * axis(second)).astype(np.float32)


async def see(
    pipeline: Pipeline, number: int, sight: np.ndarray, *, channel: int = 1, data: bytes | None = None
) -> ImageRef:
    ref = image_ref(number, place(channel))
    data = data or f"file {number}".encode()
    pipeline.engine.sights[data] = sight
    await pipeline.remember(pipeline.cdn.put(ref, data))
    return ref


@pytest.fixture
async def home(pipeline: Pipeline) -> Pipeline:
    pipeline.engine.words["a cat"] = axis(0)
    await pipeline.indexer.start()
    return pipeline


async def test_the_best_fit_comes_first_and_what_is_too_weak_does_not_come(home: Pipeline) -> None:
    good = await see(home, 1, between(0, 1, 0.8))
    best = await see(home, 2, between(0, 2, 0.9))
    weak = await see(home, 3, between(0, 3, 0.4))
    answer = await home.searcher.find("a cat", home.everywhere(good, best, weak))
    assert [hit.image.ref for hit in answer.hits] == [best, good]
    assert answer.hits[0].score == pytest.approx(0.9, abs=1e-3)
    assert not answer.nothing_alike


async def test_a_weak_best_match_is_said_to_be_nothing_like_that(home: Pipeline) -> None:
    ref = await see(home, 1, between(0, 1, 0.45))
    answer = await home.searcher.find("a cat", home.everywhere(ref))
    assert (answer.hits, answer.nothing_alike) == ((), True)


async def test_an_empty_channel_is_not_said_to_hold_nothing_alike(home: Pipeline) -> None:
    ref = await see(home, 1, axis(0), channel=1)
    elsewhere = image_ref(9, place(2))
    answer = await home.searcher.find("a cat", home.everywhere(elsewhere))
    assert (answer.hits, answer.nothing_alike) == ((), False)
    assert (await home.searcher.find("a cat", home.everywhere(ref))).hits


async def test_a_channel_that_is_not_asked_for_is_not_answered_from_and_shortens_nothing(home: Pipeline) -> None:
    for number in range(10):
        await see(home, number, axis(0), channel=2)
    allowed = [await see(home, 20 + number, between(0, 1, 0.7), channel=1) for number in range(3)]
    answer = await home.searcher.find("a cat", home.everywhere(*allowed, limit=3))
    assert {hit.image.ref for hit in answer.hits} == set(allowed)


async def test_reposts_of_one_file_take_one_place_among_the_words_found(home: Pipeline) -> None:
    for number in range(40):
        await see(home, number, axis(0), data=b"reposted")
    other = await see(home, 50, between(0, 1, 0.6))
    answer = await home.searcher.find("a cat", home.everywhere(other, limit=5))
    assert len(answer.hits) == 2
    assert answer.hits[1].image.ref == other


async def test_hits_whose_row_is_gone_are_left_out_and_others_take_their_place(home: Pipeline) -> None:
    refs = [await see(home, number, between(0, 1 + number, 0.9 - 0.02 * number)) for number in range(8)]
    query = home.everywhere(*refs, limit=3)
    assert len((await home.searcher.find("a cat", query)).hits) == 3
    await home.store.forget_messages([ref.message_id for ref in refs[:4]])
    answer = await home.searcher.find("a cat", query)
    assert [hit.image.ref for hit in answer.hits] == refs[4:7]


async def test_the_image_asked_about_is_not_its_own_look_alike_but_its_repost_is(home: Pipeline) -> None:
    asked = await see(home, 1, axis(0), data=b"one file")
    repost = await see(home, 2, axis(0), data=b"one file")
    near = await see(home, 3, between(0, 1, 0.8))
    far = await see(home, 4, between(0, 2, 0.5))
    [image] = await home.store.by_message(asked.message_id)
    vector = await home.searcher.vector_of(image)
    assert vector is not None
    answer = await home.searcher.similar(vector, home.everywhere(asked, limit=2), [image.id])
    assert [hit.image.ref for hit in answer.hits] == [repost, near]
    assert far not in [hit.image.ref for hit in answer.hits]


async def test_alone_among_strangers_an_image_has_nothing_alike(home: Pipeline) -> None:
    asked = await see(home, 1, axis(0))
    [image] = await home.store.by_message(asked.message_id)
    answer = await home.searcher.similar(axis(0), home.everywhere(asked), [image.id])
    assert (answer.hits, answer.nothing_alike) == ((), True)


async def test_an_uploaded_image_is_looked_at_in_the_quick_lane_unless_it_is_known(home: Pipeline) -> None:
    await see(home, 1, axis(3), data=b"known file")
    home.engine.sights[b"new file"] = axis(4)
    home.engine.lanes.clear()
    assert await home.searcher.vector_for_bytes(b"known file") == pytest.approx(axis(3), abs=1e-3)
    assert home.engine.lanes == []
    assert await home.searcher.vector_for_bytes(b"new file") == pytest.approx(axis(4))
    assert home.engine.lanes == [Lane.INTERACTIVE]


async def test_an_image_that_is_still_pending_has_no_vector(home: Pipeline) -> None:
    await home.indexer.close()
    [image] = await home.indexer.accept([image_ref(1)])
    assert await home.searcher.vector_of(image) is None


scores = st.floats(0, 1, width=16)
rows = st.lists(st.tuples(scores, st.sampled_from(["gone", "excluded", "fine"]), st.sampled_from("abcd")), max_size=30)


@settings(deadline=None)
@given(rows=rows, limit=st.integers(1, 5), one_per_content=st.booleans())
def test_growing_helpings_give_what_one_look_at_everything_would(
    rows: list[tuple[float, str, str]], limit: int, one_per_content: bool
) -> None:
    ranked = [SearchHit(key, row[0]) for key, row in enumerate(sorted(rows, reverse=True))]
    kinds = {key: row[1:] for key, row in enumerate(sorted(rows, reverse=True))}
    excluded = frozenset(key for key, (kind, _) in kinds.items() if kind == "excluded")
    images = {
        key: Image(key, image_ref(key), ImageState.READY, content_hash=content)
        for key, (kind, content) in kinds.items()
        if kind != "gone"
    }
    choice, wanted = Choice(limit, 0.5, excluded=excluded, one_per_content=one_per_content), 1
    while not choice.complete and wanted <= 2 * len(ranked) + 1:
        choice.take(ranked[:wanted], images)
        wanted *= 2

    expected: list[int] = []
    contents: set[str] = set()
    for hit in ranked:
        kind, content = kinds[hit.key]
        if kind != "fine" or hit.score < 0.5 or (one_per_content and content in contents):
            continue
        contents.add(content)
        expected.append(hit.key)
    answer = choice.answer()
    assert [hit.image.id for hit in answer.hits] == expected[:limit]
    assert answer.nothing_alike == (not expected and bool(images))
