"""An image that is made to be costly is parked, and costs nobody else anything."""

from __future__ import annotations

import asyncio

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.models import ImageState
from sandbox.faults import Fault
from tests.clipcore.test_processes import jpeg_with_scans
from tests.e2e.harness import House, sample, until

COSTLY = jpeg_with_scans(8000, 450)  # ten seconds of processor time


async def test_a_costly_image_is_parked_and_others_are_found(home: House, bot: MagpieBot) -> None:
    bob, cem, images = await home.member("bob"), await home.member("cem"), home.channel("pictures")
    costly = [await bob.post(images, jpeg_with_scans(4096, 400)) for _ in range(4)]
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    assert (await cem.find(home.nest, images, "a panda")).ids == [posted["id"]]

    async def all_parked() -> bool:
        rows = [row for message in costly for row in await bot.services.images.by_message(int(message["id"]))]
        return [(row.state, row.reason) for row in rows] == [(ImageState.PARKED, "too_costly")] * 4

    await until(all_parked, "the costly pictures are parked")


async def test_a_costly_query_image_is_refused_and_the_next_one_is_answered(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = await bob.post(images, sample("panda"))
    await home.indexed(posted)
    refused = await bob.similar_to_file(home.nest, images, jpeg_with_scans(4096, 400))
    assert refused.words == ENGLISH.query_image.unusable
    assert (await bob.similar_to_file(home.nest, images, sample("panda"))).ids == [posted["id"]]


async def test_a_picture_does_not_wait_for_30_downloads_that_stall(home: House, bot: MagpieBot) -> None:
    bob, cem, images, elsewhere = (
        await home.member("bob"),
        await home.member("cem"),
        home.channel("pictures"),
        home.channel("chat"),
    )
    stall = Fault("delay", method="GET", path=f"/attachments/{elsewhere}/*", times=None, seconds=20, bots_only=False)
    home.sandbox.faults.add(stall)
    stalled = [await bob.post(elsewhere, *[sample("panda")] * 10) for _ in range(3)]
    good = await cem.post(images, sample("panda"))
    await home.indexed(good)
    own = await bob.post(images, sample("panda"))
    await home.indexed(own)
    rows = [row for message in stalled for row in await bot.services.images.by_message(int(message["id"]))]
    assert [row.state for row in rows] == [ImageState.PENDING] * 30


async def test_a_picture_does_not_wait_for_the_worst_pictures_of_four_members(home: House, bot: MagpieBot) -> None:
    """Of four members' eight pictures, each of which takes all the time that it is given, two are done at most."""
    images, elsewhere = home.channel("pictures"), home.channel("general")
    hostile = [(await home.member(name), images) for name in ("ann", "bob", "cem")]
    hostile.append((await home.member("emil"), elsewhere))
    costly = [await one.post(where, COSTLY) for one, where in hostile * 2]
    good = await (await home.member("dora")).post(images, sample("panda"))
    await home.indexed(good)
    rows = [row for message in costly for row in await bot.services.images.by_message(int(message["id"]))]
    assert sum(row.state is not ImageState.PENDING for row in rows) <= 2


async def test_a_members_costly_queries_do_not_hold_up_anothers(home: House, bot: MagpieBot) -> None:
    bob, cem, images = await home.member("bob"), await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    costly = [asyncio.create_task(bob.similar_to_file(home.nest, images, COSTLY)) for _ in range(6)]
    assert (await cem.similar_to_file(home.nest, images, sample("panda"))).ids == [posted["id"]]
    assert sum(task.done() for task in costly) <= 1
    for task in costly:
        task.cancel()
