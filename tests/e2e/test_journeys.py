"""What people do with Magpie, from end to end: the real bot, real sockets, the bundled model."""

from __future__ import annotations

from typing import Any

import pytest

from bot.app import App
from tests.e2e.harness import House, captions, sample, until
from tests.e2e.member import Member, button

pytestmark = pytest.mark.timeout(180)
NOTHING = "Nothing like that here"


async def test_a_posted_picture_is_tagged_found_in_two_languages_matched_in_four_ways_and_forgotten_when_deleted(
    home: House, bot: App
) -> None:
    ann, pictures = await home.member("ann"), home.channel("pictures")
    apple = await ann.post(pictures, sample("red-apple"))
    others = [await ann.post(pictures, sample(name)) for name in ("rocket", "bicycle", "sailboat")]
    [remembered, *_] = await home.indexed(apple, *others)
    assert remembered.tags

    for words in captions("red-apple"):
        found = await ann.find(home.nest, pictures, words)
        assert found.private
        assert found.ids[0] == apple["id"]
    top = found.hits[0]
    assert f"<@{ann.id}>" in top.words
    assert "%" in top.words
    assert "apple" in top.alt
    assert (await ann.http.get(top.thumbnail)).status == 200

    twin = await ann.post(pictures, sample("red-apple"))
    await home.indexed(twin)
    link = f"https://discord.com/channels/{home.nest}/{pictures}/{apple['id']}"
    by_file = await ann.similar_to_file(home.nest, pictures, sample("red-apple"))
    by_link = await ann.similar_to_link(home.nest, pictures, link)
    by_menu = await ann.similar_by_menu(home.nest, apple)
    by_button = await ann.press(home.nest, found.message, top.more)
    assert {apple["id"], twin["id"]} <= set(by_file.ids)
    for answer in (by_link, by_menu, by_button):
        assert answer.private
        assert answer.ids[0] == twin["id"]
        assert apple["id"] not in answer.ids
    in_public = await ask_in_public(home, ann, apple, "similar please")
    assert not in_public.private
    assert in_public.ids[0] == twin["id"]

    await ann.remove(apple)
    await ann.remove(twin)
    await home.forgotten(apple, twin)
    gone = await ann.find(home.nest, pictures, captions("red-apple")[0])
    assert not {apple["id"], twin["id"]} & set(gone.ids)


async def ask_in_public(home: House, member: Member, picture: dict[str, Any], words: str) -> Any:
    since = len(member.events)
    asked = await member.reply(picture, f"<@{home.sandbox.application_id}> {words}")

    def answer(seen: dict[str, Any]) -> bool:
        return (seen.get("message_reference") or {}).get("message_id") == asked["id"]

    return await member.message(answer, since)


async def test_nobody_finds_what_they_could_not_see(home: House, bot: App) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    regulars, pictures = home.channel("regulars"), home.channel("pictures")
    hidden = await cem.post(regulars, sample("panda"))
    await home.indexed(hidden)
    assert (await cem.find(home.nest, pictures, "a panda")).ids == [hidden["id"]]

    for_dora = await dora.find(home.nest, pictures, "a panda")
    assert for_dora.ids == []
    link = f"https://discord.com/channels/{home.nest}/{regulars}/{hidden['id']}"
    by_link = await dora.similar_to_link(home.nest, pictures, link)
    missing = await dora.similar_to_link(home.nest, pictures, link[:-4] + "0000")
    assert by_link.ids == []
    assert by_link.words == missing.words  # whether it exists is not told either
    assert (await dora.similar_to_file(home.nest, pictures, sample("panda"))).ids == []

    # A button that somebody else was shown gives no right.
    shown = await cem.find(home.nest, pictures, "a panda")
    open_one = await dora.post(pictures, sample("octopus"))
    await home.indexed(open_one)
    own = await dora.find(home.nest, pictures, "an octopus")
    forged = {**own.hits[0].more, "custom_id": shown.hits[0].more["custom_id"]}
    answer = await dora.call(
        "POST",
        "/interactions",
        {
            "type": 3, "application_id": str(home.sandbox.application_id), "guild_id": str(home.nest),
            "channel_id": str(pictures), "session_id": dora.ready["session_id"], "nonce": "forged",
            "message_id": own.message["id"], "message_flags": own.message["flags"],
            "data": {"component_type": 2, "custom_id": forged["custom_id"]},
        },
    )  # fmt: skip
    if answer.status == 204:
        told = await dora._answer_to("forged")
        assert told.ids == []


async def test_a_public_answer_keeps_to_what_everyone_there_may_see(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    hidden = await cem.post(home.channel("regulars"), sample("panda"))
    adult = await cem.post(home.channel("after-dark"), sample("panda"))
    open_one = await cem.post(pictures, sample("panda"))
    other = await cem.post(home.channel("chat"), sample("panda"))
    await home.indexed(hidden, adult, open_one, other)
    answer = await ask_in_public(home, cem, open_one, "像")
    assert answer.ids == [other["id"]]
    assert set((await cem.similar_by_menu(home.nest, open_one)).ids) == {hidden["id"], other["id"]}


async def test_age_restricted_pictures_show_in_age_restricted_channels_alone(home: House, bot: App) -> None:
    cem, dark = await home.member("cem"), home.channel("after-dark")
    adult = await cem.post(dark, sample("rocket"))
    await home.indexed(adult)
    assert (await cem.find(home.nest, home.channel("pictures"), "a rocket")).ids == []
    assert (await cem.find(home.nest, dark, "a rocket")).ids == [adult["id"]]


async def test_a_voice_channels_pictures_need_the_right_to_connect(home: House, bot: App) -> None:
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    voice, pictures = home.channel("Regulars' voice"), home.channel("pictures")
    connect = {"type": 1, "allow": str(1 << 20), "deny": "0"}
    await ann.ok("PUT", f"/channels/{voice}/permissions/{home.sandbox.application_id}", connect)
    posted = await cem.post(voice, sample("rocket"))
    await home.indexed(posted)
    assert (await cem.find(home.nest, pictures, "a rocket")).ids == [posted["id"]]
    assert (await dora.find(home.nest, pictures, "a rocket")).ids == []


async def test_a_private_threads_pictures_are_for_those_who_are_in_it(home: House, bot: App) -> None:
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    planning, pictures = home.channel("party planning"), home.channel("pictures")
    await ann.ok("PUT", f"/channels/{planning}/thread-members/{home.sandbox.application_id}")
    posted = await cem.post(planning, sample("birthday-cake"))
    await home.indexed(posted)
    words = captions("birthday-cake")[0]
    assert (await cem.find(home.nest, pictures, words)).ids == [posted["id"]]
    assert (await dora.find(home.nest, pictures, words)).ids == []


async def test_another_server_is_another_world(home: House, bot: App) -> None:
    cem = await home.member("cem")
    here = await cem.post(home.channel("pictures"), sample("umbrella"))
    await home.indexed(here)
    branch = home.sandbox.guild("Second Branch").id
    assert (await cem.find(branch, home.channel("general"), "an umbrella")).ids == []
    link = f"https://discord.com/channels/{home.nest}/{home.channel('pictures')}/{here['id']}"
    elsewhere = await cem.similar_to_link(branch, home.channel("general"), link)
    assert "not a link to a message of this server" in elsewhere.words


async def test_a_search_can_keep_to_one_channel_and_its_threads(home: House, bot: App) -> None:
    cem, pictures, chat, cats = await home.member("cem"), *map(home.channel, ("pictures", "chat", "cats only"))
    there = await cem.post(chat, sample("panda"))
    in_thread = await cem.post(cats, sample("panda"), text="again")
    await home.indexed(there, in_thread)
    assert (await cem.find(home.nest, chat, "a panda", only=chat)).ids == [there["id"]]
    assert (await cem.find(home.nest, chat, "a panda", only=pictures)).ids == [in_thread["id"]]


async def test_what_is_not_there_is_answered_honestly(home: House, bot: App) -> None:
    cem, dora, pictures = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    empty = await cem.find(home.nest, pictures, "a rocket")
    assert "no pictures yet" in empty.words
    posted = await cem.post(pictures, sample("sunflower"))
    await home.indexed(posted)
    answer = await cem.find(home.nest, pictures, "a guitar next to a drum")
    assert answer.ids == []
    assert NOTHING in answer.words
    assert "没有类似的图片" in (await dora.find(home.nest, pictures, "吉他在鼓旁边")).words


async def test_an_edit_that_drops_a_picture_forgets_that_one_alone(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(pictures, sample("panda"), sample("rocket"))
    await home.indexed(posted)
    kept = posted["attachments"][0]["id"]
    path = f"/channels/{pictures}/messages/{posted['id']}"
    await cem.ok("PATCH", path, {"attachments": [{"id": kept}]})

    async def only_one_left() -> bool:
        return [str(one.ref.attachment_id) for one in await bot.store.by_message(int(posted["id"]))] == [kept]

    await until(only_one_left, "the dropped picture is forgotten")
    dropped = posted["attachments"][1]["id"]
    for words in ("a panda", "a rocket"):
        shown = (await cem.find(home.nest, pictures, words)).hits
        assert not any(f"/{dropped}/" in hit.thumbnail for hit in shown)
    assert (await cem.find(home.nest, pictures, "a panda")).ids == [posted["id"]]


async def test_many_messages_deleted_at_once_are_all_forgotten(home: House, bot: App) -> None:
    bob, pictures = await home.member("bob"), home.channel("pictures")
    posted = [await bob.post(pictures, sample(name)) for name in ("panda", "rocket", "octopus")]
    await home.indexed(*posted)
    await bob.ok("POST", f"/channels/{pictures}/messages/bulk-delete", {"messages": [one["id"] for one in posted]})
    await home.forgotten(*posted)
    assert (await bob.find(home.nest, pictures, "a panda")).ids == []


@pytest.mark.parametrize("name", ["cats only", "pictures"])
async def test_a_deleted_thread_or_channel_takes_its_pictures_along(home: House, bot: App, name: str) -> None:
    bob, chat = await home.member("bob"), home.channel("chat")
    in_thread = await bob.post(home.channel("cats only"), sample("panda"))
    stays = await bob.post(chat, sample("rocket"))
    await home.indexed(in_thread, stays)
    await bob.ok("DELETE", f"/channels/{home.channel(name)}")
    await home.forgotten(in_thread)
    assert in_thread["id"] not in (await bob.find(home.nest, chat, "a panda")).ids
    assert (await bob.find(home.nest, chat, "a rocket")).ids == [stays["id"]]


async def test_a_server_that_removes_the_bot_is_forgotten_and_its_return_begins_anew(home: House, bot: App) -> None:
    cem, pictures, guild = await home.member("cem"), home.channel("pictures"), home.sandbox.guild("The Nest")
    before = await cem.post(pictures, sample("panda"))
    await home.indexed(before)
    home.sandbox.remove_bot(guild)
    await home.forgotten(before)
    home.sandbox.invite_bot(guild)
    await until(lambda: _knows(bot, guild.id), "the bot is back in the server")
    after = await cem.post(pictures, sample("rocket"))
    await home.indexed(after)
    assert (await cem.find(home.nest, pictures, "a rocket")).ids == [after["id"]]
    assert before["id"] not in (await cem.find(home.nest, pictures, "a panda")).ids


async def _knows(bot: App, guild_id: int) -> bool:
    return bot.bot.get_guild(guild_id) is not None


async def test_a_deletion_that_the_bot_did_not_hear_of_is_noticed_before_the_picture_is_shown(
    home: House, bot: App
) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(pictures, sample("panda"))
    await home.indexed(posted)
    del home.sandbox.world.channels[pictures].messages[int(posted["id"])]  # no event
    assert (await cem.find(home.nest, pictures, "a panda")).ids == []
    await home.forgotten(posted)


async def test_a_channel_chooses_what_it_sees_of_new_tags(home: House, bot: App) -> None:
    bob, pictures = await home.member("bob"), home.channel("pictures")

    async def choose(mode: str) -> None:
        await bob.use(home.nest, pictures, "tagging", [{"type": 3, "name": "mode", "value": mode}])

    await home.indexed(await bob.post(pictures, sample("panda")))
    await bot.indexer.settled()
    await choose("reaction")
    reacted = await bob.post(pictures, sample("panda"))
    await bob.event(
        "MESSAGE_REACTION_ADD", lambda one: one["message_id"] == reacted["id"] and one["emoji"]["name"] == "🐼"
    )

    await choose("reply")
    replied = await bob.post(pictures, sample("panda"), sample("rocket"))
    told = await bob.message(lambda one: (one.get("message_reference") or {}).get("message_id") == replied["id"])
    assert "panda" in told.words
    assert "rocket" in told.words
    assert told.message["mentions"] == []

    await choose("off")
    [untagged] = await home.indexed(await bob.post(pictures, sample("panda")))
    await bot.indexer.settled()
    assert untagged.tags == ()
    assert bob.count("MESSAGE_REACTION_ADD", lambda one: one["message_id"] != reacted["id"]) == 0
    own = [
        one
        for name, one in bob.events
        if name == "MESSAGE_CREATE" and not one["flags"] & 64 and one["author"].get("bot")
    ]
    assert len(own) == 1


async def test_a_server_tags_with_labels_of_its_own(home: House, bot: App) -> None:
    bob, pictures = await home.member("bob"), home.channel("pictures")
    assert "panda" in (await bob.subcommand(home.nest, pictures, "labels", "list")).words
    for name in await bob.offered(home.nest, pictures, "labels", "remove", label="pan"):
        assert "pan" in name.casefold()
    assert "already" in (await bob.subcommand(home.nest, pictures, "labels", "add", label="Panda")).words
    await bob.subcommand(home.nest, pictures, "labels", "remove", label="panda")
    [without] = await home.indexed(await bob.post(pictures, sample("panda")))
    assert "panda" not in [tag.label for tag in without.tags]
    await bob.subcommand(home.nest, pictures, "labels", "reset")
    [again] = await home.indexed(await bob.post(pictures, sample("panda"), text="again"))
    assert "panda" in [tag.label for tag in again.tags]


async def test_settings_are_for_those_who_may_manage_the_server(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    offered = await cem.ok("GET", f"/guilds/{home.nest}/application-command-index")
    manage_guild = str(1 << 5)
    for command in offered["application_commands"]:
        settings = command["name"] in ("tagging", "labels")
        assert command["default_member_permissions"] == (manage_guild if settings else None)
    with pytest.raises(AssertionError):  # Discord itself refuses
        await cem.use(home.nest, pictures, "tagging", [{"type": 3, "name": "mode", "value": "off"}])


async def test_forget_me_deletes_ones_own_pictures_and_nobody_elses(home: House, bot: App) -> None:
    cem, ann, pictures = await home.member("cem"), await home.member("ann"), home.channel("pictures")
    mine = await cem.post(pictures, sample("panda"))
    hers = await ann.post(pictures, sample("rocket"))
    await home.indexed(mine, hers)
    asked = await cem.use(home.nest, pictures, "forget-me", [])
    assert asked.private
    await home.indexed(mine)  # asking deletes nothing
    done = await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:forget:"))
    assert "1 picture" in done.words
    await home.forgotten(mine)
    assert mine["id"] not in (await cem.find(home.nest, pictures, "a panda")).ids
    assert (await cem.find(home.nest, pictures, "a rocket")).ids == [hers["id"]]
    later = await cem.post(pictures, sample("panda"))
    await home.indexed(later)


async def test_privacy_is_told_in_the_readers_language(home: House, bot: App) -> None:
    cem, dora, pictures = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    assert "What I keep" in (await cem.use(home.nest, pictures, "privacy", [])).words
    assert "我不保存什么" in (await dora.use(home.nest, pictures, "privacy", [])).words


async def test_nothing_in_a_query_pings_or_breaks_the_layout(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    posted = await cem.post(pictures, sample("panda"))
    await home.indexed(posted)
    answer = await cem.find(home.nest, pictures, "a panda @everyone **bold** <@1> `code`")
    assert answer.message["mentions"] == []
    assert not answer.message["mention_everyone"]
    assert "@everyone" not in answer.words
    assert "**bold**" not in answer.words


async def test_a_spoiler_stays_one_in_results(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    upload = await cem.upload(pictures, sample("panda"), "SPOILER_panda.png")
    posted = await cem.say(pictures, attachments=[{**upload, "description": "my panda"}])
    await home.indexed(posted)
    [hit] = (await cem.find(home.nest, pictures, "a panda")).hits
    assert hit.spoiler
    assert hit.alt == "my panda"


async def test_a_forwarded_picture_is_found_under_the_forwarding_message(home: House, bot: App) -> None:
    cem, pictures, chat = await home.member("cem"), home.channel("pictures"), home.channel("chat")
    original = await cem.post(pictures, sample("panda"))
    await home.indexed(original)
    forwarded = await cem.say(
        chat, message_reference={"type": 1, "channel_id": str(pictures), "message_id": original["id"]}
    )
    await until(lambda: _remembers(bot, forwarded), "the forward is remembered")
    await bot.indexer.settled()
    await cem.remove(original)
    await home.forgotten(original)
    assert (await cem.find(home.nest, pictures, "a panda")).ids == [forwarded["id"]]


async def _remembers(bot: App, message: dict[str, Any]) -> bool:
    return bool(await bot.store.by_message(int(message["id"])))


async def test_a_link_preview_is_found_until_its_poster_hides_it(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    posted = await cem.say(pictures, f"look {home.sandbox.url}/sandbox/samples/panda.png")
    await until(lambda: _remembers(bot, posted), "the preview is remembered")
    await bot.indexer.settled()
    found = await cem.find(home.nest, pictures, "a panda")
    assert found.ids == [posted["id"]]
    assert (await cem.http.get(found.hits[0].thumbnail)).status == 200
    suppress_embeds = 1 << 2
    await cem.ok("PATCH", f"/channels/{pictures}/messages/{posted['id']}", {"flags": suppress_embeds})
    await home.forgotten(posted)


async def test_a_question_without_a_picture_says_what_to_do(home: House, bot: App) -> None:
    cem, pictures = await home.member("cem"), home.channel("pictures")
    words = await cem.say(pictures, "no picture here")
    assert "carries no picture" in (await cem.similar_by_menu(home.nest, words)).words
    assert "either `image` or `message`" in (await cem.use(home.nest, pictures, "similar", [])).words
    assert "cannot read that file" in (await cem.similar_to_file(home.nest, pictures, b"<html>not a picture")).words
    told = await ask_in_public(home, cem, words, "similar")
    assert "carries no picture" in told.words
