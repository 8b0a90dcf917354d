"""The retry policy."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import ImageUnreachable
from bot.indexing.retry import Park, Postpone, Release, RetryPolicy
from clipcore.errors import EngineClosed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
luck = st.floats(0, 1, exclude_max=True)


@settings(deadline=None)
@given(attempts=st.integers(0, 10_000), first=luck, second=luck)
def test_pauses_never_shrink_by_more_than_their_jitter_and_stay_bounded(
    attempts: int, first: float, second: float
) -> None:
    policy = RetryPolicy()
    pause, next_pause = policy.pause(attempts, first), policy.pause(attempts + 1, second)
    assert policy.first_pause_s <= pause <= policy.longest_pause_s * (1 + policy.jitter)
    assert next_pause * (1 + policy.jitter) >= pause


def test_pauses_grow_by_their_factor() -> None:
    policy = RetryPolicy(first_pause_s=2, factor=3, longest_pause_s=40, jitter=0)
    assert [policy.pause(attempts, 0.5) for attempts in range(4)] == [2, 6, 18, 40]


def test_the_last_attempt_parks() -> None:
    policy = RetryPolicy(attempts=3)
    verdicts = [policy.verdict(ImageUnreachable(), attempts, NOW, 0.0) for attempts in range(3)]
    assert [type(verdict) for verdict in verdicts] == [Postpone, Postpone, Park]
    assert isinstance(verdicts[0], Postpone)
    assert verdicts[0].until > NOW


def test_a_closing_engine_costs_no_attempt() -> None:
    assert RetryPolicy(attempts=1).verdict(EngineClosed(), 0, NOW, 0.0) == Release()


def test_the_reason_of_an_unexpected_error_names_its_type_and_not_its_message() -> None:
    verdict = RetryPolicy(attempts=1).verdict(ValueError("https://secret.example"), 0, NOW, 0.0)
    assert verdict == Park("unexpected_ValueError")


def test_by_default_an_image_is_retried_for_more_than_a_day() -> None:
    policy = RetryPolicy()
    assert sum(policy.pause(attempts, 0.0) for attempts in range(policy.attempts - 1)) > 24 * 3600
