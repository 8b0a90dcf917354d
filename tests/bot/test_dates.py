"""Dates as members write them, in two languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.features.dates import Moment, read_date, suggested_dates
from bot.models import NEWEST, first_message_at, posted_at

NOW = datetime(2026, 11, 30, 13, 5, 40, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-07-01", "2026-07-01"),
        (" 2026-07-01 ", "2026-07-01"),
        ("2026年7月1日", "2026-07-01"),
        ("1 July 2026", "2026-07-01"),
        ("July 2026", "2026-07-01"),
        ("2026", "2026-01-01"),
        ("二零二六年七月", "2026-07-01"),
        ("7月1日", "2026-07-01"),
        ("十二月二十三日", "2025-12-23"),  # the last one that there was
        ("today", "2026-11-30"),
        ("yesterday", "2026-11-29"),
        ("昨天", "2026-11-29"),
        ("3 days ago", "2026-11-27"),
        ("三天前", "2026-11-27"),
        ("3 weeks ago", "2026-11-09"),
        ("三周前", "2026-11-09"),
        ("三個星期前", "2026-11-09"),
        ("3周前", "2026-11-09"),
        ("a month ago", "2026-10-30"),
        ("一个月前", "2026-10-30"),
        ("半年前", "2026-05-30"),
        ("last month", "2026-10-01"),
        ("上个月", "2026-10-01"),
        ("last week", "2026-11-23"),
        ("上星期", "2026-11-23"),
        ("last year", "2025-01-01"),
        ("去年", "2025-01-01"),
        ("this year", "2026-01-01"),
        ("十二天前", "2026-11-18"),
    ],
)
def test_a_day_is_read_from_its_beginning(text: str, day: str) -> None:
    assert read_date(text, NOW) == Moment(datetime.fromisoformat(day).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-07-01 13:00", "2026-07-01 13:00"),
        ("2026-07-01T13:00+02:00", "2026-07-01 11:00"),
        ("2 hours ago", "2026-11-30 11:05"),
        ("两小时前", "2026-11-30 11:05"),
        ("两个小时前", "2026-11-30 11:05"),
        ("半小时前", "2026-11-30 12:35"),
    ],
)
def test_a_time_of_day_is_read_to_the_minute(text: str, time: str) -> None:
    assert read_date(text, NOW) == Moment(datetime.fromisoformat(time).replace(tzinfo=UTC), exact=True)


@pytest.mark.parametrize("text", ["", "  ", "猫", "a cat", "2026-13-45", "the day that never was", "100000 years ago"])
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_date(text, NOW) is None


@settings(max_examples=60, deadline=None)
@example("99999999999 years ago")
@example("0000-00-00")
@example("十十十年前")
@given(st.text(alphabet="0123456789年月日周天前后一二三十百个半上-:/T+Z aegomnthsdyw", max_size=30))
def test_whatever_is_typed_is_a_date_or_none(text: str) -> None:
    found = read_date(text, NOW)
    assert found is None or found.at.tzinfo is UTC
    if found is not None:
        assert 0 <= first_message_at(found.at) <= NEWEST


def moments(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    return st.datetimes(
        datetime(first_year, 1, 1),  # noqa: DTZ001 - hypothesis takes bounds without a zone
        datetime(last_year, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    )


@given(moments(1900, 2200), st.booleans())
def test_a_suggested_date_is_read_as_what_it_was_suggested_for(at: datetime, exact: bool) -> None:
    at = at.replace(second=0, microsecond=0)
    moment = Moment(at, exact=True) if exact else Moment(at.replace(hour=0, minute=0))
    assert read_date(moment.iso, NOW) == moment


@given(moments(2015, 2080))
def test_the_first_message_of_a_moment_was_posted_then_and_the_id_before_it_earlier(at: datetime) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    first = first_message_at(at)
    assert posted_at(first) == at
    assert first == 0 or posted_at(first - 1) == at - timedelta(milliseconds=1)


def test_moments_outside_discords_time_are_bounds_all_the_same() -> None:
    assert first_message_at(datetime(1999, 1, 1, tzinfo=UTC)) == 0
    assert first_message_at(datetime(9999, 1, 1, tzinfo=UTC)) == NEWEST


def test_dates_are_written_in_the_readers_language() -> None:
    day, minute = Moment(datetime(2026, 7, 1, tzinfo=UTC)), Moment(datetime(2026, 7, 1, 9, 5, tzinfo=UTC), exact=True)
    assert (day.in_words("en"), day.in_words("zh")) == ("July 1, 2026", "2026年7月1日")
    assert (minute.in_words("en"), minute.in_words("zh")) == ("July 1, 2026 09:05 UTC", "2026年7月1日 09:05 UTC")


def test_the_dates_that_are_often_wanted_begin_with_today() -> None:
    today, *earlier = suggested_dates(NOW)
    assert today == datetime(2026, 11, 30, tzinfo=UTC)
    assert earlier == sorted(earlier, reverse=True)
