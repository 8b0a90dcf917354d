"""Places for downloads: one that stalls holds up nobody."""

from __future__ import annotations

import asyncio

import pytest

from bot.errors import ImageUnreachable
from bot.indexing.downloads import STALL_BYTES, FairDownloads
from tests.indexing.support import until

ANN, BOB = (1, 1), (1, 2)


class Downloads:
    """Downloads that last until `arrive` is set, and get `trickle` bytes every few milliseconds."""

    def __init__(self, places: int, stalled: int) -> None:
        self.fair = FairDownloads(places, stalled=stalled, stall_s=0.05)
        self.arrive = asyncio.Event()
        self.began: list[tuple[int, int]] = []
        self.stalled = 0

    def begin(self, owner: tuple[int, int], trickle: int = 0) -> asyncio.Task[None]:
        return asyncio.create_task(self._download(owner, trickle))

    async def _download(self, owner: tuple[int, int], trickle: int) -> None:
        async with self.fair.place(owner, self._count_stalled) as download:
            self.began.append(owner)
            while not self.arrive.is_set():
                download.arrived(trickle)
                await asyncio.sleep(0.005)

    def _count_stalled(self) -> None:
        self.stalled += 1


async def test_a_stalled_download_gives_its_place_to_the_next_one_and_ends_well() -> None:
    downloads = Downloads(places=2, stalled=9)
    tasks = [downloads.begin(ANN) for _ in range(4)]
    await until(lambda: len(downloads.began) == 4)
    assert downloads.stalled >= 3
    downloads.arrive.set()
    await asyncio.gather(*tasks)


async def test_a_download_that_keeps_arriving_keeps_its_place() -> None:
    downloads = Downloads(places=2, stalled=9)
    slow, waiting = downloads.begin(ANN, trickle=STALL_BYTES), downloads.begin(ANN)
    await asyncio.sleep(0.3)  # of which a stalled one would have had 0.05
    assert (downloads.began, downloads.stalled) == ([ANN], 0)
    downloads.arrive.set()
    await asyncio.gather(slow, waiting)


async def test_without_room_for_another_stalled_download_it_is_given_up_for_the_sake_of_others() -> None:
    downloads = Downloads(places=1, stalled=0)
    stalled, good = downloads.begin(ANN), downloads.begin(BOB, trickle=STALL_BYTES)
    with pytest.raises(ImageUnreachable):
        await asyncio.wait_for(stalled, 60)
    await until(lambda: downloads.began == [ANN, BOB])
    downloads.arrive.set()
    await good


async def test_a_stalled_download_is_not_given_up_while_nobody_else_waits() -> None:
    downloads = Downloads(places=1, stalled=0)
    stalled, own = downloads.begin(ANN), downloads.begin(ANN)
    await asyncio.sleep(0.3)
    assert downloads.began == [ANN]
    downloads.arrive.set()
    await asyncio.gather(stalled, own)


async def test_what_follows_a_complete_download_may_take_its_time() -> None:
    downloads = FairDownloads(1, stalled=0, stall_s=0.01)
    async with downloads.place(ANN) as download:
        download.complete = True
        waiting = asyncio.create_task(downloads.place(BOB).__aenter__())
        await asyncio.sleep(0.1)
        assert not waiting.done()
    await waiting
