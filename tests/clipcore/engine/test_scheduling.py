from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipcore.engine.scheduling import MAX_BACKGROUND_WAIT_S, BatchSizer, JobQueue, Kind
from clipcore.types import Lane

SIZES = {kind: 1 for kind in Kind}
LIMIT = MAX_BACKGROUND_WAIT_S


def settle(sizer: BatchSizer, seconds_each: float, overhead: float = 0.0, rounds: int = 40) -> int:
    """Runs batches of the proposed size on a device of that speed; returns the size that results."""
    for _ in range(rounds):
        sizer.observe(sizer.size, overhead + sizer.size * seconds_each)
    return sizer.size


def test_the_first_batch_holds_one_input():
    assert BatchSizer(budget=1.0, max_size=64).size == 1


def test_batches_grow_by_doubling_to_the_size_that_fits_the_budget():
    sizer = BatchSizer(budget=0.2, max_size=64)
    sizes = []
    for _ in range(6):
        sizes.append(sizer.size)
        sizer.observe(sizer.size, sizer.size * 0.01)
    assert sizes == [1, 2, 4, 8, 16, 20]


@given(st.floats(1e-5, 2.0), st.floats(0.01, 2.0), st.floats(0.0, 0.005))
def test_a_settled_batch_fits_the_budget_or_holds_one_input(seconds_each, budget, overhead):
    size = settle(BatchSizer(budget, max_size=64), seconds_each, overhead)
    assert size == 1 or size * seconds_each + overhead <= budget * 1.05


def test_a_device_that_slows_down_gets_smaller_batches():
    sizer = BatchSizer(budget=0.2, max_size=64)
    assert settle(sizer, 0.01) == 20
    assert settle(sizer, 0.1) == 2


def test_a_slow_first_batch_soon_stops_counting():
    sizer = BatchSizer(budget=0.2, max_size=64)
    sizer.observe(1, 30.0)
    assert settle(sizer, 0.01) >= 18


def test_a_fast_device_is_bounded_by_the_largest_batch():
    assert settle(BatchSizer(budget=0.2, max_size=64), 0.0) == 64


def test_after_out_of_memory_the_size_is_halved_and_rises_again():
    sizer = BatchSizer(budget=1.0, max_size=64)
    assert settle(sizer, 0.001) == 64
    sizer.out_of_memory(64)
    assert sizer.size == 32
    sizer.observe(32, 0.03)
    assert sizer.size == 33


def test_out_of_memory_never_reduces_the_size_below_one():
    sizer = BatchSizer(budget=1.0, max_size=64)
    sizer.out_of_memory(1)
    sizer.observe(1, 0.001)
    assert sizer.size >= 1


def queue_with(interactive: int = 0, background: int = 0) -> JobQueue:
    queue = JobQueue(1000)
    for lane, count in ((Lane.INTERACTIVE, interactive), (Lane.BACKGROUND, background)):
        for _ in range(count):
            queue.add(Kind.TEXT, "a text", lane)
    return queue


def lane_at(queue: JobQueue, now: float, *, paused: bool = False) -> Lane | None:
    batch, _ = queue.take(SIZES, now, background_paused=paused)
    return batch[0].lane if batch else None


# Each step: the time since the one before, whether a query arrives, and whether the background is paused from then on.
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.05, 0.2, 0.45, 0.5, 0.55, 2.0]), st.booleans(), st.booleans()), max_size=40
)


@given(STEPS, st.floats(0.01, 0.3))
def test_background_work_waits_no_longer_than_the_limit_and_one_batch(steps, batch_seconds):
    """The device takes work as the executor does: after each batch, at each change, and after the returned delay."""
    queue, now, paused = queue_with(background=1), 0.0, False
    free_at = asks_at = busy_until = 0.0
    for after, query, pause in [*steps, (10.0, False, True)]:
        until = now + after
        while asks_at <= until:
            now = asks_at
            batch, delay = queue.take(SIZES, now, background_paused=paused)
            if not batch:
                assert paused
                assert delay is not None
                assert 0 < delay <= LIMIT + 1e-6
                asks_at = now + delay
                continue
            if batch[0].lane is Lane.BACKGROUND:
                assert now - free_at <= LIMIT + batch_seconds + 1e-6, "since the last background batch ended"
                queue.add(Kind.IMAGE, "an image", Lane.BACKGROUND)
                free_at = now + batch_seconds
            asks_at = busy_until = now + batch_seconds
        now, paused = until, pause
        asks_at = max(now, busy_until)
        if query:
            queue.add(Kind.TEXT, "a query", Lane.INTERACTIVE)


def test_background_work_gets_a_turn_although_queries_keep_coming():
    queue = queue_with(interactive=100, background=3)
    lanes = [lane_at(queue, number * LIMIT / 4) for number in range(13)]
    turn = [*[Lane.INTERACTIVE] * 4, Lane.BACKGROUND]
    assert lanes == [*turn, *turn, *turn[:3]]


def test_paused_background_work_runs_each_time_the_limit_has_passed():
    queue = queue_with(background=2)
    taken = [lane_at(queue, now * LIMIT, paused=True) for now in (0, 0.4, 1, 1.1, 2.05, 2.1)]
    assert taken == [None, None, Lane.BACKGROUND, None, None, Lane.BACKGROUND]


def test_the_delay_is_the_time_left_until_the_background_runs():
    queue = queue_with(background=1)
    assert [queue.take(SIZES, now, background_paused=True)[1] for now in (0.0, 0.25)] == [LIMIT, LIMIT - 0.25]


def test_background_work_that_is_not_paused_runs_at_once_when_no_query_waits():
    queue = queue_with(interactive=1, background=1)
    assert [lane_at(queue, 0.0), lane_at(queue, 0.1), lane_at(queue, 0.2)] == [Lane.INTERACTIVE, Lane.BACKGROUND, None]


def test_time_without_waiting_background_work_does_not_count():
    queue = queue_with(interactive=2)
    assert [lane_at(queue, 0.0), lane_at(queue, 0.1)] == [Lane.INTERACTIVE] * 2
    queue.add(Kind.TEXT, "a text", Lane.BACKGROUND)
    assert lane_at(queue, 100.0, paused=True) is None


def test_a_turn_whose_background_work_was_cancelled_goes_to_a_query():
    queue = queue_with(interactive=2)
    cancelled = queue.add(Kind.TEXT, "a text", Lane.BACKGROUND)
    assert lane_at(queue, 0.0) is Lane.INTERACTIVE
    cancelled.answer.cancel()
    assert lane_at(queue, LIMIT) is Lane.INTERACTIVE


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 40)), max_size=30),
    st.fixed_dictionaries({kind: st.integers(1, 64) for kind in Kind}),
)
def test_within_a_lane_neither_images_nor_texts_wait_for_a_second_batch_of_the_other(arrivals, sizes):
    queue, passed_over = JobQueue(10_000), dict.fromkeys(Kind, 0)
    waiting: dict[Kind, list] = {kind: [] for kind in Kind}
    while arrivals or any(waiting.values()):
        kind, count = arrivals.pop() if arrivals else (Kind.TEXT, 0)
        waiting[kind] += [queue.add(kind, "a payload", Lane.BACKGROUND) for _ in range(count)]
        batch, _ = queue.take(sizes, 0.0)
        if not batch:
            continue
        taken = batch[0].kind
        assert batch == waiting[taken][: sizes[taken]], "full, and in order of arrival"
        del waiting[taken][: len(batch)]
        passed_over[taken] = 0
        for other in set(Kind) - {taken}:
            passed_over[other] += bool(waiting[other])
            assert passed_over[other] <= 1
