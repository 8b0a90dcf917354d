"""Pictures that are no attached images: stickers, emojis posted large, and what Discord shows of a video."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from bot.discord_io.client import MagpieBot
from bot.models import ImageState, Source
from sandbox.guild_ops import add_emoji, add_sticker
from tests.e2e.harness import ROOT, House, sample, until
from tests.e2e.member import Member
from tests.sandbox.videos import mp4


def as_gif(name: str) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(sample(name))).convert("RGB").save(out, "GIF")
    return out.getvalue()


async def indexed(home: House, message: dict[str, Any], source: Source) -> None:
    """Waits until the message's one image is."""
    store = home.running.services.images

    async def is_ready() -> bool:
        found = await store.by_message(int(message["id"]))
        return [(image.ref.source, image.state) for image in found] == [(source, ImageState.READY)]

    await until(is_ready, "the picture is indexed")


async def test_a_sticker_is_found_once_however_often_it_is_posted_and_goes_with_its_messages(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    nest, ann = home.sandbox.guild("The Nest"), home.sandbox.user("ann")
    panda = add_sticker(home.sandbox.state, nest, "hop", sample("panda"), ann)
    posted = [await cem.say(images, sticker_ids=[str(panda.id)]) for _ in range(3)]
    for message in posted:
        await indexed(home, message, Source.STICKER)
    found = await cem.find(home.nest, images, "a panda")
    assert len(found.ids) == 1
    assert {message["id"] for message in posted} >= {*found.ids}
    assert (await cem.fetched(found.hits[0].picture)) == sample("panda")
    alike = await cem.similar_by_menu(home.nest, posted[0])
    assert {*alike.ids} == {message["id"] for message in posted[1:]}
    for message in posted:
        await cem.remove(message)
    await home.forgotten(*posted)
    assert (await cem.find(home.nest, images, "a panda")).ids == []


async def test_a_gif_sticker_is_found_too(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    nest, ann = home.sandbox.guild("The Nest"), home.sandbox.user("ann")
    moving = add_sticker(home.sandbox.state, nest, "hop", as_gif("rocket"), ann)
    posted = await cem.say(images, sticker_ids=[str(moving.id)])
    await indexed(home, posted, Source.STICKER)
    assert (await cem.find(home.nest, images, "a rocket")).ids == [posted["id"]]


async def test_an_emoji_is_a_picture_for_as_long_as_its_message_is_nothing_else(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    emoji = add_emoji(
        home.sandbox.state, home.sandbox.guild("The Nest"), "hop", sample("panda"), home.sandbox.user("ann")
    )
    posted = await cem.say(images, f"<:hop:{emoji.id}>")
    path = f"/channels/{images}/messages/{posted['id']}"
    await indexed(home, posted, Source.EMOJI)
    assert (await cem.find(home.nest, images, "a panda")).ids == [posted["id"]]
    await cem.ok("PATCH", path, {"content": f"look <:hop:{emoji.id}>"})
    await home.forgotten(posted)
    await cem.ok("PATCH", path, {"content": f"<:hop:{emoji.id}>"})
    await indexed(home, posted, Source.EMOJI)


@pytest.mark.parametrize("name", ["film.mp4", "SPOILER_film.mp4"])
async def test_a_video_is_found_by_its_picture_and_covered_as_it_is(home: House, bot: MagpieBot, name: str) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await post_video(cem, images, mp4(640, 360, cover=sample("panda")), name)
    await indexed(home, posted, Source.VIDEO)
    [hit] = (await cem.find(home.nest, images, "a panda")).hits
    assert (hit.message_id, hit.spoiler) == (posted["id"], name.startswith("SPOILER"))
    assert (await cem.fetched(hit.picture)) == sample("panda")
    assert {*(await cem.similar_to_file(home.nest, images, sample("panda"))).ids} == {posted["id"]}
    await cem.remove(posted)
    await home.forgotten(posted)


async def test_what_is_posted_by_a_member_who_opts_out_is_forgotten_whatever_kind_it_is(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    train = (ROOT / "sandbox" / "world" / "train-passing.mp4").read_bytes()
    posted = await post_video(cem, images, train, "train.mp4")
    await indexed(home, posted, Source.VIDEO)
    await bot.services.registry.opt_out(int(cem.id))
    await home.forgotten(posted)


async def post_video(member: Member, channel_id: int, data: bytes, name: str) -> dict[str, Any]:
    return await member.say(channel_id, attachments=[await member.upload(channel_id, data, name)])
