"""The pure rules of catching up: which mark is honest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.index.marking import Standing, first_marks
from bot.index.watermark import Watermark
from bot.records import Place


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


channel_ids = st.lists(st.integers(10, 60), unique=True, max_size=8)


@given(channels=channel_ids, data=st.data())
def test_a_crash_between_two_first_marks_changes_none_of_them(channels: list[int], data: st.DataObject) -> None:
    standings = [Standing(Place(1, channel), data.draw(st.none() | st.integers(channel, 99))) for channel in channels]
    marked = data.draw(st.sets(st.sampled_from(channels))) if channels else set()
    marks = {channel: data.draw(st.integers(channel, 80)) for channel in marked}
    wanted = dict(marks) | {place.channel_id: mark for place, mark in first_marks(standings, marks)}
    written = dict(marks)
    survivors = first_marks(standings, written)[: data.draw(st.integers(0, len(channels)))]
    written |= {place.channel_id: mark for place, mark in survivors}
    written |= {place.channel_id: mark for place, mark in first_marks(standings, written)}
    assert written == wanted
