"""What those who manage a server have forgotten, paused and left out, from end to end."""

from __future__ import annotations

from typing import Any

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, sample, until
from tests.e2e.member import CHANNEL, STRING, USER, Member, Reply, button
from tests.e2e.test_backfill import counts, ended, hurry, notice

TEXTS = ENGLISH.forgetting


async def confirmed(home: House, member: Member, asked: Reply, action: str) -> Reply:
    return await member.press_and_see_it_change(home.nest, asked.message, button(asked.message, f"magpie:{action}"))


async def backfilled(home: House, bot: MagpieBot, member: Member) -> Reply:
    hurry(bot)
    since = len(member.events)
    await member.magpie(home.nest, home.channel("chat"), "index", mode=(STRING, "thorough"))
    return await ended(member, await notice(member, since))


def link(home: House, message: dict[str, Any]) -> str:
    return f"https://discord.com/channels/{home.nest}/{message['channel_id']}/{message['id']}"


async def test_a_forgotten_channel_stays_forgotten_through_a_backfill_and_takes_in_what_is_new(
    home: House, bot: MagpieBot
) -> None:
    bob, cem, images, chat = (
        *[await home.member(name) for name in ("bob", "cem")],
        *map(home.channel, ("pictures", "chat")),
    )
    posted = await cem.post(images, sample("panda"))
    in_thread = await cem.post(home.channel("cats only"), sample("rocket"))
    stays = await cem.post(chat, sample("octopus"))
    await home.indexed(posted, in_thread, stays)
    asked = await bob.magpie(home.nest, chat, "forget", "channel", channel=(CHANNEL, str(images)))
    assert asked.private
    assert asked.words == TEXTS.channel_ask.format(2, channel=f"<#{images}>")
    assert button(asked.message, "magpie:forget_channel")["label"] == TEXTS.forget.format(2)
    await home.indexed(posted)  # asking forgets nothing
    assert (await confirmed(home, bob, asked, "forget_channel")).words == TEXTS.done.format(2)
    await home.forgotten(posted, in_thread)
    later = await cem.post(images, sample("sunflower"))
    await home.indexed(later)
    assert counts(2) in (await backfilled(home, bot, bob)).words
    await home.forgotten(posted, in_thread)
    await home.indexed(stays, later)


async def test_a_forgotten_server_keeps_its_settings_and_goes_on(home: House, bot: MagpieBot) -> None:
    bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
    posted = [await cem.post(place, sample("panda")) for place in (chat, home.channel("regulars"))]
    await home.indexed(*posted)
    await bob.subcommand(home.nest, chat, "labels", "add", label="mascot")
    asked = await bob.magpie(home.nest, chat, "forget", "server")
    assert asked.words == TEXTS.server_ask.format(2)
    assert (await confirmed(home, bob, asked, "forget_server")).words == TEXTS.done.format(2)
    await home.forgotten(*posted)
    kept = (await bot.services.labels.of_guild(home.nest)).of(None)
    assert [label.name for label in kept.own] == ["mascot"]
    await backfilled(home, bot, bob)
    await home.forgotten(*posted)
    await home.indexed(await cem.post(chat, sample("rocket")))


async def test_a_member_is_left_out_until_let_in_again(home: House, bot: MagpieBot) -> None:
    bob, cem, ann, chat = *[await home.member(name) for name in ("bob", "cem", "ann")], home.channel("chat")
    mine, hers = await cem.post(chat, sample("panda")), await ann.post(chat, sample("rocket"))
    await home.indexed(mine, hers)
    asked = await bob.magpie(home.nest, chat, "forget", "member", member=(USER, cem.id), wish=(STRING, "leave_out"))
    assert asked.words == TEXTS.leave_out_ask.format(1, member=f"<@{cem.id}>")
    assert (await confirmed(home, bob, asked, "forget_member")).words == TEXTS.done.format(1)
    ignored = await cem.post(chat, sample("octopus"))
    await home.indexed(hers, await ann.post(chat, sample("octopus")))
    await home.forgotten(mine, ignored)
    await backfilled(home, bot, bob)
    await home.forgotten(mine, ignored)
    let_in = await bob.magpie(home.nest, chat, "forget", "member", member=(USER, cem.id), wish=(STRING, "let_in"))
    assert let_in.words == TEXTS.member_let_in.format(member=f"<@{cem.id}>")
    await home.indexed(await cem.post(chat, sample("sunflower")))
    await home.forgotten(mine)


async def test_one_picture_of_a_message_or_all_are_forgotten_for_good(home: House, bot: MagpieBot) -> None:
    bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
    posted = await cem.post(chat, sample("panda"), sample("rocket"))
    await home.indexed(posted)
    asked = await bob.magpie(home.nest, chat, "forget", "picture", message=(STRING, link(home, posted)))
    assert asked.words.startswith(TEXTS.message_ask.format(2, link=link(home, posted)))
    menu = button(asked.message, "magpie-menu:forget_picture")
    assert [option["label"].split(":")[0] for option in menu["options"]] == ["Picture 1", "Picture 2"]
    done = await bob.choose_and_see_it_change(home.nest, asked.message, menu, menu["options"][0]["value"])
    assert done.words == TEXTS.done.format(1)
    await backfilled(home, bot, bob)
    left = [str(image.ref.attachment_id) for image in await bot.services.images.by_message(int(posted["id"]))]
    assert left == [posted["attachments"][1]["id"]]
    asked = await bob.magpie(home.nest, chat, "forget", "picture", message=(STRING, link(home, posted)))
    assert (await confirmed(home, bob, asked, "forget_message")).words == TEXTS.done.format(1)
    await backfilled(home, bot, bob)
    await home.forgotten(posted)


async def test_a_moderator_learns_nothing_of_a_message_that_they_cannot_see(home: House, bot: MagpieBot) -> None:
    """The private thread has members of its own; Emil's server is another one."""
    bob, ann, chat = await home.member("bob"), await home.member("ann"), home.channel("chat")
    moderator = next(role for role in home.sandbox.guild("The Nest").roles.values() if role.name == "Moderator")
    moderator.permissions &= ~(1 << 34)  # manage threads
    await ann.ok("PATCH", f"/guilds/{home.nest}/roles/{moderator.id}", {"permissions": str(moderator.permissions)})
    hidden = await ann.post(home.channel("party planning"), sample("panda"))
    await home.indexed(hidden)
    for wrong in (link(home, hidden), link(home, {"channel_id": chat, "id": "1"})):
        refused = await bob.magpie(home.nest, chat, "forget", "picture", message=(STRING, wrong))
        assert refused.words in (ENGLISH.query_image.message_not_found, ENGLISH.query_image.message_without_image)
    elsewhere = link(home, hidden).replace(str(home.nest), "1")
    refused = await bob.magpie(home.nest, chat, "forget", "picture", message=(STRING, elsewhere))
    assert refused.words == ENGLISH.query_image.not_a_message_link
    await home.indexed(hidden)


async def test_a_button_of_one_moderator_is_not_anothers_and_needs_the_right_when_it_is_pressed(
    home: House, bot: MagpieBot
) -> None:
    ann, bob, cem, chat = *[await home.member(name) for name in ("ann", "bob", "cem")], home.channel("chat")
    posted = await cem.post(chat, sample("panda"))
    await home.indexed(posted)
    asked = await bob.magpie(home.nest, chat, "forget", "server")
    moderator = next(role for role in home.sandbox.guild("The Nest").roles.values() if role.name == "Moderator")
    await ann.ok("DELETE", f"/guilds/{home.nest}/members/{bob.id}/roles/{moderator.id}")
    refused = await bob.press(home.nest, asked.message, button(asked.message, "magpie:forget_server"))
    assert refused.words == ENGLISH.errors.needs_permission.format(permission="Manage Server")
    await home.indexed(posted)


@pytest.mark.parametrize("restart", [False, True])
async def test_what_is_posted_during_a_pause_is_read_after_it_and_deletions_are_heard(
    home: House, restart: bool
) -> None:
    bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
    async with home.bot() as bot:
        before = await cem.post(chat, sample("panda"))
        await home.indexed(before)
        assert (await bob.magpie(home.nest, chat, "resume")).words == ENGLISH.pause.not_paused
        assert (await bob.magpie(home.nest, chat, "pause")).words == ENGLISH.pause.paused
        assert (await bob.magpie(home.nest, chat, "pause")).words == ENGLISH.pause.already_paused
        meanwhile = await cem.post(chat, sample("rocket"))
        assert (await cem.find(home.nest, chat, "a panda")).ids == [before["id"]]
        await cem.remove(before)
        await home.forgotten(before)
        assert await bot.services.images.by_message(int(meanwhile["id"])) == []
        if not restart:
            assert (await bob.magpie(home.nest, chat, "resume")).words == ENGLISH.pause.resumed
            await home.indexed(meanwhile, await cem.post(chat, sample("octopus")))
            return
    later = await cem.post(chat, sample("sunflower"))
    async with home.bot() as bot:
        live = await cem.post(chat, sample("octopus"))
        await until(lambda: nothing_of(bot, meanwhile, later, live), "a pause outlasts a restart")
        assert (await bob.magpie(home.nest, chat, "resume")).words == ENGLISH.pause.resumed
        await home.indexed(meanwhile, later, live)


async def nothing_of(bot: MagpieBot, *messages: dict[str, Any]) -> bool:
    return not any([await bot.services.images.by_message(int(message["id"])) for message in messages])
