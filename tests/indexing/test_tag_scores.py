from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.indexing.tag_scores import HIGHEST, LOWEST, needed_probability, tag_score

probabilities, thresholds = st.floats(0, 1), st.floats(1e-6, 0.999)


@given(probabilities, thresholds)
def test_an_image_is_tagged_from_fifty_on_whatever_the_models_threshold(probability: float, threshold: float) -> None:
    assert tag_score(threshold, threshold) == 50
    if abs(probability - threshold) > 1e-6 * threshold:
        assert (tag_score(probability, threshold) >= 50) == (probability > threshold)


@given(probabilities, probabilities, thresholds)
def test_what_is_more_probable_scores_no_less(one: float, other: float, threshold: float) -> None:
    low, high = sorted((one, other))
    assert LOWEST <= tag_score(low, threshold) <= tag_score(high, threshold) <= HIGHEST


@given(st.integers(LOWEST, HIGHEST), st.floats(1e-4, 0.99))
def test_a_score_and_the_probability_that_it_needs_belong_together(score: int, threshold: float) -> None:
    needed = needed_probability(score, threshold)
    assert tag_score(needed * 1.0001, threshold) >= score
    assert tag_score(needed * 0.99, threshold) <= score
    assert needed_probability(50, threshold) == threshold
