"""/magpie setup, from end to end: each step does what the command of its subject does, and can be gone back to."""

from __future__ import annotations

from typing import Any

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.models import BackfillMode, ChannelRef, SetupStep, TaggingMode
from sandbox.guild_ops import add_channel
from sandbox.state import ChannelType, Overwrite
from tests.e2e.harness import House, sample
from tests.e2e.member import Member, Reply, button
from tests.e2e.test_backfill import counts, ended, hurry, notice
from tests.e2e.test_server_status import bot_sees

TEXTS = ENGLISH.setup
OFF, WHERE = "magpie-channels:setup_off", "magpie-channels:setup_where"
HOW, SETS = "magpie-menu:setup_mode", "magpie-menu:setup_labels"
VIEW, HISTORY = 1 << 10, 1 << 16


def heading(step: SetupStep) -> str:
    return TEXTS.heading.format(step=[*SetupStep].index(step) + 1, steps=len(SetupStep), title=TEXTS.titles[step])


async def begin(home: House, member: Member, step: SetupStep) -> Reply:
    """From the first page to this one."""
    page = await member.magpie(home.nest, home.channel("chat"), "setup")
    assert page.private
    assert page.words.startswith(heading(SetupStep.RIGHTS))
    for following in [*SetupStep][1:]:
        if heading(step) in page.words:
            break
        page = await go(home, member, page, following)
    return page


async def go(home: House, member: Member, page: Reply, step: SetupStep) -> Reply:
    way = button(page.message, f"magpie:setup:@{member.id}:{step.value}")
    return await member.press_and_see_it_change(home.nest, page.message, way, lambda seen: heading(step) in seen.words)


async def choose(home: House, member: Member, page: Reply, menu: str, *values: object) -> Reply:
    found = button(page.message, menu)
    return await member.choose_and_see_it_change(home.nest, page.message, found, *map(str, values))


def defaults(page: Reply, menu: str) -> list[str]:
    found: dict[str, Any] = button(page.message, menu)
    if "options" in found:
        return [option["value"] for option in found["options"] if option.get("default")]
    return [value["id"] for value in found.get("default_values") or []]


async def test_a_first_run_from_the_rights_to_the_summary(home: House) -> None:
    """The pictures are from before the bot came."""
    bob, cem, chat, images = *[await home.member(n) for n in ("bob", "cem")], *map(home.channel, ("chat", "pictures"))
    await cem.post(images, sample("panda"))
    left_out = await cem.post(chat, sample("rocket"))
    async with home.bot() as bot:
        hurry(bot)
        page = await begin(home, bob, SetupStep.CHANNELS)
        page = await choose(home, bob, page, OFF, chat)
        assert defaults(page, OFF) == [str(chat)]
        assert ENGLISH.settings.off_in.format(channels=f"<#{chat}>") in page.words
        page = await go(home, bob, page, SetupStep.TAGS)
        page = await choose(home, bob, page, HOW, TaggingMode.REPLY)
        page = await choose(home, bob, page, WHERE, images)
        assert defaults(page, WHERE) == [str(images)]
        assert await bot.services.channels.tagging_mode(ChannelRef(home.nest, images)) is TaggingMode.REPLY
        page = await go(home, bob, page, SetupStep.LABELS)
        assert defaults(page, SETS) == ["default"]
        page = await choose(home, bob, page, SETS, "animals", "art")
        assert defaults(page, SETS) == ["art", "animals"]
        assert (await bot.services.labels.of_guild(home.nest)).of(None).shipped in (
            ("animals", "art"),
            ("art", "animals"),
        )
        page = await go(home, bob, page, SetupStep.EARLIER)
        since = len(bob.events)
        start = button(page.message, f"magpie:setup_earlier:@{bob.id}:{BackfillMode.THOROUGH.value}")
        page = await bob.press_and_see_it_change(home.nest, page.message, start)
        assert heading(SetupStep.DONE) in page.words
        assert ENGLISH.backfill.began_here in page.words
        assert ENGLISH.tagging.modes[TaggingMode.REPLY] in page.words
        assert counts(1) in (await ended(bob, await notice(bob, since))).words
        await home.forgotten(left_out)
        status = await bob.press_and_see_it_change(home.nest, page.message, button(page.message, "magpie:status"))
        assert ENGLISH.status.searchable.format(1) in status.words


async def test_going_back_shows_what_was_chosen_and_lets_it_be_taken_back(home: House, bot: MagpieBot) -> None:
    bob, chat, images = await home.member("bob"), home.channel("chat"), home.channel("pictures")
    page = await choose(home, bob, await begin(home, bob, SetupStep.CHANNELS), OFF, chat, images)
    page = await go(home, bob, await go(home, bob, page, SetupStep.TAGS), SetupStep.CHANNELS)
    assert set(defaults(page, OFF)) == {str(chat), str(images)}
    page = await choose(home, bob, page, OFF, images)
    rules = await bot.services.rules.of_guild(home.nest)
    assert (rules.of(chat).indexed, rules.of(images).indexed) == (True, False)
    page = await choose(home, bob, page, OFF)
    assert defaults(page, OFF) == []
    assert (await bot.services.rules.of_guild(home.nest)).of(images).indexed

    page = await go(home, bob, page, SetupStep.TAGS)
    page = await choose(home, bob, page, WHERE, chat, images)  # by reactions, which is offered first
    page = await choose(home, bob, page, WHERE, images)
    modes = await bot.services.channels.tagging_modes(home.nest)
    assert modes == {
        ChannelRef(home.nest, images): TaggingMode.REACTION,
        ChannelRef(home.nest, chat): TaggingMode.SILENT,
    }


async def test_new_channels_can_be_left_out(home: House, bot: MagpieBot) -> None:
    bob = await home.member("bob")
    page = await begin(home, bob, SetupStep.CHANNELS)
    page = await bob.press_and_see_it_change(home.nest, page.message, button(page.message, "magpie:setup_new"))
    assert ENGLISH.settings.new_channels_off in page.words
    assert not (await bot.services.rules.of_guild(home.nest)).index_new_channels


async def test_missing_permissions_are_told_one_by_one_with_where_and_what_for(home: House, bot: MagpieBot) -> None:
    ann, bob = await home.member("ann"), await home.member("bob")
    names = ENGLISH.errors.permissions

    def told(name: str, where: str) -> str:
        return TEXTS.right.format(permission=names[name], use=TEXTS.uses[name], where=where)

    page = await begin(home, bob, SetupStep.RIGHTS)
    moderators, voice = home.channel("moderators"), home.channel("Regulars' voice")
    assert told("view_channel", f"<#{moderators}>") in page.words
    assert told("connect", f"<#{voice}>") in page.words
    assert names["read_message_history"] not in page.words
    body = {"type": 1, "deny": "0", "allow": str(VIEW)}
    await ann.ok("PUT", f"/channels/{moderators}/permissions/{bot.own_id}", body)
    closed = await ann.ok("POST", f"/guilds/{home.nest}/channels", {"name": "closed"})
    for target, kind in ((home.nest, 0), (bot.own_id, 1)):
        hidden = {"type": kind, "deny": str(VIEW), "allow": "0"}
        await ann.ok("PUT", f"/channels/{closed['id']}/permissions/{target}", hidden)
    await bot_sees(bot, int(closed["id"]))
    page = await go(home, bob, page, SetupStep.RIGHTS)  # checked again
    assert told("view_channel", TEXTS.hidden.format(1)) in page.words
    assert f"<#{moderators}>" not in page.words
    assert closed["id"] not in page.words


async def test_the_buttons_work_after_a_restart_and_only_for_who_may_manage_the_server(home: House) -> None:
    bob, chat = await home.member("bob"), home.channel("chat")
    async with home.bot():
        page = await begin(home, bob, SetupStep.CHANNELS)
    async with home.bot() as bot:
        page = await go(home, bob, page, SetupStep.TAGS)
        home.sandbox.guild("The Nest").members[int(bob.id)].roles.clear()
        refused = await bob.press(home.nest, page.message, button(page.message, "magpie:setup"))
        assert refused.words == ENGLISH.errors.needs_permission.format(permission="Manage Server")
        refused = await bob.choose(home.nest, page.message, button(page.message, WHERE), str(chat))
        assert refused.words == ENGLISH.errors.needs_permission.format(permission="Manage Server")
        assert await bot.services.channels.tagging_modes(home.nest) == {}


@pytest.mark.parametrize("menu", [OFF, WHERE])
async def test_a_channel_that_the_moderator_cannot_read_cannot_be_chosen(
    home: House, bot: MagpieBot, menu: str
) -> None:
    ann, bob = await home.member("ann"), await home.member("bob")
    secret = await ann.ok("POST", f"/guilds/{home.nest}/channels", {"name": "secret"})
    page = await begin(home, bob, SetupStep.CHANNELS if menu == OFF else SetupStep.TAGS)
    unread = {"type": 0, "deny": str(HISTORY), "allow": "0"}  # one without View Channel is not even offered
    await ann.ok("PUT", f"/channels/{secret['id']}/permissions/{home.nest}", unread)
    refused = await bob.choose(home.nest, page.message, button(page.message, menu), secret["id"])
    assert refused.words == ENGLISH.errors.unknown_channel
    assert (await bot.services.rules.of_guild(home.nest)).of(int(secret["id"])).indexed
    assert await bot.services.channels.tagging_modes(home.nest) == {}


async def test_the_pages_of_a_server_with_five_hundred_channels_keep_to_discords_limits(home: House) -> None:
    """The sandbox refuses what is too long, as Discord does."""
    guild = home.sandbox.guild("The Nest")
    hidden = Overwrite(guild.id, 0, deny=VIEW | HISTORY)
    seen = Overwrite(home.sandbox.user("bob").id, 1, allow=VIEW | HISTORY)
    made = [add_channel(home.sandbox.state, guild, f"open-{number}") for number in range(250)]
    made += [
        add_channel(home.sandbox.state, guild, f"closed-{number}", ChannelType.TEXT, hidden, seen)
        for number in range(250)
    ]
    async with home.bot(caught_up=False) as bot:
        bob = await home.member("bob")
        for channel in made[:100]:
            await bot.services.rules.set_indexed(ChannelRef(home.nest, channel.id), False, 1)
            await bot.services.channels.set_tagging_mode(ChannelRef(home.nest, channel.id), TaggingMode.REACTION)
        page = await begin(home, bob, SetupStep.RIGHTS)
        assert ENGLISH.settings.and_more.format(245) in page.words
        page = await go(home, bob, page, SetupStep.CHANNELS)
        assert TEXTS.too_many_off in page.words
        assert len(defaults(page, OFF)) == 25
        for step in [*SetupStep][2:]:
            page = await go(home, bob, page, step)
