"""Batches for a device that works by itself, on one that does everything as late as it may."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.deferred_cpu import DeferredCpu
from clipcore.runtime.cuda import Event, PipelinedForward, Work
from tests.clipcore.fakes import POISON

SIDE, DIMENSION, LARGEST = 2, 4, 8


@dataclass
class Tower:
    """features: the first channel's mean in the first place. seen: the rows of each run, padding included."""

    fits: int = 1000
    seen: list[list[int]] = field(default_factory=list)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        values = pixels[:, 0, 0, 0]
        self.seen.append(values.tolist())
        if len(values) > self.fits:
            raise torch.OutOfMemoryError
        if POISON in values:
            raise ValueError("poison")
        return torch.stack([values.float(), *[torch.ones(len(values))] * (DIMENSION - 1)], dim=1)


class WatchedDevice(DeferredCpu):
    """story: what was begun and waited for, in order. refuses: cannot begin; records: whether it can."""

    def __init__(self, *, records: bool = True) -> None:
        super().__init__()
        self.story: list[str] = []
        self.records = records
        self.recorded = 0
        self.refuses = False

    def begin(self, target: torch.Tensor, source: torch.Tensor, work: Work) -> Event:
        number = sum("begin" in line for line in self.story)
        self.story.append(f"begin {number}")
        event = super().begin(target, source, work)
        if self.refuses:
            raise torch.OutOfMemoryError
        return WatchedEvent(event, number, self.story)

    def record(self, work: Work) -> Work:
        if not self.records:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded += 1
        return super().record(work)


@dataclass
class WatchedEvent:
    event: Event
    number: int
    story: list[str]

    def synchronize(self) -> None:
        self.story.append(f"wait {self.number}")
        self.event.synchronize()


def squares(*values: int) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE, 3), value, np.uint8) for value in values])


def expected(*values: int) -> np.ndarray:
    rows = np.array([[value, *[1.0] * (DIMENSION - 1)] for value in values], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pipeline(tower: Tower, device: DeferredCpu | None = None) -> PipelinedForward:
    return PipelinedForward(tower, DIMENSION, device or DeferredCpu(), largest=LARGEST)


def test_vectors_are_those_of_ones_own_batch_and_of_unit_length():
    forward = pipeline(Tower())
    first, second = forward.begin(squares(1, 2, 3)), forward.begin(squares(4, 5, 6))
    np.testing.assert_allclose(first(), expected(1, 2, 3), rtol=1e-6)
    np.testing.assert_allclose(second(), expected(4, 5, 6), rtol=1e-6)


def test_the_next_batch_is_begun_before_the_last_is_waited_for():
    device = WatchedDevice()
    forward = pipeline(Tower(), device)
    waiting = [forward.begin(squares(1)), forward.begin(squares(2))]
    assert device.story == ["begin 0", "begin 1"]
    for pending in waiting:
        pending()
    assert device.story[2:] == ["wait 0", "wait 1"]


def test_a_third_batch_waits_for_the_oldest_whose_vectors_are_kept():
    device = WatchedDevice()
    forward = pipeline(Tower(), device)
    waiting = [forward.begin(squares(value)) for value in (1, 2, 3)]
    assert device.story == ["begin 0", "begin 1", "wait 0", "begin 2"]
    for value, pending in enumerate(waiting, start=1):
        np.testing.assert_allclose(pending(), expected(value), rtol=1e-6)
    assert device.story[4:] == ["wait 1", "wait 2"]


def test_a_batch_is_copied_when_it_begins_so_its_pixels_may_change():
    forward = pipeline(Tower())
    batch = squares(1, 2)
    pending = forward.begin(batch)
    batch[:] = 9
    np.testing.assert_allclose(pending(), expected(1, 2), rtol=1e-6)


def test_batches_have_few_sizes_and_padding_never_comes_back():
    tower = Tower()
    forward = pipeline(tower)
    for count in (8, 1, 5, 3):
        found = forward.begin(squares(*range(count)))()
        np.testing.assert_allclose(found, expected(*range(count)), rtol=1e-6)
    assert tower.seen == [[*range(8)], [0], [*range(5), 0, 0, 0], [0, 1, 2, 0]]


def test_what_is_larger_than_the_largest_goes_in_pieces():
    tower = Tower()
    found = pipeline(tower).begin(squares(*range(20)))()
    np.testing.assert_allclose(found, expected(*range(20)), rtol=1e-6)
    assert [len(rows) for rows in tower.seen] == [8, 8, 4]


def test_an_empty_batch_gives_no_vectors():
    found = pipeline(Tower()).begin(np.empty((0, SIDE, SIDE, 3), np.uint8))()
    assert found.shape == (0, DIMENSION)


def test_vectors_stay_as_they_are_when_the_buffers_are_used_again():
    forward = pipeline(Tower())
    kept = forward.begin(squares(1))()
    for value in range(2, 6):
        forward.begin(squares(value))()
    np.testing.assert_allclose(kept, expected(1), rtol=1e-6)


def test_each_size_is_recorded_once_after_it_was_warmed_up():
    device = WatchedDevice()
    forward = pipeline(Tower(), device)
    recorded = []
    for _ in range(4):
        forward.begin(squares(1))()
        recorded.append(device.recorded)
    forward.begin(squares(1, 2))()
    assert [*recorded, device.recorded] == [0, 0, 1, 1, 1]


def test_where_nothing_can_be_recorded_work_goes_on_and_one_line_says_so(caplog):
    forward = pipeline(Tower(), WatchedDevice(records=False))
    for value in range(1, 6):
        for batch in (squares(value), squares(value, value)):
            np.testing.assert_allclose(forward.begin(batch)()[0], expected(value)[0], rtol=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        "batches are launched step by step, for recording one failed: RuntimeError"
    ]


def test_a_failing_batch_fails_alone_and_its_buffers_are_used_again():
    forward = pipeline(Tower())
    for _ in range(5):
        bad, good = forward.begin(squares(1, 2, 3, POISON)), forward.begin(squares(7, 8, 9))
        with pytest.raises(ValueError, match="poison"):
            bad()
        np.testing.assert_allclose(good(), expected(7, 8, 9), rtol=1e-6)


def test_a_batch_that_cannot_be_begun_harms_neither_the_one_under_way_nor_the_next():
    device = WatchedDevice()
    forward = pipeline(Tower(), device)
    for _ in range(5):
        under_way = forward.begin(squares(1))
        device.refuses = True
        with pytest.raises(torch.OutOfMemoryError):
            forward.begin(squares(2))
        device.refuses = False
        np.testing.assert_allclose(forward.begin(squares(3))(), expected(3), rtol=1e-6)
        np.testing.assert_allclose(under_way(), expected(1), rtol=1e-6)


def test_batches_that_nobody_waits_for_hold_up_nothing():
    forward = pipeline(Tower())
    for value in range(10):
        forward.begin(squares(POISON if value % 2 else value))
    np.testing.assert_allclose(forward.begin(squares(7))(), expected(7), rtol=1e-6)


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.booleans()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_is_begun_and_waited_for_in_order_everyone_gets_their_own(work):
    """images in a batch, one of them poison, wait at once. Nothing leaks from batch to batch, or out of padding."""
    forward = pipeline(Tower())
    waiting = []
    next_value = 0
    for count, bad, at_once in work:
        values = [(next_value + step) % 200 for step in range(count)]
        next_value += count
        begun = forward.begin(squares(*values[:-1], POISON if bad else values[-1]))
        waiting.append((begun, values, bad))
        while at_once and waiting:
            check(*waiting.pop(0))
    for item in waiting:
        check(*item)


def check(pending, values: list[int], bad: bool) -> None:
    if bad:
        with pytest.raises(ValueError, match="poison"):
            pending()
    else:
        np.testing.assert_allclose(pending(), expected(*values), rtol=1e-6)


def test_a_real_tower_gives_the_vectors_that_it_gives_without_the_pipeline(tiny):
    forward = PipelinedForward(tiny._image_features, tiny.card.dimension, DeferredCpu(), largest=LARGEST)
    edge = tiny.card.input_size
    batches = [np.random.default_rng(n).integers(0, 256, (n, edge, edge, 3), np.uint8) for n in (1, 3, 3, 3, 11)]
    waiting = [forward.begin(batch) for batch in batches]
    for batch, pending in zip(batches, waiting, strict=True):
        np.testing.assert_allclose(pending(), tiny.encode_prepared(batch), atol=1e-5)
