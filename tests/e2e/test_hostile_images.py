"""An image that is made to be costly is parked, and costs nobody else anything."""

from __future__ import annotations

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.models import ImageState
from tests.clipcore.test_processes import jpeg_with_scans
from tests.e2e.harness import House, sample, until


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
    assert refused.words == ENGLISH.image_unusable
    assert (await bob.similar_to_file(home.nest, images, sample("panda"))).ids == [posted["id"]]
