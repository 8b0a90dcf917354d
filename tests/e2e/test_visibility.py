"""Nobody finds what they could not see in the channel itself: the rule, felt from a member's chair."""

from __future__ import annotations

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, captions, sample, until


async def test_nobody_finds_what_they_could_not_see(home: House, bot: MagpieBot) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    regulars, images = home.channel("regulars"), home.channel("pictures")
    hidden = await cem.post(regulars, sample("panda"))
    await home.indexed(hidden)
    assert (await cem.find(home.nest, images, "a panda")).ids == [hidden["id"]]

    for_dora = await dora.find(home.nest, images, "a panda")
    assert for_dora.ids == []
    link = f"https://discord.com/channels/{home.nest}/{regulars}/{hidden['id']}"
    by_link = await dora.similar_to_link(home.nest, images, link)
    missing = await dora.similar_to_link(home.nest, images, link[:-4] + "0000")
    assert by_link.ids == []
    assert by_link.words == missing.words  # whether it exists is not told either
    assert (await dora.similar_to_file(home.nest, images, sample("panda"))).ids == []


async def test_a_button_gives_no_access_to_an_image_that_its_presser_cannot_see(home: House, bot: MagpieBot) -> None:
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    images, chat = home.channel("pictures"), home.channel("chat")
    asked_about = await cem.post(images, sample("panda"))
    other, third = await cem.post(chat, sample("panda")), await cem.post(images, sample("panda"))
    await home.indexed(asked_about, other, third)
    shown = await cem.ask_in_public(home.sandbox.application_id, asked_about, "similar")
    pressed = next(hit.more for hit in shown.hits if hit.message_id == other["id"])
    assert third["id"] in (await dora.press(home.nest, shown.message, pressed)).ids
    view_channel = {"type": 1, "allow": "0", "deny": str(1 << 10)}
    await ann.ok("PUT", f"/channels/{chat}/permissions/{dora.id}", view_channel)
    again = await dora.press(home.nest, shown.message, pressed)
    assert again.private
    assert again.ids == []


async def test_a_public_answer_keeps_to_what_everyone_there_may_see(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    hidden = await cem.post(home.channel("regulars"), sample("panda"))
    adult = await cem.post(home.channel("after-dark"), sample("panda"))
    open_one = await cem.post(images, sample("panda"))
    other = await cem.post(home.channel("chat"), sample("panda"))
    await home.indexed(hidden, adult, open_one, other)
    answer = await cem.ask_in_public(home.sandbox.application_id, open_one, "有没有类似的？")
    assert answer.ids == [other["id"]]
    assert set((await cem.similar_by_menu(home.nest, open_one)).ids) == {hidden["id"], other["id"]}


async def test_age_restricted_images_show_in_age_restricted_channels_only(home: House, bot: MagpieBot) -> None:
    cem, dark = await home.member("cem"), home.channel("after-dark")
    adult = await cem.post(dark, sample("rocket"))
    await home.indexed(adult)
    assert (await cem.find(home.nest, home.channel("pictures"), "a rocket")).ids == []
    assert (await cem.find(home.nest, dark, "a rocket")).ids == [adult["id"]]


async def test_a_voice_channels_images_need_the_right_to_connect(home: House, bot: MagpieBot) -> None:
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    voice, images = home.channel("Regulars' voice"), home.channel("pictures")
    connect = {"type": 1, "allow": str(1 << 20), "deny": "0"}
    await ann.ok("PUT", f"/channels/{voice}/permissions/{home.sandbox.application_id}", connect)
    posted = await cem.post(voice, sample("rocket"))
    await home.indexed(posted)
    assert (await cem.find(home.nest, images, "a rocket")).ids == [posted["id"]]
    assert (await dora.find(home.nest, images, "a rocket")).ids == []


async def test_a_private_threads_images_are_for_those_who_are_in_it(home: House, bot: MagpieBot) -> None:
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    planning, images = home.channel("party planning"), home.channel("pictures")
    await ann.ok("PUT", f"/channels/{planning}/thread-members/{home.sandbox.application_id}")
    posted = await cem.post(planning, sample("birthday-cake"))
    await home.indexed(posted)
    words = captions("birthday-cake")[0]
    assert (await cem.find(home.nest, images, words)).ids == [posted["id"]]
    assert (await dora.find(home.nest, images, words)).ids == []
    await ann.ok("PATCH", f"/channels/{planning}", {"archived": True})  # discord.py's cache has active threads only
    await until(lambda: _gone_from_cache(bot, planning), "the bot knows that the thread is archived")
    assert (await cem.find(home.nest, images, words)).ids == [posted["id"]]
    assert (await dora.find(home.nest, images, words)).ids == []


async def test_who_is_added_to_a_private_thread_is_asked_about_again_once_it_has_changed(
    home: House, bot: MagpieBot
) -> None:
    ann, dora = await home.member("ann"), await home.member("dora")
    planning, images = home.channel("party planning"), home.channel("pictures")
    await ann.ok("PUT", f"/channels/{planning}/thread-members/{home.sandbox.application_id}")
    posted = await ann.post(planning, sample("birthday-cake"))
    await home.indexed(posted)
    words, refused = captions("birthday-cake")[0], (int(home.nest), int(planning), int(dora.id))
    assert (await dora.find(home.nest, images, words)).ids == []
    assert refused in bot.services.messages.refusals
    await ann.ok("PUT", f"/channels/{planning}/thread-members/{dora.id}")
    await ann.ok("PATCH", f"/channels/{planning}", {"name": "party"})
    await until(lambda: _forgotten(bot, refused), "the bot knows that the thread has changed")
    assert (await dora.find(home.nest, images, words)).ids == [posted["id"]]


async def _forgotten(bot: MagpieBot, refusal: tuple[int, int, int]) -> bool:
    return refusal not in bot.services.messages.refusals


async def test_a_channel_that_the_bot_has_lost_costs_no_request_and_no_place(home: House, bot: MagpieBot) -> None:
    ann, cem = await home.member("ann"), await home.member("cem")
    chat, images = home.channel("chat"), home.channel("pictures")
    lost, shown = await cem.post(chat, sample("panda")), await cem.post(images, sample("panda"))
    await home.indexed(lost, shown)
    looked_up: list[int] = []
    look_up = bot.services.messages.look_up
    bot.services.search._look_up = lambda ref: (looked_up.append(ref.message_id), look_up(ref))[1]
    no_view = {"type": 1, "allow": "0", "deny": str(1 << 10)}
    await ann.ok("PUT", f"/channels/{chat}/permissions/{home.sandbox.application_id}", no_view)
    assert (await cem.find(home.nest, images, "a panda")).ids == [shown["id"]]
    assert looked_up == [int(shown["id"])]


async def _gone_from_cache(bot: MagpieBot, thread_id: int) -> bool:
    return bot.get_channel(thread_id) is None


async def test_a_search_never_crosses_servers(home: House, bot: MagpieBot) -> None:
    cem = await home.member("cem")
    here = await cem.post(home.channel("pictures"), sample("umbrella"))
    await home.indexed(here)
    branch = home.sandbox.guild("Second Branch").id
    assert (await cem.find(branch, home.channel("general"), "an umbrella")).ids == []
    link = f"https://discord.com/channels/{home.nest}/{home.channel('pictures')}/{here['id']}"
    elsewhere = await cem.similar_to_link(branch, home.channel("general"), link)
    assert elsewhere.words == ENGLISH.query_image.not_a_message_link


async def test_a_channel_whose_history_the_bot_may_not_read_is_not_indexed(home: House, bot: MagpieBot) -> None:
    ann, cem = await home.member("ann"), await home.member("cem")
    chat, images = home.channel("chat"), home.channel("pictures")
    no_history = {"type": 1, "allow": "0", "deny": str(1 << 16)}
    await ann.ok("PUT", f"/channels/{chat}/permissions/{home.sandbox.application_id}", no_history)
    unread = await cem.post(chat, sample("rocket"))
    await home.indexed(await cem.post(images, sample("rocket")))
    assert await bot.services.images.by_message(int(unread["id"])) == []
    assert unread["id"] not in (await cem.find(home.nest, images, "a rocket")).ids
