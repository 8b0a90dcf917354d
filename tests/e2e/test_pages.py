"""The pages of an answer: turned, shown in another way, after a restart, by others, and as rights are at each press."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from io import BytesIO
from typing import Any

from PIL import Image

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from bot.models import first_message_at, utc_now
from sandbox.validation.layout import SECTION
from tests.e2e.harness import House, sample, until
from tests.e2e.member import GALLERY, Member, Reply, labelled

SCENES = ("panda", "rocket", "sunflower", "umbrella", "octopus", "red-apple", "sailboat", "bicycle")
TEXTS = ENGLISH.search


async def gallery_of(home: House, who: Member, *names: str, channel: str = "pictures") -> list[dict[str, Any]]:
    posted = [await who.post(home.channel(channel), sample(name)) for name in names]
    await home.indexed(*posted)
    return posted


async def press(home: House, who: Member, answer: Reply, label: str) -> Reply:
    button = labelled(answer.message, label)
    assert button is not None, label
    return await who.press_and_see_it_change(home.nest, answer.message, button)


async def kept(home: House) -> list[int]:
    """The answers in the database, the bot being up or not."""
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
        return [id_ for (id_,) in connection.execute("SELECT id FROM answers")]


async def written_down(home: House, count: int = 1) -> None:
    async def all_there() -> bool:
        return len(await kept(home)) >= count

    await until(all_there, "the answer is written down")


def ids(posted: Sequence[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in posted]


async def test_large_pictures_come_first_a_line_for_each_below_and_every_page_is_reached(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    newest_first = (await gallery_of(home, cem, *SCENES))[::-1]
    first = await cem.browse(home.nest, images, author=cem.id)
    kinds = [part["type"] for part in first.message["components"]]
    assert kinds[1] == GALLERY
    assert first.ids == ids(newest_first[:5])
    assert "8 pictures found · 1–5 shown" in first.words
    assert labelled(first.message, TEXTS.previous_page)["disabled"]
    second = await press(home, cem, first, TEXTS.next_page)
    assert second.ids == ids(newest_first[5:])
    assert "8 pictures found · 6–8 shown" in second.words
    assert second.words.split("\n")[0] == first.words.split("\n")[0]
    assert labelled(second.message, TEXTS.next_page)["disabled"]
    assert (await press(home, cem, second, TEXTS.previous_page)).ids == first.ids


async def test_the_list_shows_details_and_the_page_stays(home: House, bot: MagpieBot) -> None:
    dora, images = await home.member("dora"), home.channel("pictures")
    await gallery_of(home, dora, *SCENES)
    texts = CHINESE.search
    second = await press(home, dora, await dora.browse(home.nest, images, author=dora.id), texts.next_page)
    listed = await press(home, dora, second, texts.list_view)
    assert listed.ids == second.ids
    assert [part["type"] for part in listed.message["components"]].count(SECTION) == len(second.ids)
    assert "×" in listed.hits[0].words
    assert (await press(home, dora, listed, texts.gallery_view)).ids == second.ids

    found = await press(home, dora, await dora.find(home.nest, images, "熊猫"), texts.list_view)
    assert any(words in found.hits[0].words for words in texts.strengths.values())
    assert "%" not in found.words


async def test_as_many_as_were_asked_for_are_shown_ten_on_a_page(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await gallery_of(home, cem, *SCENES)
    few = await cem.browse(home.nest, images, count=2)
    assert len(few.ids) == 2
    assert labelled(few.message, TEXTS.next_page) is None
    assert len((await cem.browse(home.nest, images, count=25)).ids) == len(SCENES)


async def test_more_like_any_picture_of_the_page_is_a_choice_away(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    panda, *_ = await gallery_of(home, cem, "panda", "rocket")
    twin = await cem.post(images, sample("panda"), text="again")
    await home.indexed(twin)
    found = await cem.browse(home.nest, images, author=cem.id)
    [hit] = [hit for hit in found.hits if hit.message_id in (panda["id"], twin["id"])]
    alike = await cem.press(home.nest, found.message, hit.more)
    assert alike.private
    assert set(alike.ids) == {panda["id"], twin["id"]} - {hit.message_id}


async def test_where_nothing_matches_the_question_is_repeated_and_the_nearest_pictures_are_a_button_away(
    home: House, bot: MagpieBot
) -> None:
    """The nearest are of those that the member may see: dora does not see the regulars' room."""
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await gallery_of(home, cem, "octopus", channel="regulars")
    rocket, sunflower = await gallery_of(home, cem, "rocket", "sunflower")
    nothing = await dora.find(home.nest, images, "a panda")
    assert nothing.ids == []
    assert nothing.words.startswith("**“a panda”**\n")
    nearest = await press(home, dora, nothing, CHINESE.search.show_nearest)
    assert set(nearest.ids) == {rocket["id"], sunflower["id"]}
    assert CHINESE.search.these_are_nearest in nearest.words
    assert nearest.words.startswith("**“a panda”**\n")


def resized(name: str, edge: int) -> bytes:
    png = BytesIO()
    with Image.open(BytesIO(sample(name))) as image:
        image.resize((edge, edge)).save(png, "PNG")
    return png.getvalue()


async def test_one_picture_in_several_sizes_is_shown_once_the_largest_and_each_behind_a_switch(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    small, large, middle = [await cem.post(images, resized("panda", edge)) for edge in (128, 512, 256)]
    await home.indexed(small, large, middle)
    folded = await cem.find(home.nest, images, "a panda")
    assert folded.ids == [large["id"]]
    assert "+2 near copies" in folded.words
    assert TEXTS.copies_once in folded.words
    each = await press(home, cem, folded, TEXTS.show_near_copies)
    assert set(each.ids) == {small["id"], large["id"], middle["id"]}
    assert TEXTS.copies_each in each.words
    assert (await press(home, cem, each, TEXTS.fold_near_copies)).ids == folded.ids


async def test_an_answers_buttons_survive_a_restart_and_what_was_asked_is_stored_nowhere(home: House) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    async with home.bot():
        posted = await gallery_of(home, cem, *SCENES)
        first = await cem.browse(home.nest, images, author=cem.id)
        found = await cem.find(home.nest, images, "a panda zzzquery")
        await written_down(home)
    for file in home.directory.glob("magpie.sqlite3*"):
        assert b"zzzquery" not in file.read_bytes()
    async with home.bot():
        second = await press(home, cem, first, TEXTS.next_page)
        assert second.ids == ids(posted[::-1][5:])
        assert found.message["id"] != second.message["id"]


async def test_nobody_else_turns_an_answers_pages(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await gallery_of(home, cem, *SCENES)
    public = await cem.ask_in_public(home.sandbox.application_id, await cem.post(images, sample("panda")), "similar")
    button = labelled(public.message, TEXTS.list_view)
    refused = await dora.press(home.nest, public.message, button)
    assert refused.private
    assert refused.words == CHINESE.errors.not_yours
    assert (await press(home, cem, public, TEXTS.list_view)).ids == public.ids


async def test_an_answer_of_the_day_before_says_that_it_has_expired(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await gallery_of(home, cem, *SCENES)
    first = await cem.browse(home.nest, images, author=cem.id)
    await written_down(home)
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM answer_images")
        connection.execute("DELETE FROM answers")
        connection.commit()
    expired = await cem.press(home.nest, first.message, labelled(first.message, TEXTS.next_page))
    assert expired.words == TEXTS.expired


async def test_old_answers_are_deleted_at_the_next_start(home: House) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    async with home.bot():
        await gallery_of(home, cem, "panda")
        await cem.browse(home.nest, images)
        await written_down(home)
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
        connection.execute("UPDATE answers SET id = ?", (first_message_at(utc_now() - timedelta(hours=25)),))
        connection.commit()
    async with home.bot():

        async def none_left() -> bool:
            return not await kept(home)

        await until(none_left, "the old answer is deleted")


async def test_a_page_shows_what_its_member_may_see_when_it_is_turned(home: House, bot: MagpieBot) -> None:
    """The regulars' room is closed to cem, and a picture deleted, after the answer was given."""
    ann, cem, images = await home.member("ann"), await home.member("cem"), home.channel("pictures")
    hidden = await gallery_of(home, cem, "panda", channel="regulars")
    shown = await gallery_of(home, cem, *SCENES[1:])
    first = await cem.browse(home.nest, images, author=cem.id, sort="oldest")
    assert first.ids[0] == hidden[0]["id"]
    regulars = home.channel("regulars")
    overwrite = {"id": cem.id, "type": 1, "allow": "0", "deny": str(1 << 10)}
    await ann.ok("PUT", f"/channels/{regulars}/permissions/{cem.id}", overwrite)
    await until(lambda: _cannot_see(bot, regulars, int(cem.id)), "the room is closed")
    await cem.remove(shown[0])
    await home.forgotten(shown[0])
    again = await press(home, cem, first, TEXTS.list_view)
    assert not {hidden[0]["id"], shown[0]["id"]} & set(again.ids)
    assert "6 pictures found" in again.words


async def _cannot_see(bot: MagpieBot, channel_id: int, member_id: int) -> bool:
    channel: Any = bot.get_channel(channel_id)
    return any(target.id == member_id for target in channel.overwrites)


async def test_a_public_answer_goes_with_a_picture_of_a_page_that_was_turned_to(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    pandas = [await cem.post(images, sample("panda"), text=str(number)) for number in range(8)]
    await home.indexed(*pandas)
    public = await cem.ask_in_public(home.sandbox.application_id, pandas[0], "similar")
    second = await press(home, cem, public, TEXTS.next_page)
    assert set(second.ids).isdisjoint(public.ids)
    await cem.remove(next(one for one in pandas if one["id"] == second.ids[-1]))
    await cem.event("MESSAGE_DELETE", lambda seen: seen["id"] == public.message["id"])
