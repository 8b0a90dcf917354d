"""What people do with Magpie, from end to end: the real bot, real sockets, the bundled model."""

from __future__ import annotations

from typing import Any

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from bot.models import Asked
from sandbox.faults import Fault
from tests.e2e.harness import House, captions, sample, until
from tests.e2e.member import button


async def test_a_posted_image_is_tagged_found_in_two_languages_matched_in_four_ways_and_forgotten_when_deleted(
    home: House, bot: MagpieBot
) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    apple = await ann.post(images, sample("red-apple"))
    others = [await ann.post(images, sample(name)) for name in ("rocket", "bicycle", "sailboat")]
    [remembered, *_] = await home.indexed(apple, *others)
    assert remembered.tags

    for words in captions("red-apple"):
        found = await ann.find(home.nest, images, words)
        assert found.private
        assert found.ids[0] == apple["id"]
    top = found.hits[0]
    assert f"<@{ann.id}>" in top.words
    assert "%" not in top.words
    assert "apple" in top.alt
    assert (await ann.http.get(top.picture)).status == 200

    twin = await ann.post(images, sample("red-apple"))
    await home.indexed(twin)
    link = f"https://discord.com/channels/{home.nest}/{images}/{apple['id']}"
    by_file = await ann.similar_to_file(home.nest, images, sample("red-apple"))
    by_link = await ann.similar_to_link(home.nest, images, link)
    by_menu = await ann.similar_by_menu(home.nest, apple)
    by_button = await ann.press(home.nest, found.message, top.more)
    assert {apple["id"], twin["id"]} <= set(by_file.ids)
    for answer in (by_link, by_menu, by_button):
        assert answer.private
        assert answer.ids[0] == twin["id"]
        assert apple["id"] not in answer.ids
    in_public = await ann.ask_in_public(home.sandbox.application_id, apple, "similar please")
    assert not in_public.private
    assert in_public.ids[0] == twin["id"]

    await ann.remove(apple)
    await ann.remove(twin)
    await home.forgotten(apple, twin)
    gone = await ann.find(home.nest, images, captions("red-apple")[0])
    assert not {apple["id"], twin["id"]} & set(gone.ids)


async def test_a_search_can_keep_to_one_channel_and_its_threads(home: House, bot: MagpieBot) -> None:
    cem, images, chat, cats = await home.member("cem"), *map(home.channel, ("pictures", "chat", "cats only"))
    there = await cem.post(chat, sample("panda"))
    in_thread = await cem.post(cats, sample("panda"), text="again")
    await home.indexed(there, in_thread)
    assert (await cem.find(home.nest, chat, "a panda", only=chat)).ids == [there["id"]]
    assert (await cem.find(home.nest, chat, "a panda", only=images)).ids == [in_thread["id"]]


async def test_a_result_that_is_ready_before_the_deferral_is_acknowledged_is_shown(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("rocket"))
    await home.indexed(posted)
    home.sandbox.faults.add(Fault("delay", path="/interactions/*/callback", seconds=1.0, bots_only=False))
    assert (await cem.find(home.nest, images, "a rocket")).ids == [posted["id"]]


async def test_a_search_without_matches_says_so(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    empty = await cem.find(home.nest, images, "a rocket")
    assert ENGLISH.search.nothing_to_search in empty.words
    posted = await cem.post(images, sample("sunflower"))
    await home.indexed(posted)
    answer = await cem.find(home.nest, images, "a guitar next to a drum")
    assert answer.ids == []
    assert answer.words.startswith("**“a guitar next to a drum”**\n" + ENGLISH.search.no_matches[Asked.WORDS])
    in_chinese = await dora.find(home.nest, images, "吉他在鼓旁边")
    assert in_chinese.words.startswith("**“吉他在鼓旁边”**\n" + CHINESE.search.no_matches[Asked.WORDS])


async def test_a_channel_chooses_what_it_sees_of_new_tags(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")

    async def choose(mode: str) -> None:
        await bob.use(home.nest, images, "tagging", [{"type": 3, "name": "mode", "value": mode}])

    await home.indexed(await bob.post(images, sample("panda")))
    await bot.services.indexer.settled()
    await choose("reaction")
    reacted = await bob.post(images, sample("panda"))
    await bob.event(
        "MESSAGE_REACTION_ADD", lambda one: one["message_id"] == reacted["id"] and one["emoji"]["name"] == "🐼"
    )

    await choose("reply")
    replied = await bob.post(images, sample("panda"), sample("rocket"))
    told = await bob.message(lambda one: (one.get("message_reference") or {}).get("message_id") == replied["id"])
    assert "panda" in told.words
    assert "rocket" in told.words
    assert told.message["mentions"] == []

    await choose("off")
    [untagged] = await home.indexed(await bob.post(images, sample("panda")))
    await bot.services.indexer.settled()
    assert untagged.tags == ()
    assert bob.count("MESSAGE_REACTION_ADD", lambda one: one["message_id"] != reacted["id"]) == 0
    own = [
        one
        for name, one in bob.events
        if name == "MESSAGE_CREATE" and not one["flags"] & 64 and one["author"].get("bot")
    ]
    assert len(own) == 1


async def test_a_server_tags_with_labels_of_its_own(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    assert "raccoon" in (await bob.subcommand(home.nest, images, "labels", "list")).words  # on the first page
    offered = await bob.offered(home.nest, images, "labels", "remove", label="pan")
    assert "panda" in offered
    assert all("pan" in name.casefold() for name in offered)
    assert "already" in (await bob.subcommand(home.nest, images, "labels", "add", label="Panda")).words
    await bob.subcommand(home.nest, images, "labels", "remove", label="panda")
    [without] = await home.indexed(await bob.post(images, sample("panda")))
    assert "panda" not in [tag.label for tag in without.tags]
    await bot.services.retagger.settled()
    asked = await bob.subcommand(home.nest, images, "labels", "reset")
    await bob.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:labels_reset"))
    [again] = await home.indexed(await bob.post(images, sample("panda"), text="again"))
    assert "panda" in [tag.label for tag in again.tags]


async def test_settings_are_for_those_who_may_manage_the_server(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    offered = await cem.ok("GET", f"/guilds/{home.nest}/application-command-index")
    manage_guild = str(1 << 5)
    for command in offered["application_commands"]:
        settings = command["name"] in ("tagging", "labels", "reposts", "magpie")
        assert command["default_member_permissions"] == (manage_guild if settings else None)
    with pytest.raises(AssertionError):  # Discord itself refuses
        await cem.use(home.nest, images, "tagging", [{"type": 3, "name": "mode", "value": "off"}])


async def test_privacy_answers_in_the_members_language(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    assert (await cem.use(home.nest, images, "privacy", [])).words.startswith(ENGLISH.privacy.explained)
    assert (await dora.use(home.nest, images, "privacy", [])).words.startswith(CHINESE.privacy.explained)


async def test_nothing_in_a_query_pings_or_breaks_the_layout(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    answer = await cem.find(home.nest, images, "a panda @everyone **bold** <@1> `code`")
    assert answer.message["mentions"] == []
    assert not answer.message["mention_everyone"]
    assert "@everyone" not in answer.words
    assert "**bold**" not in answer.words


async def test_a_spoiler_stays_one_in_results(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    upload = await cem.upload(images, sample("panda"), "SPOILER_panda.png")
    posted = await cem.say(images, attachments=[{**upload, "description": "my panda"}])
    await home.indexed(posted)
    [hit] = (await cem.find(home.nest, images, "a panda")).hits
    assert hit.spoiler
    assert hit.alt == ENGLISH.search.image_alt_spoiler


async def test_a_public_answer_about_a_spoiler_covers_what_looks_like_it(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    other = await cem.post(images, sample("panda"))
    asked = await cem.say(images, attachments=[await cem.upload(images, sample("panda"), "SPOILER_panda.png")])
    await home.indexed(other, asked)
    [hit] = (await cem.ask_in_public(home.sandbox.application_id, asked, "similar")).hits
    assert (hit.message_id, hit.spoiler, hit.alt) == (other["id"], True, ENGLISH.search.image_alt_spoiler)


async def test_a_forwarded_image_is_found_under_the_forwarding_message(home: House, bot: MagpieBot) -> None:
    cem, images, chat = await home.member("cem"), home.channel("pictures"), home.channel("chat")
    original = await cem.post(images, sample("panda"))
    await home.indexed(original)
    forwarded = await cem.say(
        chat, message_reference={"type": 1, "channel_id": str(images), "message_id": original["id"]}
    )
    await until(lambda: _remembers(bot, forwarded), "the forward is remembered")
    await bot.services.indexer.settled()
    await cem.remove(original)
    await home.forgotten(original)
    assert (await cem.find(home.nest, images, "a panda")).ids == [forwarded["id"]]


async def _remembers(bot: MagpieBot, message: dict[str, Any]) -> bool:
    return bool(await bot.services.images.by_message(int(message["id"])))


async def test_a_link_preview_is_found_until_its_poster_hides_it(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    posted = await cem.say(images, f"look {home.sandbox.url}/sandbox/samples/panda.png")
    await until(lambda: _remembers(bot, posted), "the preview is remembered")
    await bot.services.indexer.settled()
    found = await cem.find(home.nest, images, "a panda")
    assert found.ids == [posted["id"]]
    assert (await cem.http.get(found.hits[0].picture)).status == 200
    suppress_embeds = 1 << 2
    await cem.ok("PATCH", f"/channels/{images}/messages/{posted['id']}", {"flags": suppress_embeds})
    await home.forgotten(posted)


async def test_a_query_without_an_image_says_what_to_do(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    words = await cem.say(images, "no picture here")
    assert (await cem.similar_by_menu(home.nest, words)).words == ENGLISH.query_image.message_without_image
    assert (await cem.use(home.nest, images, "similar", [])).words == ENGLISH.query_image.exactly_one
    unusable = await cem.similar_to_file(home.nest, images, b"<html>not a picture")
    assert unusable.words == ENGLISH.query_image.unusable
    told = await cem.ask_in_public(home.sandbox.application_id, words, "similar")
    assert told.words == ENGLISH.query_image.message_without_image
