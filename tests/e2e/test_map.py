"""/map, from end to end: one image of what the asker may see, and of nothing else."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bot.discord_io.client import MagpieBot
from bot.errors import ImageUnreachable
from bot.features.picture_map import MapCog
from bot.i18n import CHINESE, ENGLISH
from bot.models import ImageRef, RemoteImage
from sandbox.faults import Fault
from tests.e2e.harness import House, sample
from tests.e2e.member import CHANNEL, Member, Reply

TEXTS = ENGLISH.map
GALLERY = 12


async def map_for(home: House, member: Member, here: str = "pictures", **options: int) -> Reply:
    given = [{"type": CHANNEL, "name": name, "value": str(value)} for name, value in options.items()]
    return await member.use(home.nest, home.channel(here), "map", given)


def plate(colour: tuple[int, int, int]) -> bytes:
    """A picture of one colour."""
    image = Image.new("RGB", (90, 60), colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


async def drawn(member: Member, reply: Reply) -> np.ndarray[Any, Any]:
    [shown] = [part["items"][0] for part in reply.message["components"] if part["type"] == GALLERY]
    data = await member.fetched(shown["media"]["url"])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


def shows(page: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(page - np.array(colour)).max(axis=2) < 14).mean() > 0.005)


RED, GREEN, BLUE, PINK = (230, 20, 30), (20, 220, 40), (20, 40, 230), (250, 90, 200)


async def test_the_pictures_are_drawn_in_groups_that_their_tags_name(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    names = ("panda", "rocket", "octopus", "sunflower")
    await home.indexed(*[await cem.post(images, sample(name)) for name in names])
    reply = await map_for(home, cem)
    assert reply.private
    assert TEXTS.all.format(4) in reply.words
    [shown] = [part["items"][0] for part in reply.message["components"] if part["type"] == GALLERY]
    assert shown["description"].startswith(TEXTS.alt.split("{")[0])
    assert any(name in reply.words for name in names)
    page = await drawn(cem, reply)
    assert page.shape[0] >= 400
    assert page.shape[1] >= 600


async def test_what_the_asker_may_not_see_is_not_on_the_map(home: House, bot: MagpieBot) -> None:
    """In a channel of others, in a private thread of others, and in an age-restricted channel."""
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    await home.indexed(
        await ann.post(home.channel("pictures"), plate(RED), sample("panda")),
        await ann.post(home.channel("regulars"), plate(GREEN)),
        await ann.post(home.channel("party planning"), plate(BLUE)),
        await ann.post(home.channel("after-dark"), plate(PINK)),
    )
    seen = await map_for(home, dora)
    page = await drawn(dora, seen)
    assert [shows(page, colour) for colour in (RED, GREEN, BLUE, PINK)] == [True, False, False, False]
    assert CHINESE.map.all.format(2) in seen.words
    page = await drawn(cem, await map_for(home, cem))
    assert [shows(page, colour) for colour in (RED, GREEN, BLUE, PINK)] == [True, True, True, False]
    page = await drawn(cem, await map_for(home, cem, here="after-dark"))
    assert shows(page, PINK)


async def test_a_map_of_one_channel_has_its_threads_and_nothing_else(home: House, bot: MagpieBot) -> None:
    cem = await home.member("cem")
    await home.indexed(
        await cem.post(home.channel("pictures"), plate(RED)),
        await cem.post(home.channel("cats only"), plate(GREEN)),
        await cem.post(home.channel("chat"), plate(BLUE)),
    )
    page = await drawn(cem, await map_for(home, cem, here="chat", channel=home.channel("pictures")))
    assert [shows(page, colour) for colour in (RED, GREEN, BLUE)] == [True, True, False]


async def test_spoilers_are_left_out_and_reposts_are_shown_once(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    upload = await cem.upload(images, plate(PINK), "SPOILER_pink.png")
    await home.indexed(
        await cem.post(images, plate(RED)),
        await cem.post(images, plate(RED)),
        await cem.post(images, plate(GREEN)),
        await cem.say(images, "", attachments=[{**upload, "id": "0"}]),
    )
    reply = await map_for(home, cem)
    assert TEXTS.all.format(2) in reply.words
    assert not shows(await drawn(cem, reply), PINK)


async def test_what_was_deleted_unnoticed_is_not_shown_and_is_forgotten(home: House) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    async with home.bot():
        gone = await cem.post(images, plate(PINK))
        await home.indexed(gone, await cem.post(images, plate(RED)), await cem.post(images, plate(GREEN)))
        home.sandbox.state.channels[images].messages.pop(int(gone["id"]))  # no event tells
        reply = await map_for(home, cem)
        assert TEXTS.all.format(2) in reply.words
        assert not shows(await drawn(cem, reply), PINK)
        await home.forgotten(gone)


async def test_where_there_is_nothing_to_draw_the_answer_says_so(home: House, bot: MagpieBot) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    await home.indexed(await cem.post(home.channel("regulars"), plate(RED), plate(GREEN)))
    assert (await map_for(home, dora)).words == CHINESE.map.too_few


@pytest.mark.parametrize("path", ["/channels/*/messages", "*/attachments/*"])
async def test_where_discord_delivers_nothing_the_answer_says_so(home: House, bot: MagpieBot, path: str) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await home.indexed(await cem.post(images, plate(RED)), await cem.post(images, plate(GREEN)))
    home.sandbox.faults.add(Fault("server_error", method="GET", path=path, times=None, status=403, bots_only=False))
    assert (await map_for(home, cem)).words == TEXTS.unreachable


async def looked_up(bot: MagpieBot, refs: list[ImageRef]) -> dict[int, list[RemoteImage] | None]:
    return {ref.message_id: carried async for ref, carried in bot.services.messages.look_up_all(refs)}


async def test_neighbouring_pictures_are_looked_up_with_one_request(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = [await cem.post(images, plate((number, 0, 0))) for number in range(5)]
    refs = [image.ref for image in await home.indexed(*posted)]
    single = home.sandbox.faults.add(Fault("server_error", method="GET", path="/channels/*/messages/*", times=None))
    pages = home.sandbox.faults.add(Fault("delay", method="GET", path="/channels/*/messages", times=None, seconds=0))
    found = await looked_up(bot, refs)
    assert [carried and carried[0].attachment_id for carried in found.values()] == [
        ref.attachment_id for ref in sorted(refs, key=lambda ref: -ref.message_id)
    ]
    assert (single.triggered, pages.triggered) == (0, 1)


async def test_pictures_far_apart_are_found_page_by_page(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    first = await cem.post(images, plate(RED))
    for number in range(120):
        await cem.say(images, f"{number}")
    last = await cem.post(images, plate(GREEN))
    refs = [image.ref for image in await home.indexed(first, last)]
    assert set(await looked_up(bot, refs)) == {int(first["id"]), int(last["id"])}


async def test_only_discords_own_word_makes_a_picture_deleted(home: House, bot: MagpieBot) -> None:
    """The page lacks both; of one, Discord says that it is deleted, and of the other nothing."""
    cem, images = await home.member("cem"), home.channel("pictures")
    gone, stays = await cem.post(images, plate(RED)), await cem.post(images, plate(GREEN))
    [first, second] = [image.ref for image in await home.indexed(gone, stays)]
    home.sandbox.state.channels[images].messages.pop(int(gone["id"]))
    assert (await looked_up(bot, [first])) == {first.message_id: None}
    home.sandbox.state.channels[images].messages.pop(int(stays["id"]))
    home.sandbox.faults.add(Fault("server_error", method="GET", path="/channels/*/messages/*", times=None, status=404))
    with pytest.raises(ImageUnreachable):
        await looked_up(bot, [second])


async def test_pictures_that_do_not_arrive_in_time_cost_themselves_only(
    home: House, bot: MagpieBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    late = await cem.post(images, plate(PINK))
    await home.indexed(late, await cem.post(images, plate(RED)), await cem.post(images, plate(GREEN)))
    path = f"*/attachments/{images}/{late['attachments'][0]['id']}/*"
    home.sandbox.faults.add(Fault("delay", path=path, times=None, seconds=60, bots_only=False))
    monkeypatch.setattr("bot.features.picture_map._DOWNLOADS_S", 5.0)
    reply = await map_for(home, cem)
    assert TEXTS.all.format(2) in reply.words
    assert TEXTS.missing.format(1) in reply.words
    assert not shows(await drawn(cem, reply), PINK)


async def test_where_others_maps_take_too_long_the_answer_says_that_it_is_busy(
    home: House, bot: MagpieBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await home.indexed(await cem.post(images, plate(RED)), await cem.post(images, plate(GREEN)))
    monkeypatch.setattr("bot.features.picture_map._LONGEST_WAIT_S", 0.2)
    cog = bot.get_cog("map")
    assert isinstance(cog, MapCog)
    for _ in range(2):
        await cog._places.acquire()
    assert (await map_for(home, cem)).words == ENGLISH.errors.busy
    cog._places.release()
    assert TEXTS.all.format(2) in (await map_for(home, cem)).words
