"""/magpie settings, from end to end: what is chosen there holds at once, also through a backfill."""

from __future__ import annotations

from datetime import timedelta

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.models import ChannelRef, utc_now
from sandbox.guild_ops import add_channel
from tests.e2e.harness import House, sample
from tests.e2e.member import BOOLEAN, CHANNEL, INTEGER, Reply, button
from tests.e2e.test_moderation import backfilled, confirmed

TEXTS = ENGLISH.settings
CHOOSE, DAYS = "magpie-channels:settings_channel", "magpie-menu:settings_keep"


async def test_a_channel_is_switched_off_its_pictures_forgotten_and_switched_on_again(
    home: House, bot: MagpieBot
) -> None:
    bob, cem, chat, images = *[await home.member(n) for n in ("bob", "cem")], *map(home.channel, ("chat", "pictures"))
    before = await cem.post(images, sample("panda"))
    await home.indexed(before)
    page = await bob.magpie(home.nest, chat, "settings")
    assert page.private
    assert TEXTS.new_channels_on in page.words
    menu = button(page.message, CHOOSE)
    channel = await bob.choose_and_see_it_change(home.nest, page.message, menu, str(images))
    assert TEXTS.channel_on in channel.words
    assert TEXTS.pictures.format(1) in channel.words
    off = await confirmed(home, bob, channel, f"settings_index:@{bob.id}:{images}")
    assert TEXTS.channel_off in off.words

    ignored = [await cem.post(images, sample("rocket")), await cem.post(home.channel("cats only"), sample("rocket"))]
    elsewhere = await cem.post(chat, sample("octopus"))
    await home.indexed(before, elsewhere)
    await home.forgotten(*ignored)
    assert f"<#{images}>" in (await bob.magpie(home.nest, chat, "settings")).words

    asked = await confirmed(home, bob, off, "forget_channel_ask")
    assert asked.words == ENGLISH.forgetting.channel_ask.format(1, channel=f"<#{images}>")
    await confirmed(home, bob, asked, "forget_channel")
    await home.forgotten(before)
    left_out = await cem.post(images, sample("bicycle"))
    on = await bob.magpie(home.nest, chat, "settings", channel=(CHANNEL, str(images)), indexing=(BOOLEAN, True))
    assert TEXTS.channel_on in on.words
    await home.indexed(await cem.post(images, sample("sunflower")))
    await home.forgotten(*ignored, left_out)
    await backfilled(home, bot, bob)
    await home.indexed(left_out)  # it was not taken in, nor forgotten: a backfill is how one asks for it
    await home.forgotten(before, *ignored)


async def test_new_channels_follow_the_default_and_others_stay(home: House, bot: MagpieBot) -> None:
    bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
    page = await bob.magpie(home.nest, chat, "settings")
    changed = await confirmed(home, bob, page, f"settings_new:@{bob.id}:off")
    assert TEXTS.new_channels_off in changed.words
    made = await bob.ok("POST", f"/guilds/{home.nest}/channels", {"name": "new"})
    ignored = await cem.post(made["id"], sample("panda"))
    await home.indexed(await cem.post(chat, sample("rocket")))
    await home.forgotten(ignored)


async def test_a_retention_that_deletes_says_how_many_first_and_holds_at_once(home: House, bot: MagpieBot) -> None:
    bob, cem, chat, images = *[await home.member(n) for n in ("bob", "cem")], *map(home.channel, ("chat", "pictures"))
    posted = [await cem.post(images, sample("panda")), await cem.post(home.channel("cats only"), sample("rocket"))]
    stays = await cem.post(chat, sample("octopus"))
    await home.indexed(*posted, stays)
    page = await bob.magpie(home.nest, chat, "settings", channel=(CHANNEL, str(images)))
    menu = button(page.message, DAYS)
    assert [option["value"] for option in menu["options"] if option.get("default")] == ["server"]
    harmless = await bob.choose_and_see_it_change(home.nest, page.message, menu, "7")
    assert TEXTS.kept_days.format(7) in harmless.words
    await home.indexed(*posted)

    pass_days(bot, 8)
    page = await bob.magpie(home.nest, chat, "settings", channel=(CHANNEL, str(images)), keep_days=(INTEGER, 1))
    assert page.words == TEXTS.expire_ask.format(2, place=f"<#{images}>", days=TEXTS.days.format(1))
    await home.indexed(*posted)  # asking deletes nothing
    done = await confirmed(home, bob, page, "settings_expire")
    assert TEXTS.kept_days.format(1) in done.words
    await home.forgotten(*posted)
    await home.indexed(stays)


def pass_days(bot: MagpieBot, days: int) -> None:
    """Sets the clock of the stores that judge what has expired."""
    services = bot.services
    for store in (services.rules, services.statistics, services.images):
        store._now = lambda: utc_now() + timedelta(days=days)


async def test_a_page_about_five_hundred_channels_keeps_to_discords_limits(home: House) -> None:
    guild = home.sandbox.guild("The Nest")
    made = [add_channel(home.sandbox.state, guild, f"channel-{number}") for number in range(500)]
    async with home.bot(caught_up=False) as bot:
        bob, chat, rules = await home.member("bob"), home.channel("chat"), bot.services.rules
        await rules.set_index_new_channels(home.nest, False, [])
        for channel in made[:100]:
            await rules.set_indexed(ChannelRef(home.nest, channel.id), False, 1)
            await rules.set_retention(home.nest, channel.id, 30)
        for member in range(1, 60):
            await rules.exclude_member(home.nest, member)
        page: Reply = await bob.magpie(home.nest, chat, "settings")
        assert TEXTS.and_more.format(85) in page.words
        assert TEXTS.and_more.format(44) in page.words


async def test_a_channel_that_a_moderator_cannot_see_is_not_named_and_not_shown(home: House, bot: MagpieBot) -> None:
    ann, bob, chat = await home.member("ann"), await home.member("bob"), home.channel("chat")
    made = await ann.ok("POST", f"/guilds/{home.nest}/channels", {"name": "secret"})
    page = await bob.magpie(home.nest, chat, "settings", channel=(CHANNEL, made["id"]), indexing=(BOOLEAN, False))
    assert TEXTS.channel_off in page.words
    hidden = {"type": 0, "deny": "1024", "allow": "0"}
    await ann.ok("PUT", f"/channels/{made['id']}/permissions/{home.nest}", hidden)
    refused = await bob.press(home.nest, page.message, button(page.message, "magpie:settings_index"))
    assert refused.words == ENGLISH.errors.unknown_channel
    page = await bob.magpie(home.nest, chat, "settings")
    assert made["id"] not in page.words
    assert TEXTS.hidden.format(1) in page.words
    assert made["id"] in (await ann.magpie(home.nest, chat, "settings")).words
