"""A picture's tags: seen by who sees it, changed by its poster and by moderators, and never changed back by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.store.labels import LabelSet
from tests.e2e.harness import House, sample
from tests.e2e.member import COMPONENT, EPHEMERAL, MENU, STRING, Member, Reply, button, read

SELECT, MODAL = 3, 5


async def show(who: Member, home: House, message: dict[str, Any]) -> Reply:
    return await who.use(home.nest, message["channel_id"], "Show tags", [], type=MENU, target_id=message["id"])


def parts(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for component in components:
        yield component
        yield from parts(component.get("components") or [])


def actions(answer: Reply) -> set[str]:
    """What the components of an answer do."""
    ids = [part["custom_id"] for part in parts(answer.message["components"]) if "custom_id" in part]
    return {one.split(":")[1] for one in ids}


async def choose(who: Member, home: House, answer: Reply, action: str, *values: str) -> Reply:
    menu = button(answer.message, f"magpie-menu:{action}")
    return await who.choose_and_see_it_change(home.nest, answer.message, menu, *values)


async def choose_in_vain(who: Member, home: House, answer: Reply, action: str, *values: str) -> str:
    """The sentence that it is answered with."""
    menu = button(answer.message, f"magpie-menu:{action}")
    data = {"component_type": SELECT, "custom_id": menu["custom_id"], "values": [*values]}
    where = {"message_id": answer.message["id"], "message_flags": answer.message["flags"], "guild_id": str(home.nest)}
    since = len(who.events)
    await who.interact(COMPONENT, home.sandbox.application_id, answer.message["channel_id"], data, **where)
    told = await who.event("MESSAGE_CREATE", lambda seen: seen["flags"] & EPHEMERAL != 0, since)
    return read(told).words


async def add(who: Member, home: House, answer: Reply, name: str) -> Reply:
    pressed = button(answer.message, "magpie:tags_add")
    where = {"message_id": answer.message["id"], "message_flags": answer.message["flags"], "guild_id": str(home.nest)}
    data = {"component_type": 2, "custom_id": pressed["custom_id"]}
    place, application = answer.message["channel_id"], home.sandbox.application_id
    nonce = await who.interact(COMPONENT, application, place, data, **where)
    modal = await who.event("INTERACTION_MODAL_CREATE", lambda seen: seen["nonce"] == nonce)
    [field] = [part for part in modal["components"] if part["type"] == 18]
    filled = {"id": modal["id"], "custom_id": modal["custom_id"]} | {
        "components": [{"type": 18, "component": {**field["component"], "value": name}}]
    }
    since = len(who.events)
    await who.interact(MODAL, application, place, filled, guild_id=str(home.nest))
    return read(await who.event("MESSAGE_UPDATE", lambda seen: seen["id"] == answer.message["id"], since))


async def labels_of(bot: MagpieBot, message: dict[str, Any]) -> list[str]:
    return [tag.label for image in await bot.services.images.by_message(int(message["id"])) for tag in image.tags]


async def test_a_moderator_removes_confirms_and_adds_tags_and_they_stay_so(home: House, bot: MagpieBot) -> None:
    bob, cem, images = await home.member("bob"), await home.member("cem"), home.channel("pictures")
    posted, other = await cem.post(images, sample("panda")), await cem.post(images, sample("rocket"))
    await home.indexed(posted, other)
    shown = await show(bob, home, posted)
    assert shown.private
    assert "🐼 panda · " in shown.words
    changed = await add(bob, home, shown, "  吉祥物 ")
    assert f"吉祥物 · {ENGLISH.image_tags.confirmed}" in changed.words
    changed = await choose(bob, home, changed, "tags_remove", "panda")
    assert "panda ·" not in changed.words
    confirmed = await choose(bob, home, await show(bob, home, other), "tags_confirm", "rocket")
    assert f"🚀 rocket · {ENGLISH.image_tags.confirmed}" in confirmed.words
    assert "tags_confirm" not in actions(confirmed)

    for shipped in ((), ("default", "animals")):  # tagged again with no label at all, then with that of a panda
        await bot.services.labels.change(home.nest, None, lambda _, shipped=shipped: LabelSet(shipped))
        await bot.services.retagger.labels_changed(home.nest)
        await bot.services.retagger.settled()
        now = await labels_of(bot, posted), await labels_of(bot, other)
        if not shipped:
            assert now == (["吉祥物"], ["rocket"])
        assert "panda" not in now[0]
        assert "吉祥物" in now[0]
        assert now[1].count("rocket") == 1


async def test_a_removed_tag_is_away_after_a_restart_too(home: House) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    async with home.bot() as bot:
        posted = await bob.post(images, sample("panda"))
        await home.indexed(posted)
        await choose(bob, home, await show(bob, home, posted), "tags_remove", "panda")
        await bot.services.labels.change(home.nest, None, lambda _: LabelSet(("default", "animals")))
    async with home.bot() as bot:
        await bot.services.retagger.settled()
        assert "panda" not in await labels_of(bot, posted)


async def test_a_removed_tag_is_away_after_its_picture_was_read_again(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = await bob.post(images, sample("panda"))
    await home.indexed(posted)
    await choose(bob, home, await show(bob, home, posted), "tags_remove", "panda")
    [image] = await bot.services.images.by_message(int(posted["id"]))
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as file, file:
        file.execute("UPDATE embeddings SET checksum = checksum + 1 WHERE image_id = ?", (image.id,))
    before = await labels_of(bot, posted)
    bot.services.indexer.repair([image.id])
    await bot.services.indexer.settled()
    [again] = await bot.services.images.by_message(int(posted["id"]))
    assert again.reread
    assert [tag.label for tag in again.tags] == before
    assert "panda" not in before


async def test_the_poster_may_remove_tags_of_their_own_picture_and_others_may_look(home: House, bot: MagpieBot) -> None:
    cem, ann_posts, images = await home.member("cem"), await home.member("ann"), home.channel("pictures")
    own, others = await cem.post(images, sample("panda")), await ann_posts.post(images, sample("panda"))
    await home.indexed(own, others)
    shown = await show(cem, home, own)
    assert actions(shown) == {"tags_remove"}
    await choose(cem, home, shown, "tags_remove", "panda")
    assert "panda" not in await labels_of(bot, own)
    assert "panda" in (await show(cem, home, others)).words
    assert actions(await show(cem, home, others)) == set()


async def test_whoever_loses_the_right_chooses_in_vain(home: House, bot: MagpieBot) -> None:
    bob, cem, images = await home.member("bob"), await home.member("cem"), home.channel("pictures")
    posted = await cem.post(images, sample("panda"))
    await home.indexed(posted)
    shown = await show(bob, home, posted)
    roles = home.sandbox.guild("The Nest").members[int(bob.id)].roles
    roles.clear()
    told = await choose_in_vain(bob, home, shown, "tags_remove", "panda")
    assert told == ENGLISH.errors.needs_permission.format(permission="Manage Messages")
    assert "panda" in await labels_of(bot, posted)


async def test_an_announced_reply_is_corrected_and_deleted_when_nothing_is_left(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    await bob.use(home.nest, images, "tagging", [{"type": STRING, "name": "mode", "value": "reply"}])
    posted = await bob.post(images, sample("panda"))
    told = await bob.message(lambda one: (one.get("message_reference") or {}).get("message_id") == posted["id"])
    assert told.message["flags"] & (1 << 12), "nobody is notified"
    assert "panda" in told.words
    shown = await add(bob, home, await show(bob, home, posted), "our mascot")
    corrected = await bob.event(
        "MESSAGE_UPDATE", lambda one: one["id"] == told.message["id"] and "our mascot" in one["content"]
    )
    assert "panda" in corrected["content"]
    left = await labels_of(bot, posted)
    await choose(bob, home, shown, "tags_remove", *left)
    await bob.event("MESSAGE_DELETE", lambda one: one["id"] == told.message["id"])


async def test_an_announced_reaction_goes_with_its_tag(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    await bob.use(home.nest, images, "tagging", [{"type": STRING, "name": "mode", "value": "reaction"}])
    posted = await bob.post(images, sample("panda"))
    await bob.event("MESSAGE_REACTION_ADD", lambda one: one["emoji"]["name"] == "🐼")
    await choose(bob, home, await show(bob, home, posted), "tags_remove", "panda")
    await bob.event("MESSAGE_REACTION_REMOVE", lambda one: one["emoji"]["name"] == "🐼")


async def test_of_a_message_with_several_pictures_each_is_shown(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = await bob.post(images, sample("panda"), sample("rocket"))
    await home.indexed(posted)
    shown = await show(bob, home, posted)
    assert ENGLISH.image_tags.heading_of.format(number=1, count=2) in shown.words
    menu = button(shown.message, "magpie-menu:tags_turn")
    assert [option["label"] for option in menu["options"]] == ["Picture 1 of 2", "Picture 2 of 2"]
    turned = await choose(bob, home, shown, "tags_turn", menu["options"][1]["value"])
    assert ENGLISH.image_tags.heading_of.format(number=2, count=2) in turned.words
    assert "rocket" in turned.words


async def test_tags_of_a_spoiler_stay_covered(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = await bob.say(images, attachments=[await bob.upload(images, sample("panda"), "SPOILER_panda.png")])
    await home.indexed(posted)
    shown = await show(bob, home, posted)
    assert "||- 🐼 panda" in shown.words
    [picture] = [part["accessory"] for part in shown.message["components"] if part["type"] == 9]
    assert (picture["spoiler"], picture["description"]) == (True, ENGLISH.search.image_alt_spoiler)


async def test_a_message_without_an_indexed_picture_says_so(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = await bob.say(images, "no picture")
    assert (await show(bob, home, posted)).words == ENGLISH.image_tags.not_indexed
    gone = await bob.post(images, sample("panda"))
    await home.indexed(gone)
    shown = await show(bob, home, gone)
    await bob.remove(gone)
    await home.forgotten(gone)
    told = await choose_in_vain(bob, home, shown, "tags_remove", "panda")
    assert told == ENGLISH.query_image.message_not_found
