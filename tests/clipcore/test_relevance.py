"""Which images answer a query: decided from the scores of those that may be searched, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.index.vector_index import VectorIndex
from clipcore.relevance import Population, Scored, cut, population_of
from clipcore.types import Calibration, Standing

MODEL = Calibration(0.5, 0.7, 0.3, Standing(spread=0.1, doubtful=0.4, certain=0.7))
UNMEASURED = replace(MODEL, standing=Standing(spread=None, doubtful=0.4, certain=0.7))
READABLE, HIDDEN = 1, 2
scores = st.floats(-1, 1, width=32)
calibrations = st.sampled_from([MODEL, UNMEASURED, replace(MODEL, standing=None)])


def cut_of(values: list[float], calibration: Calibration = MODEL) -> float:
    return cut(population_of(np.array(values), len(values)), calibration)


def unit_rows(values: list[float]) -> np.ndarray:
    """Vectors with these cosines to the first axis."""
    return np.array([(value, np.sqrt(max(0.0, 1 - value**2))) for value in values], np.float32).reshape(-1, 2)


def ordinary(count: int, centre: float) -> list[float]:
    return list(np.random.default_rng(0).normal(centre, 0.08, count))


@given(st.lists(scores, min_size=1, max_size=60), scores, calibrations)
def test_an_image_with_a_better_score_never_loses_to_one_with_a_worse_score(values, better, calibration):
    """And raising the score of an image that passes never makes it fail, though it is part of the population."""
    best = max(values)
    passed = best >= cut_of(values, calibration)
    raised = max(best, better)
    others = [value for at, value in enumerate(values) if at != values.index(best)]
    if passed:
        assert raised >= cut_of([*others, raised], calibration) - 1e-6


@given(st.lists(scores, min_size=1, max_size=40), st.lists(scores, max_size=40), st.integers(1, 50))
def test_images_that_may_not_be_searched_change_nothing(values, hidden, k):
    def ranking(seen: list[float], unseen: list[float]) -> Scored:
        index = VectorIndex(2)
        rows = unit_rows([*unseen[::2], *seen, *unseen[1::2]])
        groups = [HIDDEN] * len(unseen[::2]) + [READABLE] * len(seen) + [HIDDEN] * len(unseen[1::2])
        keys = np.where(
            np.array(groups) == READABLE, np.cumsum(np.array(groups) == READABLE), 1000 + np.arange(len(rows))
        )
        index.add(rows, keys, groups)
        return index.rank([1, 0], k, {READABLE})

    assert ranking(values, hidden) == ranking(values, [])


@given(st.lists(scores, min_size=1, max_size=300), calibrations)
def test_the_cut_stays_within_the_bounds_of_the_model(values, calibration):
    least = cut_of(values, calibration)
    if calibration.standing is None:
        assert least == calibration.text_threshold
    else:
        assert calibration.standing.doubtful <= least <= calibration.standing.certain


def test_where_nothing_was_searched_the_threshold_of_the_model_stands():
    assert population_of(np.empty(0), 0) is None
    assert cut(None, MODEL) == MODEL.text_threshold


@pytest.mark.parametrize("score", [-0.2, 0.1, 0.48])
def test_a_single_image_is_judged_by_the_threshold(score):
    assert cut_of([score]) == pytest.approx(MODEL.text_threshold, abs=0.08)
    assert score < cut_of([score])


def test_a_single_image_that_clearly_matches_is_a_match():
    assert cut_of([0.6]) <= 0.6


def test_a_query_to_which_everything_scores_high_needs_a_higher_score():
    """Words without sense lie near every image."""
    sense, nonsense = ordinary(300, 0.1), ordinary(300, 0.3)
    assert cut_of(sense) < 0.45 < 0.55 < cut_of(nonsense)


def test_among_more_images_the_best_must_stand_out_further():
    assert cut_of(ordinary(20, 0.15)) < cut_of(ordinary(20_000, 0.15))


def test_where_most_images_show_what_is_asked_for_they_are_found():
    """In a channel of cats no cat stands out."""
    cats = ordinary(200, 0.78)
    assert sum(score >= cut_of(cats) for score in cats) > 150


def test_a_model_that_was_not_measured_is_judged_by_the_spread_that_its_scores_have():
    narrow = [0.2 + (score - 0.2) / 4 for score in ordinary(400, 0.2)]
    bounds = replace(UNMEASURED, standing=Standing(None, 0.0, 1.0))
    wide_cut, narrow_cut = cut_of(ordinary(400, 0.2), bounds), cut_of(narrow, bounds)
    assert narrow_cut - 0.2 == pytest.approx((wide_cut - 0.2) / 4, abs=0.02)


def test_a_large_population_is_estimated_from_a_sample():
    values = np.random.default_rng(1).normal(0.2, 0.1, 400_000).astype(np.float32)
    values[3::4] = -np.inf  # as the last of four places of a chunk often is
    population = population_of(values.reshape(-1, 4), 300_000)
    assert population is not None
    assert population.count == 300_000
    assert (population.centre, population.spread) == pytest.approx((0.2, 0.1), abs=0.01)


def test_one_image_among_places_that_hold_none_is_found_by_the_sample():
    values = np.full(100_000, -np.inf, np.float32)
    values[77] = 0.25
    for count in (1, 20_000):  # the step misses it where there should be many
        assert population_of(values, count) == Population(count, 0.25, 0.0)


def test_of_a_filtered_search_the_images_that_the_filter_leaves_are_the_population():
    index = VectorIndex(2)
    index.add(unit_rows([0.1, 0.2, 0.3, 0.8, 0.9]), range(5))
    assert index.rank([1, 0], 1, keys=np.array([3, 4])).population == Population(
        2, pytest.approx(0.85, abs=1e-3), pytest.approx(0.034, abs=1e-3)
    )
