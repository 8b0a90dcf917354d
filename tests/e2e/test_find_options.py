"""What /find takes beside words and limits: what not to show, a picture to start from, and sharing the answer."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, sample, until
from tests.e2e.member import labelled
from tests.e2e.test_pages import gallery_of, press, resized

TEXTS = ENGLISH.search
SEND_MESSAGES = 1 << 11


async def test_what_is_excluded_is_never_shown_and_said_back(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    panda, rocket = await gallery_of(home, cem, "panda", "rocket")
    other = await cem.find(home.nest, images, "a panda", exclude="a rocket")
    assert other.ids == [panda["id"]]
    assert other.words.startswith("**“a panda”** · without “a rocket”\n")
    nothing = await cem.find(home.nest, images, "a panda", exclude="a panda **here**")
    assert nothing.ids == []
    assert r"without “a panda \*\*here\*\*”" in nothing.words
    assert TEXTS.hint_limits in nothing.words
    nearest = await press(home, cem, nothing, TEXTS.show_nearest)
    assert nearest.ids == [rocket["id"]], "nor among the nearest"


async def test_an_emoji_finds_what_it_shows(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    panda, _ = await gallery_of(home, cem, "panda", "rocket")
    found = await cem.find(home.nest, images, "🐼")
    assert found.ids == [panda["id"]]
    assert found.words.startswith("**“🐼”**\n")


async def test_a_picture_beside_the_words_takes_part_in_the_question(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    [rocket] = await gallery_of(home, cem, "rocket")
    assert (await cem.find(home.nest, images, "a panda")).ids == []
    refined = await cem.find_like(home.nest, images, "a panda", sample("rocket"))
    assert refined.ids == [rocket["id"]]
    assert refined.words.startswith("**“a panda”** · like the picture given\n")
    assert (await cem.find_like(home.nest, images, "a panda", b"no picture")).words == ENGLISH.query_image.unusable


async def test_a_shared_answer_shows_what_everyone_there_can_see_on_every_page(home: House, bot: MagpieBot) -> None:
    """Also to whoever asked, who may see more."""
    cem, images, regulars = await home.member("cem"), home.channel("pictures"), home.channel("regulars")
    open_ones = [await cem.post(images, resized("panda", edge)) for edge in (128, 256)]
    hidden = await cem.post(regulars, resized("panda", 512))
    await home.indexed(*open_ones, hidden)
    shared = await cem.find(home.nest, images, "a panda", share=True, author=cem.id)
    assert not shared.private
    assert shared.message["mentions"] == []
    assert shared.ids == [open_ones[1]["id"]]
    assert TEXTS.only_public in shared.words
    each = await press(home, cem, shared, TEXTS.show_near_copies)
    assert set(each.ids) == {one["id"] for one in open_ones}
    dora = await home.member("dora")
    assert (await dora.press(home.nest, shared.message, labelled(each.message, TEXTS.list_view))).private
    own = await cem.find(home.nest, images, "a panda")
    assert own.private
    assert own.ids == [hidden["id"]]


async def test_a_shared_answer_goes_with_a_picture_that_it_shows(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    panda, rocket = await gallery_of(home, cem, "panda", "rocket")
    shared = await cem.find(home.nest, images, "a panda", share=True)
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
        noted = connection.execute("SELECT count(*) FROM replies WHERE message_id = ?", (int(shared.message["id"]),))
        assert noted.fetchone() == (1,), "before it is shown"
    await cem.remove(rocket)
    await cem.remove(panda)
    await cem.event("MESSAGE_DELETE", lambda seen: seen["id"] == shared.message["id"])


async def test_an_answer_about_a_covered_picture_is_shared_covered(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await gallery_of(home, cem, "panda")
    for share in (True, False):
        options = {"filename": "SPOILER_panda.png", "share": share}
        answer = await cem.find_like(home.nest, images, "a panda", sample("panda"), **options)
        assert answer.private is not share
        assert [hit.spoiler for hit in answer.hits] == [share]


async def test_an_answer_is_shared_only_where_the_member_may_write_and_a_few_times(home: House, bot: MagpieBot) -> None:
    ann, cem, images = await home.member("ann"), await home.member("cem"), home.channel("pictures")
    await gallery_of(home, cem, "panda")
    for _ in range(4):
        bot.services.pages.count_public(int(cem.id))
    hasty = await cem.find(home.nest, images, "a panda", share=True)
    assert hasty.private
    assert hasty.words.startswith(ENGLISH.errors.on_cooldown.split("{")[0])
    for who in (cem.id, str(home.sandbox.application_id)):
        no_words = {"type": 1, "allow": "0", "deny": str(SEND_MESSAGES)}
        await ann.ok("PUT", f"/channels/{images}/permissions/{who}", no_words)
        refused = await cem.find(home.nest, images, "a panda", share=True)
        assert refused.private
        assert refused.words == TEXTS.may_not_share
        await ann.ok("DELETE", f"/channels/{images}/permissions/{who}")


async def test_a_members_first_answer_says_where_help_is_and_another_script_what_the_model_reads(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await gallery_of(home, cem, "panda")
    assert TEXTS.hint_first_answer in (await cem.find(home.nest, images, "a panda")).words
    again = await cem.find(home.nest, images, "панда")
    assert TEXTS.hint_first_answer not in again.words
    assert TEXTS.hint_script.format(languages="English and Chinese") in again.words
    assert TEXTS.hint_script.split("{")[0] not in (await cem.find(home.nest, images, "熊猫")).words


async def test_of_a_message_with_several_pictures_the_member_chooses_one(home: House, bot: MagpieBot) -> None:
    ann, cem, images = await home.member("ann"), await home.member("cem"), home.channel("pictures")
    panda, rocket = await gallery_of(home, cem, "panda", "rocket")
    both = await cem.post(images, sample("panda"), sample("rocket"))
    await home.indexed(both)
    asked = await cem.similar_by_menu(home.nest, both)
    assert asked.private
    assert asked.words == ENGLISH.query_image.which_one
    [gallery, menu] = [part for part in asked.message["components"] if part["type"] != 10]
    assert len(gallery["items"]) == 2
    [menu] = menu["components"]
    for option, twin in zip(menu["options"], (panda, rocket), strict=True):
        chosen = await cem.press(home.nest, asked.message, {**menu, "values": [option["value"]]})
        assert chosen.private
        assert chosen.ids == [twin["id"]]
    link = f"https://discord.com/channels/{home.nest}/{images}/{both['id']}"
    elsewhere = await cem.similar_to_link(home.nest, home.channel("chat"), link)
    assert elsewhere.words == ENGLISH.query_image.which_one
    view_channel = {"type": 1, "allow": "0", "deny": str(1 << 10)}
    await ann.ok("PUT", f"/channels/{images}/permissions/{cem.id}", view_channel)

    async def closed() -> bool:
        channel = bot.get_channel(images)
        return any(target.id == int(cem.id) for target in channel.overwrites)  # type: ignore[union-attr]

    await until(closed, "the channel is closed to cem")
    late = await cem.press(home.nest, elsewhere.message, {**menu, "values": [menu["options"][0]["value"]]})
    assert late.words == ENGLISH.query_image.message_not_found
