"""Dates as members write them: ISO dates, "3 weeks ago", "三周前"; and how they are written back. All in UTC."""

from __future__ import annotations

import calendar
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from babel.dates import format_date

if TYPE_CHECKING:
    from dateparser.date import DateDataParser

_LANGUAGES = ["en", "zh"]
_LONGEST = 60

# dateparser knows "3周前" but neither "三周前" nor "3个星期前", and simplified characters only.
_TRADITIONAL = str.maketrans("週個兩號點時後禮間", "周个两号点时后礼间")
_DIGITS = {"〇": 0, "零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_NUMERAL = re.compile("[〇零一二两三四五六七八九]?十[一二三四五六七八九]?|[〇零一二两三四五六七八九]+")
_COUNTED = re.compile("(?<!星期)(?<!周)(?:" + _NUMERAL.pattern + ")(?=个|天|日|周|星期|月|年|小时|分|点|号|时)")
_MONTH_AND_DAY = re.compile(r"(\d{1,2})月(\d{1,2})[日号]?")
_REPLACED = (
    ("礼拜", "星期"),
    ("半年", "6个月"),
    ("半个月", "15天"),
    ("半小时", "30分钟"),
    ("半个小时", "30分钟"),
    ("个小时", "小时"),
    ("个星期", "周"),
    ("上星期", "上周"),
    ("上个周", "上周"),
    ("以前", "前"),
    ("之前", "前"),
)
# dateparser takes "a cat" for a day in the time zone CAT.
_NAMES = "|".join((*calendar.month_abbr[1:], *calendar.day_abbr))
_NAMES_A_DAY = re.compile(rf"\d|[月周]|星期|\b({_NAMES})", re.IGNORECASE)
# "last month" and "去年" mean all of it, from its beginning; "a month ago" and "一个月前" mean that day.
_COUNTED_BACK = re.compile(r"\d|\bago\b|前")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a date was understood as. exact: to the minute, and not the beginning of a day."""

    at: datetime
    exact: bool = False

    @property
    def iso(self) -> str:
        """A text that is read as this moment again."""
        return f"{self.at:%Y-%m-%dT%H:%MZ}" if self.exact else f"{self.at:%Y-%m-%d}"

    def in_words(self, language: str) -> str:
        day = format_date(self.at, "long", locale=language)
        return f"{day} {self.at:%H:%M} UTC" if self.exact else day


def read_date(text: str, now: datetime) -> Moment | None:
    """None where it is no date. Takes milliseconds, and the first time seconds: call it in a worker thread."""
    text = " ".join(text.split())
    if not text or len(text) > _LONGEST:
        return None
    with _lock:
        try:
            return _iso(text) or _read(_in_digits(text, now), now)
        except (OverflowError, ValueError):  # a year that there is not
            return None


def suggested_dates(now: datetime) -> tuple[datetime, ...]:
    """Today, a week, a month, three months, and a year ago."""
    today = _day(now)
    return tuple(today - timedelta(days=days) for days in (0, 7, 30, 91, 365))


_lock = threading.Lock()  # dateparser does not promise to be thread-safe


def _iso(text: str) -> Moment | None:
    if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text):
        return Moment(datetime.fromisoformat(text).replace(tzinfo=UTC))
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:?\d\d)?", text):
        at = datetime.fromisoformat(text)
        return Moment(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC), exact=True)
    return None


def _read(text: str, now: datetime) -> Moment | None:
    if _NAMES_A_DAY.search(text):
        fixed = _parser("absolute-time", now).get_date_data(text)
        if fixed.date_obj is not None:
            return _moment(fixed.date_obj, fixed.period)
    relative = _parser("relative-time", now).get_date_data(text)
    if relative.date_obj is None:
        return None
    if relative.period != "time" and not _COUNTED_BACK.search(text):
        return Moment(_beginning_of(relative.period, _day(relative.date_obj)))
    return _moment(relative.date_obj, relative.period)


def _moment(at: datetime, period: str) -> Moment:
    at = at.astimezone(UTC)
    return Moment(at.replace(second=0, microsecond=0), exact=True) if period == "time" else Moment(_day(at))


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _beginning_of(period: str, day: datetime) -> datetime:
    match period:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def _parser(kind: str, now: datetime) -> DateDataParser:
    from dateparser.date import DateDataParser  # takes a second to import

    settings: dict[str, object] = {
        "PARSERS": [kind],
        "RELATIVE_BASE": now.astimezone(UTC).replace(tzinfo=None),
        "TIMEZONE": "UTC",
        "RETURN_AS_TIMEZONE_AWARE": True,
        "RETURN_TIME_AS_PERIOD": True,
        "PREFER_DATES_FROM": "past",
        "DATE_ORDER": "DMY",
    }
    if kind == "absolute-time":
        settings |= {"PREFER_DAY_OF_MONTH": "first", "PREFER_MONTH_OF_YEAR": "first"}
    return DateDataParser(languages=_LANGUAGES, settings=settings)


def _in_digits(text: str, now: datetime) -> str:
    """Chinese as dateparser reads it; other languages as they are."""
    text = text.translate(_TRADITIONAL)
    for words, replacement in _REPLACED:
        text = text.replace(words, replacement)
    text = _COUNTED.sub(lambda found: str(_number(found[0])), text)
    if (found := _MONTH_AND_DAY.fullmatch(text)) is not None:
        month, day = int(found[1]), int(found[2])
        past = (month, day) <= (now.month, now.day)
        return f"{now.year if past else now.year - 1}年{month}月{day}日"
    return text


def _number(numeral: str) -> int:
    tens, ten, ones = numeral.rpartition("十")
    if not ten:
        return int("".join(str(_DIGITS[digit]) for digit in numeral))
    return 10 * _DIGITS.get(tens, 1) + _DIGITS.get(ones, 0)
