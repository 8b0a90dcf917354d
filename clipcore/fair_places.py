"""FairPlaces: a limited number of places that no owner can take from the others, however much it wants."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

Owner = tuple[int, int]
"""A group and a member of it: in the bot, a server and an author."""

# What an owner holds beside its first place is at most this many times what would be free, not counting one place.
_OWNERS_SHARE = 2
_GROUPS_SHARE = 8


class Turns:
    """The owners that wait. Groups take turns, and within a group its members do; whoever comes is the last."""

    def __init__(self) -> None:
        self._groups: dict[int, dict[int, None]] = {}  # both in the order of the turns

    def add(self, owner: Owner) -> None:
        """Does nothing where it waits already."""
        self._groups.setdefault(owner[0], {}).setdefault(owner[1])

    def discard(self, owner: Owner) -> None:
        members = self._groups.get(owner[0], {})
        members.pop(owner[1], None)
        if not members:
            self._groups.pop(owner[0], None)

    def __contains__(self, owner: Owner) -> bool:
        return owner[1] in self._groups.get(owner[0], {})

    def __bool__(self) -> bool:
        return bool(self._groups)

    def next(self, ready: Callable[[Owner], bool]) -> Owner | None:
        """Whose turn it is among the ready ones, or None. Its next turn comes after all others'."""
        for group, members in self._groups.items():
            for member in members:
                if ready((group, member)):
                    members[member] = members.pop(member)
                    self._groups[group] = self._groups.pop(group)
                    return group, member
        return None


class FairPlaces:
    """Places, such as those of a pool of workers, for the use of one event loop.

    reserve: an owner that holds places gets another one only while enough stay free for others. One owner alone gets
    two thirds of the places, one group eight ninths. Without it they get all of them. Those that wait take turns.
    """

    def __init__(self, places: int, *, reserve: bool = True) -> None:
        self.free = places
        self._reserve = reserve
        self._held: Counter[Owner | int] = Counter()  # by owners and groups
        self._turns = Turns()
        self._waiting: dict[Owner, deque[asyncio.Future[None]]] = {}

    def held(self, owner: Owner) -> int:
        return self._held[owner]

    def has_room(self, owner: Owner) -> bool:
        spare = self.free - 1
        if spare < 0 or not self._reserve:
            return spare >= 0
        held, in_group = self._held[owner], self._held[owner[0]]
        return (not held or held < _OWNERS_SHARE * spare) and (not in_group or in_group < _GROUPS_SHARE * spare)

    def take(self, owner: Owner) -> bool:
        """Takes a place if there is one for this owner; each is given back by `release`."""
        if not self.has_room(owner):
            return False
        self.free -= 1
        self._held.update((owner, owner[0]))
        return True

    async def acquire(self, owner: Owner) -> None:
        """Waits for a place."""
        if self.take(owner):
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        self._turns.add(owner)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given the place just before
                self.release(owner)
            raise

    def release(self, owner: Owner) -> None:
        self._give_back(owner)
        while self.free and (following := self._turns.next(self.take)) is not None:
            waiting = self._waiting[following]
            place = waiting.popleft()
            if not waiting:
                del self._waiting[following]
                self._turns.discard(following)
            if place.cancelled():
                self._give_back(following)
            else:
                place.set_result(None)

    def others_wait(self, owner: Owner) -> bool:
        """Whether anybody else waits for a place."""
        return any(not place.cancelled() for other in self._waiting.keys() - {owner} for place in self._waiting[other])

    def _give_back(self, owner: Owner) -> None:
        self.free += 1
        for holder in (owner, owner[0]):
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
