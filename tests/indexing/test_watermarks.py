"""The pure rules of catch-up: watermarks and channel states."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.indexing.catch_up import ChannelEvent, ChannelSnapshot, ChannelState, Watermark, first_watermarks, transition
from bot.models import ChannelRef


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["begin", "end"]), st.integers(1, 30)), max_size=60))
def test_a_watermark_never_passes_a_message_that_is_still_open(steps: list[tuple[str, int]]) -> None:
    watermark, begun, done = Watermark(), set[int](), set[int]()
    for step, number in steps:
        if step == "begin" and number not in done:
            begun.add(number)
            watermark.begin(number)
        elif step == "end" and number in begun - done:
            done.add(number)
            watermark.end(number)
        still_open = begun - done
        assert watermark.value < min(still_open, default=31)
        if not still_open:
            assert watermark.value == max(done, default=0)


# By channel id: the ages of its newest message, of its creation and of its watermark, each counted from its id.
ages = st.none() | st.integers(0, 30)
channels = st.dictionaries(st.integers(10, 60), st.tuples(ages, ages, ages), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(channels=channels, cut=st.integers(0, 6))
def test_a_crash_between_two_first_watermarks_changes_none_of_them(
    channels: dict[int, tuple[int | None, int | None, int | None]], cut: int
) -> None:
    snapshots = [
        ChannelSnapshot(
            ChannelRef(1, channel),
            None if newest is None else channel + newest,
            None if made is None else channel + made,
        )
        for channel, (newest, made, _) in channels.items()
    ]
    watermarks = {
        channel: channel + watermark for channel, (_, _, watermark) in channels.items() if watermark is not None
    }
    wanted = first_watermarks(snapshots, watermarks)
    written = watermarks | {ref.channel_id: watermark for ref, watermark in wanted[:cut]}
    rest = first_watermarks(snapshots, written)
    assert sorted(rest, key=repr) == sorted(wanted[cut:], key=repr)


GAPS = (ChannelEvent.SESSION, ChannelEvent.LISTED, ChannelEvent.LOST)
"""After these a message may be missing."""


@settings(deadline=None)
@given(st.lists(st.sampled_from(ChannelEvent), max_size=30))
def test_a_channel_is_live_only_when_it_was_read_from_beginning_to_end_after_the_last_gap(
    events: list[ChannelEvent],
) -> None:
    state = ChannelState.HELD
    for event in events:
        state = transition(state, event)
    if state is ChannelState.LIVE:
        last_gap = max((at for at, event in enumerate(events) if event in GAPS), default=-1)
        read = max(at for at, event in enumerate(events) if event is ChannelEvent.READ)
        turn = next(at for at in range(len(events)) if at > last_gap and events[at] is ChannelEvent.TURN)
        assert last_gap < turn < read


@settings(deadline=None)
@given(st.sampled_from(ChannelState), st.sampled_from(GAPS))
def test_a_gap_ends_live_and_stops_the_reading(state: ChannelState, gap: ChannelEvent) -> None:
    assert transition(state, gap) not in (ChannelState.LIVE, ChannelState.READING)


@settings(deadline=None)
@given(st.lists(st.sampled_from(ChannelEvent), max_size=10))
def test_a_channel_whose_history_is_refused_is_not_read_again_before_it_is_listed(events: list[ChannelEvent]) -> None:
    state = transition(ChannelState.READING, ChannelEvent.REFUSED)
    for event in events:
        if event in (ChannelEvent.SESSION, ChannelEvent.LISTED):
            break
        state = transition(state, event)
        assert state is ChannelState.UNREADABLE
