from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipcore.engine.scheduling import Pacer


def settle(pacer: Pacer, seconds_each: float, overhead: float = 0.0, rounds: int = 40) -> int:
    """Plays batches of the size asked for on a device of that speed; the size it settles at."""
    for _ in range(rounds):
        pacer.observe(pacer.size, overhead + pacer.size * seconds_each)
    return pacer.size


def test_the_first_batch_is_one_since_nothing_is_known():
    assert Pacer(budget=1.0, most=64).size == 1


def test_batches_grow_by_doubling_to_what_the_budget_affords():
    pacer = Pacer(budget=0.2, most=64)
    sizes = []
    for _ in range(6):
        sizes.append(pacer.size)
        pacer.observe(pacer.size, pacer.size * 0.01)
    assert sizes == [1, 2, 4, 8, 16, 20]


@given(st.floats(1e-5, 2.0), st.floats(0.01, 2.0), st.floats(0.0, 0.005))
def test_a_settled_batch_ends_within_the_budget_or_is_a_single_one(seconds_each, budget, overhead):
    size = settle(Pacer(budget, most=64), seconds_each, overhead)
    assert size == 1 or size * seconds_each + overhead <= budget * 1.05


def test_a_device_that_slows_down_gets_smaller_batches():
    pacer = Pacer(budget=0.2, most=64)
    assert settle(pacer, 0.01) == 20
    assert settle(pacer, 0.1) == 2


def test_a_slow_first_batch_is_soon_forgotten():
    pacer = Pacer(budget=0.2, most=64)
    pacer.observe(1, 30.0)
    assert settle(pacer, 0.01) >= 18


def test_a_fast_device_is_bounded_by_the_largest_batch():
    assert settle(Pacer(budget=0.2, most=64), 0.0) == 64


def test_out_of_memory_halves_and_then_feels_its_way_back():
    pacer = Pacer(budget=1.0, most=64)
    assert settle(pacer, 0.001) == 64
    pacer.out_of_memory(64)
    assert pacer.size == 32
    pacer.observe(32, 0.03)
    assert pacer.size == 33


def test_out_of_memory_never_goes_below_one():
    pacer = Pacer(budget=1.0, most=64)
    pacer.out_of_memory(1)
    pacer.observe(1, 0.001)
    assert pacer.size >= 1
