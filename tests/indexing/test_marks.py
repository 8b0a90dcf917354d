"""The pure rules of catching up: which mark is honest."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.indexing.catch_up import Standing, Watermark, first_marks
from bot.models import ChannelRef


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["begin", "end"]), st.integers(1, 30)), max_size=60))
def test_a_mark_never_passes_a_message_that_is_still_open(steps: list[tuple[str, int]]) -> None:
    watermark, begun, done = Watermark(), set[int](), set[int]()
    for step, number in steps:
        if step == "begin" and number not in done:
            begun.add(number)
            watermark.begin(number)
        elif step == "end" and number in begun - done:
            done.add(number)
            watermark.end(number)
        still_open = begun - done
        assert watermark.mark < min(still_open, default=31)
        if not still_open:
            assert watermark.mark == max(done, default=0)


# By channel id: the age of its newest message, how long after its id it was made, and its mark's age, if it has one.
ages = st.none() | st.integers(0, 30)
channels = st.dictionaries(st.integers(10, 60), st.tuples(ages, ages, ages), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(channels=channels, cut=st.integers(0, 6))
def test_a_crash_between_two_first_marks_changes_none_of_them(
    channels: dict[int, tuple[int | None, int | None, int | None]], cut: int
) -> None:
    standings = [
        Standing(
            ChannelRef(1, channel),
            None if newest is None else channel + newest,
            None if made is None else channel + made,
        )
        for channel, (newest, made, _) in channels.items()
    ]
    marks = {channel: channel + mark for channel, (_, _, mark) in channels.items() if mark is not None}
    wanted = first_marks(standings, marks)
    written = marks | {place.channel_id: mark for place, mark in wanted[:cut]}
    rest = first_marks(standings, written)
    assert sorted(rest, key=repr) == sorted(wanted[cut:], key=repr)
