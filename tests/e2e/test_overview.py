"""/tags counts what the asker may see, and nothing else."""

from __future__ import annotations

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from tests.e2e.harness import House, sample
from tests.e2e.member import Member, Reply

GALLERY = 12


async def tags(home: House, member: Member, **options: str) -> Reply:
    given = [{"type": 7, "name": name, "value": value} for name, value in options.items()]
    return await member.use(home.nest, home.channel("pictures"), "tags", given)


async def test_tags_are_counted_in_a_chart_and_in_a_list(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await home.indexed(await cem.post(images, sample("panda")), await cem.post(images, sample("rocket")))
    told = await tags(home, cem)
    assert told.private
    assert "panda **1**" in told.words
    assert "rocket **1**" in told.words
    [chart] = [part["items"][0] for part in told.message["components"] if part["type"] == GALLERY]
    assert "panda 1" in chart["description"]
    assert (await cem.fetched(chart["media"]["url"])).startswith(b"\x89PNG")


async def test_tags_of_what_the_asker_may_not_see_are_not_counted(home: House, bot: MagpieBot) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    secret = await cem.post(home.channel("regulars"), sample("panda"))
    shared = await cem.post(home.channel("pictures"), sample("rocket"))
    await home.indexed(secret, shared)
    assert "panda" in (await tags(home, cem)).words
    seen = await tags(home, dora)
    assert "熊猫" not in seen.words
    assert "火箭 **1**" in seen.words


async def test_tags_of_one_channel_are_counted_alone(home: House, bot: MagpieBot) -> None:
    cem = await home.member("cem")
    await home.indexed(
        await cem.post(home.channel("pictures"), sample("panda")),
        await cem.post(home.channel("chat"), sample("rocket")),
    )
    only = await tags(home, cem, channel=str(home.channel("chat")))
    assert "rocket" in only.words
    assert "panda" not in only.words


async def test_where_nothing_is_tagged_the_answer_says_so(home: House, bot: MagpieBot) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    assert (await tags(home, cem)).words == ENGLISH.overview.no_tags
    assert (await tags(home, dora)).words == CHINESE.overview.no_tags
