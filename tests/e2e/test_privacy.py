"""What members can do about what is kept of them: look, export, delete, opt out, opt in."""

from __future__ import annotations

import json

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from bot.models import TagDecision
from tests.e2e.harness import House, sample
from tests.e2e.member import Member, Reply, button

FILE = 13
TEXTS = ENGLISH.privacy


async def explained(home: House, member: Member) -> Reply:
    return await member.use(home.nest, home.channel("pictures"), "privacy", [])


async def test_a_member_reads_what_is_kept_and_of_how_many_pictures(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await home.indexed(await cem.post(images, sample("panda"), sample("rocket")))
    told = await explained(home, cem)
    assert told.private
    assert TEXTS.explained in told.words
    assert TEXTS.kept_here.format(2) in told.words


async def test_a_reader_of_chinese_is_answered_in_chinese(home: House, bot: MagpieBot) -> None:
    dora = await home.member("dora")
    assert CHINESE.privacy.explained in (await explained(home, dora)).words


async def test_an_export_has_ones_own_pictures_with_their_tags_and_nobody_elses(home: House, bot: MagpieBot) -> None:
    cem, ann, images = await home.member("cem"), await home.member("ann"), home.channel("pictures")
    mine, hers = await cem.post(images, sample("panda")), await ann.post(images, sample("rocket"))
    await home.indexed(mine, hers)
    [image] = await bot.services.images.by_message(int(mine["id"]))
    decided = [TagDecision("panda", kept=False), TagDecision("mascot", kept=True)]
    await bot.services.tags.decide(image.id, decided)
    told = await explained(home, cem)
    answer = await cem.press(home.nest, told.message, button(told.message, "magpie:privacy_export:"))
    assert answer.private
    [file] = [part["file"] for part in answer.message["components"] if part["type"] == FILE]
    assert "/my-pictures.json?" in file["url"]
    about = json.loads(await cem.fetched(file["url"]))
    assert about["member"] == cem.id
    assert [picture["message"] for picture in about["pictures"]] == [mine["id"]]
    [picture] = about["pictures"]
    assert picture["removed_tags"] == ["panda"]
    assert picture["tags"][0] == {"label": "mascot", "probability": 1.0, "confirmed": True}
    assert len(picture["picture_hash"]) == 16


async def test_going_back_from_the_question_deletes_nothing(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    for everywhere in (False, True):
        asked = await cem.ask_to_be_forgotten(home.nest, images, everywhere=everywhere)
        again = await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:privacy:"))
        assert TEXTS.kept_here.format(1) in again.words
    await home.indexed(posted)


async def test_who_opts_out_is_forgotten_everywhere_and_taken_in_again_only_after_opting_in(
    home: House, bot: MagpieBot
) -> None:
    cem, images, sketches = await home.member("cem"), home.channel("pictures"), home.channel("sketches")
    here, elsewhere = await cem.post(images, sample("panda")), await cem.post(sketches, sample("rocket"))
    await home.indexed(here, elsewhere)
    asked = await cem.ask_to_be_forgotten(home.nest, images, everywhere=True)
    done = await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:opt_out:"))
    assert done.words == TEXTS.opted_out_now.format(2)
    await home.forgotten(here, elsewhere)

    ignored = await cem.post(images, sample("octopus"))
    told = await explained(home, cem)
    assert TEXTS.opted_out in told.words
    back = await cem.press_and_see_it_change(home.nest, told.message, button(told.message, "magpie:opt_in:"))
    assert back.words == TEXTS.opted_in_now
    taken = await cem.post(images, sample("octopus"))
    await home.indexed(taken)
    assert not await bot.services.images.by_message(int(ignored["id"]))


@pytest.mark.parametrize("everywhere", [False, True])
async def test_the_buttons_of_one_member_do_nothing_for_another(home: House, bot: MagpieBot, everywhere: bool) -> None:
    """Discord shows them to their member only; a custom id can be sent by anybody who sees a message with it."""
    cem, images = await home.member("cem"), home.channel("pictures")
    asked = await cem.ask_to_be_forgotten(home.nest, images, everywhere=everywhere)
    ids = [part["custom_id"] for row in asked.message["components"] for part in row.get("components", ())]
    assert ids
    assert all(f":@{cem.id}" in custom_id for custom_id in ids)
