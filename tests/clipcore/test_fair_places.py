"""Places that nobody can take from the others, whatever comes and goes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.fair_places import FairPlaces, Owner, Turns

ANN, BOB, CEM = (1, 1), (1, 2), (1, 3)
ELSEWHERE = (2, 1)


def taken(places: FairPlaces, owner: Owner) -> int:
    """Takes all that this owner can get."""
    return sum(iter(lambda: places.take(owner), False))


async def acquired(places: FairPlaces, *owners: Owner) -> tuple[list[Owner], list[asyncio.Task[None]]]:
    """A task for each of these, in this order; and a list that grows by each one that gets its place."""
    served: list[Owner] = []

    async def acquire(owner: Owner) -> None:
        await places.acquire(owner)
        served.append(owner)

    tasks = [asyncio.create_task(acquire(owner)) for owner in owners]
    await settle()
    return served, tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_groups_take_turns_and_so_do_the_members_of_a_group():
    turns = Turns()
    for owner in (ANN, BOB, CEM, ELSEWHERE):
        turns.add(owner)
    assert [turns.next(lambda _: True) for _ in range(6)] == [ANN, ELSEWHERE, BOB, ELSEWHERE, CEM, ELSEWHERE]


@pytest.mark.parametrize(("places", "owner", "group"), [(1, 1, 1), (2, 1, 1), (3, 2, 2), (12, 8, 10), (36, 24, 32)])
def test_one_owner_and_one_group_leave_places_to_others(places: int, owner: int, group: int):
    alone, crowd = FairPlaces(places), FairPlaces(places)
    assert taken(alone, ANN) == owner
    assert sum(taken(crowd, (1, member)) for member in range(places)) == group
    assert taken(crowd, ELSEWHERE) >= min(1, places - group)


def test_without_a_reserve_one_owner_gets_all_places():
    assert taken(FairPlaces(5, reserve=False), ANN) == 5


@pytest.mark.parametrize("greedy", range(1, 6))
def test_a_few_greedy_owners_together_leave_a_place_to_a_newcomer(greedy: int):
    places = FairPlaces(12)
    for _ in range(12):
        for group in range(greedy):
            places.take((group, 1))
    assert places.take((99, 1))


async def test_those_that_wait_are_served_by_turns_and_not_in_the_order_of_their_coming():
    places = FairPlaces(1)
    served, tasks = await acquired(places, *[ANN] * 50, BOB, ELSEWHERE, ELSEWHERE)
    for owner in (ANN, ANN, ELSEWHERE):
        places.release(owner)
        await settle()
    assert served == [ANN, ANN, ELSEWHERE, BOB]
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("just_served", [True, False])
async def test_a_place_is_not_lost_when_the_one_that_waits_for_it_is_cancelled(just_served: bool):
    places = FairPlaces(1)
    served, (_, cancelled, patient) = await acquired(places, ANN, BOB, CEM)
    if just_served:
        places.release(ANN)
        cancelled.cancel()
    else:
        cancelled.cancel()
        places.release(ANN)
    await settle()
    assert served == [ANN, CEM]
    assert patient.done()
    places.release(CEM)
    assert (places.free, places.held(CEM)) == (1, 0)


owners = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    st.integers(1, 9),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["acquire", "acquire", "release", "cancel"]), owners, st.integers(0, 99))),
)
def test_limits_hold_no_place_idles_and_everybody_is_served(places: int, reserve: bool, steps: list):
    """Whatever comes, is cancelled and is given back, in whatever order. In the end all give their places back."""

    async def play() -> None:
        fair = FairPlaces(places, reserve=reserve)
        holding: list[Owner] = []
        waiting: list[tuple[Owner, asyncio.Task[None]]] = []

        async def acquire(owner: Owner) -> None:
            await fair.acquire(owner)
            holding.append(owner)

        async def check() -> None:
            await settle()
            waiting[:] = [(owner, task) for owner, task in waiting if not task.done()]
            held = Counter(holding)
            assert fair.free == places - len(holding) >= 0
            assert all(fair.held(owner) == held[owner] for owner, _ in waiting)
            assert not any(fair.has_room(owner) for owner, _ in waiting)
            assert fair.others_wait((0, 0)) == bool(waiting)

        for action, owner, luck in steps:
            if action == "acquire":
                waiting.append((owner, asyncio.create_task(acquire(owner))))
            elif action == "release" and holding:
                fair.release(holding.pop(luck % len(holding)))
            elif action == "cancel" and waiting:
                waiting[luck % len(waiting)][1].cancel()
            await check()
        while holding:
            fair.release(holding.pop(0))
            await check()
        assert not waiting
        assert fair.free == places

    asyncio.run(play())


@given(st.lists(owners, min_size=1, max_size=60))
def test_nobody_waits_longer_than_one_turn_of_each_member_and_group(coming: list[Owner]):
    """With one place, an owner's first turn comes after at most (groups) x (members of its group) others'."""

    async def play() -> None:
        fair = FairPlaces(1)
        assert fair.take((0, 0))
        served, tasks = await acquired(fair, *coming)
        last = (0, 0)
        while len(served) < len(coming):
            fair.release(last)
            await settle()
            last = served[-1]
        groups = len({group for group, _ in coming})
        for owner in set(coming):
            members = len({member for group, member in coming if group == owner[0]})
            assert served.index(owner) < groups * members
        await asyncio.gather(*tasks)

    asyncio.run(play())
