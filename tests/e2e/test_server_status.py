"""/magpie status, from end to end: what is counted, what is told of channels that the asker cannot see, and to whom."""

from __future__ import annotations

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, sample, until
from tests.e2e.member import BOOLEAN, CHANNEL, Reply, button

TEXTS = ENGLISH.status
GALLERY = 12
VIEW, MANAGE_THREADS = 1 << 10, 1 << 34


def chart(reply: Reply) -> dict[str, str]:
    [found] = [part["items"][0] for part in reply.message["components"] if part["type"] == GALLERY]
    return {"alt": found["description"], "url": found["media"]["url"]}


async def test_what_is_indexed_and_what_was_given_up_is_told_with_a_chart(home: House, bot: MagpieBot) -> None:
    bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
    before = await bob.magpie(home.nest, chat, "status")
    assert before.private
    assert TEXTS.searchable.format(0) in before.words
    assert not [part for part in before.message["components"] if part["type"] == GALLERY]

    thread = await cem.post(home.channel("cats only"), sample("octopus"))
    await home.indexed(await cem.post(home.channel("pictures"), sample("panda")), thread)
    await cem.post(chat, sample("rocket")[:200])  # a PNG that ends too early

    async def given_up() -> bool:
        return bool(await bot.services.statistics.reasons(home.nest))

    await until(given_up, "the damaged picture is given up")
    reply = await bob.magpie(home.nest, chat, "status")
    assert TEXTS.searchable.format(2) in reply.words
    broken = TEXTS.reason.format(reason=TEXTS.reasons["broken"], count="1")
    assert TEXTS.given_up.format(1, reasons=broken) in reply.words
    where = TEXTS.channel.format(channel=f"<#{home.channel('pictures')}>", count="2")  # with its thread
    assert TEXTS.by_channel.format(channels=where) in reply.words
    assert TEXTS.model.format(model="bundled", device=TEXTS.on_cpu) in reply.words
    assert "All in all: 2" in chart(reply)["alt"]
    assert (await bob.fetched(chart(reply)["url"])).startswith(b"\x89PNG")


async def test_refreshing_counts_anew_and_keeps_one_chart(home: House, bot: MagpieBot) -> None:
    bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
    await home.indexed(await cem.post(chat, sample("panda")))
    reply = await bob.magpie(home.nest, chat, "status")
    await home.indexed(await cem.post(chat, sample("rocket")))
    again = await bob.press_and_see_it_change(home.nest, reply.message, button(reply.message, "magpie:status"))
    assert TEXTS.searchable.format(2) in again.words
    assert len(again.message["attachments"]) <= 1
    assert chart(again)["url"] != chart(reply)["url"]


async def test_of_channels_that_a_moderator_cannot_see_only_numbers_are_told(home: House, bot: MagpieBot) -> None:
    ann, bob, chat = await home.member("ann"), await home.member("bob"), home.channel("chat")
    secret = await ann.ok("POST", f"/guilds/{home.nest}/channels", {"name": "secret"})
    closed = await ann.ok("POST", f"/guilds/{home.nest}/channels", {"name": "closed"})
    await home.indexed(await ann.post(secret["id"], sample("panda")), await ann.post(chat, sample("rocket")))
    for channel, denied in ((secret, {home.nest: VIEW}), (closed, {home.nest: VIEW, bot.own_id: VIEW})):
        for target, bits in denied.items():
            kind = 1 if target == bot.own_id else 0
            body = {"type": kind, "deny": str(bits), "allow": "0"}
            await ann.ok("PUT", f"/channels/{channel['id']}/permissions/{target}", body)
    await bot_sees(bot, int(closed["id"]))
    told = (await bob.magpie(home.nest, chat, "status")).words
    assert TEXTS.searchable.format(2) in told
    assert TEXTS.elsewhere.format(1) in told
    assert secret["id"] not in told
    assert closed["id"] not in told
    moderators = f"<#{home.channel('moderators')}>"  # bob sees it and the bot does not
    assert TEXTS.lacks.format(channel=moderators, permissions=ENGLISH.errors.permissions["view_channel"]) in told
    voice = home.channel("Regulars' voice")
    assert TEXTS.lacks.format(channel=f"<#{voice}>", permissions=ENGLISH.errors.permissions["connect"]) in told
    assert TEXTS.unreadable_elsewhere.format(2) in told
    all_told = (await ann.magpie(home.nest, chat, "status")).words
    assert TEXTS.channel.format(channel=f"<#{secret['id']}>", count="1") in all_told
    assert TEXTS.lacks.format(channel=f"<#{closed['id']}>", permissions="View Channel") in all_told


async def bot_sees(bot: MagpieBot, channel_id: int) -> None:
    """Waits until the bot has heard that it may not view this channel."""

    async def heard() -> bool:
        channel = bot.get_channel(channel_id)
        return channel is not None and not channel.permissions_for(channel.guild.me).view_channel  # type: ignore[union-attr]

    await until(heard, "the bot hears of its rights")


async def test_a_channel_that_is_switched_off_need_not_be_readable(home: House, bot: MagpieBot) -> None:
    ann, chat = await home.member("ann"), home.channel("chat")
    closed = [str(home.channel(name)) for name in ("moderators", "Regulars' voice")]
    told = (await ann.magpie(home.nest, chat, "status")).words
    assert all(f"<#{id_}>" in told for id_ in closed)
    for id_ in closed:
        await ann.magpie(home.nest, chat, "settings", channel=(CHANNEL, id_), indexing=(BOOLEAN, False))
    told = (await ann.magpie(home.nest, chat, "status")).words
    assert not any(f"<#{id_}>" in told for id_ in closed)
    assert TEXTS.all_readable in told


async def test_who_may_not_manage_the_server_any_more_cannot_refresh(home: House, bot: MagpieBot) -> None:
    bob = await home.member("bob")
    reply = await bob.magpie(home.nest, home.channel("chat"), "status")
    home.sandbox.guild("The Nest").members[int(bob.id)].roles.clear()
    pressed = await bob.press(home.nest, reply.message, button(reply.message, "magpie:status"))
    assert pressed.words == ENGLISH.errors.needs_permission.format(permission="Manage Server")


async def test_pictures_in_private_threads_are_counted_apart_for_who_does_not_manage_threads(home: House) -> None:
    cem, bob, chat = await home.member("cem"), await home.member("bob"), home.channel("chat")
    [moderator] = [role for role in home.sandbox.guild("The Nest").roles.values() if role.name == "Moderator"]
    moderator.permissions &= ~MANAGE_THREADS
    async with home.bot():
        await home.indexed(
            await cem.post(home.channel("party planning"), sample("panda")),
            await cem.post(home.channel("cats only"), sample("rocket")),
        )
        told = (await bob.magpie(home.nest, chat, "status")).words
        where = TEXTS.channel.format(channel=f"<#{home.channel('pictures')}>", count="1")
        assert TEXTS.by_channel.format(channels=f"{where} · {TEXTS.elsewhere.format(1)}") in told
