"""Which images answer a question, and in what order, as plain data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.models import Image, ImageState, Ranked
from bot.search.ranking import Entry, fold, fuse, is_foldable, look_numbers, select_matches, steer_away
from clipcore.types import SearchHit
from tests.indexing.support import image_ref

scores = st.floats(0, 1, width=16)
rows = st.lists(st.tuples(scores, st.sampled_from(["gone", "excluded", "fine"]), st.sampled_from("abcd")), max_size=30)


@settings(deadline=None)
@given(rows=rows, one_per_content=st.booleans())
def test_every_match_is_stored_not_excluded_and_the_best_of_its_content(
    rows: list[tuple[float, str, str]], one_per_content: bool
) -> None:
    rows = sorted(rows, reverse=True)
    hits = [SearchHit(key, score) for key, (score, _, _) in enumerate(rows)]
    images = {
        key: Image(key, image_ref(key), ImageState.READY, content_hash=content)
        for key, (_, kind, content) in enumerate(rows)
        if kind != "gone"
    }
    excluded = [key for key, (_, kind, _) in enumerate(rows) if kind == "excluded"]
    found = select_matches(hits, images, exclude=excluded, one_per_content=one_per_content)
    fitting = [key for key, (score, kind, _) in enumerate(rows) if kind == "fine"]
    if one_per_content:
        first = {rows[key][2]: key for key in reversed(fitting)}
        fitting = sorted(first.values())
    assert [(image.id, score) for image, score in found] == [(key, rows[key][0]) for key in fitting]


def image(number: int, *, width: int = 100) -> Image:
    return Image(number, image_ref(number), ImageState.READY, width=width, height=100)


def test_the_images_of_an_excluded_message_are_no_matches() -> None:
    hits = [SearchHit(number, 0.9) for number in (1, 2)]
    images = {number: image(number) for number in (1, 2)}
    found = select_matches(hits, images, exclude_message=images[1].ref.message_id)
    assert [one.id for one, _ in found] == [2]


@given(st.lists(st.tuples(scores, scores), max_size=20))
def test_what_is_avoided_is_never_kept_and_what_is_nothing_like_it_keeps_its_order(
    both: list[tuple[float, float]],
) -> None:
    hits = [SearchHit(key, score) for key, (score, _) in enumerate(both)]
    avoided = np.array([likeness for _, likeness in both], np.float32)
    kept = steer_away(hits, avoided, 0.5)
    assert {hit.key for hit in kept} == {key for key, likeness in enumerate(avoided) if likeness < 0.5}
    assert all(hit == hits[hit.key] for hit in kept)
    unlike = [hit for hit in kept if avoided[hit.key] == 0]
    assert unlike == sorted(unlike, key=lambda hit: -hit.score)


def test_of_two_equal_matches_the_one_less_like_what_is_avoided_comes_first() -> None:
    hits = [SearchHit(1, 0.9), SearchHit(2, 0.89)]
    assert [hit.key for hit in steer_away(hits, np.array([0.4, 0.0], np.float32), 0.5)] == [2, 1]


@given(st.integers(1, 25), st.integers(0, 1000), st.floats(0.3, 0.99))
def test_near_copies_name_the_first_that_they_are_like_and_no_two_firsts_are_alike(
    count: int, seed: int, threshold: float
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    looks, cosines = look_numbers(vectors, threshold), vectors @ vectors.T
    firsts = sorted(set(looks))
    for row, look in enumerate(looks):
        assert look <= row
        assert looks[look] == look
        assert row == look or cosines[row, look] >= threshold
    assert not any(cosines[one, other] >= threshold for one in firsts for other in firsts if one < other)


RANKING = [Ranked(1, 0.9, 0), Ranked(2, 0.8, 1), Ranked(3, 0.7, 0), Ranked(4, 0.6, 1)]


def test_near_copies_are_one_entry_at_the_place_of_the_best_that_shows_the_largest() -> None:
    images = {1: image(1), 2: image(2), 3: image(3, width=500), 4: image(4)}
    assert fold(RANKING, images, folded=True) == [
        Entry(images[3], 0.9, (images[1],)),
        Entry(images[2], 0.8, (images[4],)),
    ]
    assert [entry.image.id for entry in fold(RANKING, images, folded=False)] == [1, 2, 3, 4]


def test_what_may_not_be_shown_is_no_entry_and_counts_for_none() -> None:
    images = {number: image(number) for number in (2, 3)}
    assert fold(RANKING, images, folded=True) == [Entry(images[2], 0.8), Entry(images[3], 0.7)]
    assert is_foldable(RANKING)
    assert not is_foldable([ranked for ranked in RANKING if ranked.image_id in images])


rankings = st.lists(st.integers(0, 20), unique=True, max_size=12)


def ranked(ids: list[int]) -> list[SearchHit]:
    return [SearchHit(id_, 1 / (1 + place)) for place, id_ in enumerate(ids)]


@given(rankings, rankings)
def test_two_rankings_become_one_that_has_each_image_once(alike: list[int], written: list[int]) -> None:
    fused = [hit.key for hit in fuse(ranked(alike), ranked(written))]
    assert sorted(fused) == sorted({*alike, *written})
    if not (alike and written):
        assert fused == alike + written
    for first, second in pairwise(fused):
        assert not (_is_before(second, first, alike) and _is_before(second, first, written))


def _is_before(first: int, second: int, ranking: list[int]) -> bool:
    return first in ranking and (second not in ranking or ranking.index(first) < ranking.index(second))


def test_what_stands_in_both_rankings_comes_first_and_then_what_is_written() -> None:
    assert [hit.key for hit in fuse(ranked([1, 2, 3]), ranked([4, 3]))] == [3, 4, 1, 2]


def test_an_entry_is_written_where_one_of_its_near_copies_is() -> None:
    images = {number: image(number, width=100 * number) for number in (1, 2, 3)}
    ranking = [Ranked(1, 0.9, 1, written=True), Ranked(2, 0.8, 1), Ranked(3, 0.7, 3)]
    assert [entry.written for entry in fold(ranking, images, folded=True)] == [True, False]
