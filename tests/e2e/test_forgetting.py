"""Whatever way an image goes in Discord, it is never found again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, kill, sample, until
from tests.e2e.member import PATIENCE_S, button


async def test_an_edit_that_drops_an_image_forgets_that_one_alone(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"), sample("rocket"))
    await home.indexed(posted)
    kept = posted["attachments"][0]["id"]
    path = f"/channels/{images}/messages/{posted['id']}"
    await cem.ok("PATCH", path, {"attachments": [{"id": kept}]})

    async def only_one_left() -> bool:
        return [str(one.ref.attachment_id) for one in await bot.services.images.by_message(int(posted["id"]))] == [kept]

    await until(only_one_left, "the dropped picture is forgotten")
    dropped = posted["attachments"][1]["id"]
    for words in ("a panda", "a rocket"):
        shown = (await cem.find(home.nest, images, words)).hits
        assert not any(f"/{dropped}/" in hit.picture for hit in shown)
    assert (await cem.find(home.nest, images, "a panda")).ids == [posted["id"]]


async def test_many_messages_deleted_at_once_are_all_forgotten(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = [await bob.post(images, sample(name)) for name in ("panda", "rocket", "octopus")]
    await home.indexed(*posted)
    await bob.ok("POST", f"/channels/{images}/messages/bulk-delete", {"messages": [one["id"] for one in posted]})
    await home.forgotten(*posted)
    assert (await bob.find(home.nest, images, "a panda")).ids == []


@pytest.mark.parametrize("name", ["cats only", "pictures"])
async def test_a_deleted_thread_or_channel_takes_its_images_along(home: House, bot: MagpieBot, name: str) -> None:
    bob, chat = await home.member("bob"), home.channel("chat")
    in_thread = await bob.post(home.channel("cats only"), sample("panda"))
    stays = await bob.post(chat, sample("rocket"))
    await home.indexed(in_thread, stays)
    await bob.ok("DELETE", f"/channels/{home.channel(name)}")
    await home.forgotten(in_thread)
    assert in_thread["id"] not in (await bob.find(home.nest, chat, "a panda")).ids
    assert (await bob.find(home.nest, chat, "a rocket")).ids == [stays["id"]]


async def test_a_server_that_removes_the_bot_is_forgotten_and_starts_anew_later(home: House, bot: MagpieBot) -> None:
    cem, images, guild = await home.member("cem"), home.channel("pictures"), home.sandbox.guild("The Nest")
    before = await cem.post(images, sample("panda"))
    await home.indexed(before)
    home.sandbox.remove_bot(guild)
    await home.forgotten(before)
    home.sandbox.invite_bot(guild)
    await until(lambda: _knows(bot, guild.id), "the bot is back in the server")
    after = await cem.post(images, sample("rocket"))
    await home.indexed(after)
    assert (await cem.find(home.nest, images, "a rocket")).ids == [after["id"]]
    assert before["id"] not in (await cem.find(home.nest, images, "a panda")).ids


async def _knows(bot: MagpieBot, guild_id: int) -> bool:
    return bot.get_guild(guild_id) is not None


async def test_a_deletion_that_the_bot_did_not_hear_of_is_noticed_before_the_image_is_shown(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    del home.sandbox.state.channels[images].messages[int(posted["id"])]  # no event
    assert (await cem.find(home.nest, images, "a panda")).ids == []
    await home.forgotten(posted)


async def test_a_members_own_deletion_deletes_ones_own_images_and_nobody_elses(home: House, bot: MagpieBot) -> None:
    cem, ann, images = await home.member("cem"), await home.member("ann"), home.channel("pictures")
    mine = await cem.post(images, sample("panda"))
    hers = await ann.post(images, sample("rocket"))
    await home.indexed(mine, hers)
    asked = await cem.ask_to_be_forgotten(home.nest, images)
    assert asked.private
    await home.indexed(mine)  # asking deletes nothing
    done = await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:forget:"))
    assert done.words == ENGLISH.privacy.deleted.format(1)
    await home.forgotten(mine)
    assert mine["id"] not in (await cem.find(home.nest, images, "a panda")).ids
    assert (await cem.find(home.nest, images, "a rocket")).ids == [hers["id"]]
    later = await cem.post(images, sample("panda"))
    await home.indexed(later)


async def test_a_message_content_switch_turned_off_makes_nothing_look_removed(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    [magpie] = home.sandbox.state.applications.values()
    magpie.message_content = False
    assert (await cem.find(home.nest, images, "a panda")).ids == []
    edited = asyncio.create_task(bot.wait_for("raw_message_edit", timeout=PATIENCE_S))
    await cem.ok("PATCH", f"/channels/{images}/messages/{posted['id']}", {"content": "my panda"})
    await edited
    magpie.message_content = True
    assert (await cem.find(home.nest, images, "a panda")).ids == [posted["id"]]


async def test_a_shorter_list_of_hosts_makes_nothing_look_removed(home: House) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    async with home.bot():
        posted = await cem.post(images, sample("panda"))
        await home.indexed(posted)
    async with home.bot(CDN_HOSTS="cdn.discordapp.com") as bot:
        edited = asyncio.create_task(bot.wait_for("raw_message_edit", timeout=PATIENCE_S))
        await cem.ok("PATCH", f"/channels/{images}/messages/{posted['id']}", {"content": "my panda"})
        await edited
        assert (await cem.find(home.nest, images, "a panda")).ids == [posted["id"]]


async def test_a_members_deletion_counts_by_discords_clock_and_not_the_machines(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await home.indexed(await cem.post(images, sample("panda")))
    asked = await cem.ask_to_be_forgotten(home.nest, images)
    await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:forget:"))
    pressed = max(int(one["id"]) for name, one in cem.events if name == "INTERACTION_CREATE")
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as database:
        assert database.execute("SELECT up_to_message FROM author_cutoffs").fetchall() == [(pressed,)]


async def test_deletions_that_meet_a_locked_database_outlast_a_kill_and_show_nothing_meanwhile(home: House) -> None:
    bob, cem, ann = [await home.member(name) for name in ("bob", "cem", "ann")]
    images, file = home.channel("pictures"), home.directory / "magpie.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None, timeout=PATIENCE_S)) as other:

        async def kept(count: int) -> None:
            async def so_many() -> bool:
                return other.execute("SELECT count(*) FROM images WHERE state = 'ready'").fetchone() == (count,)

            await until(so_many, f"{count} pictures are kept")

        async def written_down() -> bool:
            return len((home.directory / "magpie.sqlite3.deletions").read_bytes().split()) == 2

        async with home.bot_process() as process:
            deleted = await cem.post(images, sample("panda"))
            await ann.post(images, sample("rocket"))
            stays = await bob.post(images, sample("octopus"))
            await kept(3)
            other.execute("BEGIN IMMEDIATE")
            await cem.remove(deleted)
            asked = await ann.ask_to_be_forgotten(home.nest, images)
            done = await ann.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:forget:"))
            assert done.words == ENGLISH.privacy.waits
            for words in ("a panda", "a rocket"):
                assert (await bob.find(home.nest, images, words)).ids == []
            assert (await bob.find(home.nest, images, "an octopus")).ids == [stays["id"]]
            await until(written_down, "both deletions are in the journal")
            told = await bob.subcommand(home.nest, images, "labels", "add", label="our mascot")
            assert told.words == ENGLISH.errors.store_failed
            await kill(process)
        other.execute("ROLLBACK")
        await kept(3)
        async with home.bot_process():
            await kept(1)
            assert other.execute("SELECT message_id FROM images").fetchall() == [(int(stays["id"]),)]
            assert other.execute("SELECT author_id FROM author_cutoffs").fetchall() == [(int(ann.id),)]

            other.execute("BEGIN IMMEDIATE")
            await bob.remove(stays)
            assert (await bob.find(home.nest, images, "an octopus")).ids == []
            other.execute("ROLLBACK")
            await kept(0)
