"""What a message asks that mentions the bot, and what everybody there gets for an answer."""

from __future__ import annotations

from typing import Any

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, sample, until
from tests.e2e.member import Member

TEXTS = ENGLISH  # the server's language
SEND_MESSAGES = 1 << 11


def own_words(home: House, who: Member, *channels: str) -> list[dict[str, Any]]:
    """What the bot has written in these channels, as this member has seen it."""
    places = {str(home.channel(name)) for name in channels}
    bot = str(home.sandbox.application.bot_id)
    said = [seen for name, seen in who.events if name == "MESSAGE_CREATE" and seen["author"]["id"] == bot]
    return [one for one in said if one["channel_id"] in places]


async def test_find_after_the_bots_name_is_answered_with_what_everyone_there_can_see(
    home: House, bot: MagpieBot
) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    hidden = await cem.post(home.channel("regulars"), sample("rocket"))
    shown = await cem.post(images, sample("panda"))
    await home.indexed(hidden, shown)
    me = home.sandbox.application_id
    answer = await cem.ask_by_name(me, images, "find a panda")
    assert answer.ids == [shown["id"]]
    assert not answer.private
    assert answer.message["mentions"] == []
    assert answer.words.startswith("**“a panda”**\n")
    assert TEXTS.search.only_public in answer.words
    assert (await cem.ask_by_name(me, images, "找 熊猫")).ids == [shown["id"]]
    assert (await cem.ask_by_name(me, images, "find a rocket")).ids == []
    assert (await cem.find(home.nest, images, "a rocket")).ids == [hidden["id"]]
    await cem.remove(shown)
    await cem.event("MESSAGE_DELETE", lambda seen: seen["id"] == answer.message["id"])


async def test_help_and_what_is_not_understood_are_answered_and_talk_about_the_bot_is_not(
    home: House, bot: MagpieBot
) -> None:
    cem, chat = await home.member("cem"), home.channel("chat")
    me = home.sandbox.application_id
    for talk in (f"I asked <@{me}> to find a panda", f"thanks <@{me}>", f"这张好像 <@{me}>", "find a panda"):
        await cem.say(chat, talk)
    unknown = await cem.ask_by_name(me, chat, "像")
    assert unknown.words == TEXTS.mentions.unknown
    told = await cem.ask_by_name(me, chat, "help")
    assert TEXTS.mentions.help in told.words
    assert [one["id"] for one in own_words(home, cem, "chat")] == [unknown.message["id"], told.message["id"]]


async def test_similar_with_a_picture_attached_compares_that_one(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    first, other = await cem.post(images, sample("panda")), await cem.post(images, sample("rocket"))
    await home.indexed(first, other)
    me = home.sandbox.application_id
    answer = await cem.ask_by_name(me, images, "similar", sample("panda"))
    assert answer.ids == [first["id"]]
    assert TEXTS.mentions.first_of_several not in answer.words
    two = await cem.ask_by_name(me, home.channel("chat"), "similar", sample("rocket"), sample("octopus"))
    assert two.ids == [other["id"]]
    assert TEXTS.mentions.first_of_several in two.words
    without = await cem.ask_by_name(me, images, "similar")
    assert without.words == TEXTS.query_image.reply_to_an_image


async def test_where_the_bot_may_not_write_it_neither_searches_nor_answers(home: House, bot: MagpieBot) -> None:
    ann, cem = await home.member("ann"), await home.member("cem")
    images, chat, me = home.channel("pictures"), home.channel("chat"), home.sandbox.application_id
    no_words = {"type": 1, "allow": "0", "deny": str(SEND_MESSAGES)}
    await ann.ok("PUT", f"/channels/{images}/permissions/{me}", no_words)

    async def told() -> bool:
        channel: Any = bot.get_channel(images)
        return not channel.permissions_for(channel.guild.me).send_messages

    await until(told, "the bot knows that it may not write")
    asked: list[object] = []
    ask = bot.services.search.ask

    async def counted(*question: Any) -> Any:
        asked.append(question)
        return await ask(*question)

    bot.services.search.ask = counted  # type: ignore[method-assign]
    await cem.post(images, text=f"<@{me}> find a panda")
    await cem.ask_by_name(me, chat, "find a panda")
    assert len(asked) == 1
    assert own_words(home, cem, "pictures") == []


async def test_mentions_beyond_the_cooldown_are_not_answered(home: House, bot: MagpieBot) -> None:
    cem, dora, chat = await home.member("cem"), await home.member("dora"), home.channel("chat")
    me = home.sandbox.application_id
    for _ in range(4):
        bot.services.pages.count_public(int(cem.id))
    await cem.say(chat, f"<@{me}> help")
    answer = await dora.ask_by_name(me, chat, "help")
    assert [one["id"] for one in own_words(home, dora, "chat")] == [answer.message["id"]]
