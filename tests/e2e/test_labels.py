"""/labels and /tagging as a server's moderators use them."""

from __future__ import annotations

import json
from typing import Any

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from tests.e2e.harness import House, sample
from tests.e2e.member import ATTACHMENT, CHANNEL, STRING, SUBCOMMAND, Member, Reply, button

INTEGER, FILE = 4, 13


def option(kind: int, name: str, value: object) -> dict[str, Any]:
    return {"type": kind, "name": name, "value": value}


async def labels(who: Member, home: House, sub: str, *options: dict[str, Any], **more: Any) -> Reply:
    given = [{"type": SUBCOMMAND, "name": sub, "options": list(options)}]
    return await who.use(home.nest, home.channel("pictures"), "labels", given, **more)


async def the_file(who: Member, answer: Reply) -> bytes:
    [file] = [part["file"] for part in answer.message["components"] if part["type"] == FILE]
    return await who.fetched(file["url"])


async def tags_of(bot: MagpieBot, message: dict[str, Any]) -> list[str]:
    await bot.services.retagger.settled()
    [image] = await bot.services.images.by_message(int(message["id"]))
    return [tag.label for tag in image.tags]


async def test_an_own_label_is_listed_first_and_gives_tags_to_earlier_pictures(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted = await bob.post(images, sample("panda"))
    await home.indexed(posted)
    prompts, lenient = option(STRING, "prompts", "panda; 熊猫"), option(INTEGER, "threshold", 40)
    told = await labels(bob, home, "add", option(STRING, "label", "our mascot"), prompts, lenient)
    assert "our mascot" in told.words
    listed = await labels(bob, home, "list")
    assert listed.words.index("our mascot") < listed.words.index(ENGLISH.labels.sets["default"])
    assert "2 prompts · from 40" in listed.words
    assert "Page 1 of" in listed.words
    turned = await bob.press_and_see_it_change(
        home.nest, listed.message, button(listed.message, f"magpie:labels_page:@{bob.id}:0:1")
    )
    assert "Page 2 of" in turned.words
    assert "our mascot" in await tags_of(bot, posted)
    await labels(bob, home, "remove", option(STRING, "label", "Our Mascot"))
    assert "our mascot" not in await tags_of(bot, posted)


async def test_a_channel_has_labels_of_its_own_until_it_is_reset(home: House, bot: MagpieBot) -> None:
    bob, images, chat = await home.member("bob"), home.channel("pictures"), home.channel("chat")
    here, there = await bob.post(images, sample("panda")), await bob.post(chat, sample("panda"))
    await home.indexed(here, there)
    only_chat = option(CHANNEL, "channel", str(chat))
    asked = await labels(bob, home, "clear", only_chat)
    assert "panda" in await tags_of(bot, there), "nothing happens before it is confirmed"
    await bob.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:labels_clear"))
    assert await tags_of(bot, there) == []
    assert "panda" in await tags_of(bot, here)
    assert f"<#{chat}>" in (await labels(bob, home, "list")).words
    asked = await labels(bob, home, "reset", only_chat)
    await bob.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:labels_reset"))
    assert "panda" in await tags_of(bot, there)


async def test_labels_come_from_a_file_and_go_into_one(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")

    async def read(data: bytes) -> Reply:
        file = await bob.upload(images, data, "labels.txt")
        how = option(STRING, "how", "replace")
        return await labels(bob, home, "import", option(ATTACHMENT, "file", "0"), how, attachments=[file])

    assert (await read(b"panda\ndog\nPANDA")).words.startswith("Line 3: “PANDA”")
    assert (await bot.services.labels.of_guild(home.nest)).server is None
    told = await read("panda: panda; 熊猫\ndog\n".encode())
    assert "2 labels" in told.words
    exported = await labels(bob, home, "export")
    written = json.loads(await the_file(bob, exported))
    assert [one["name"] for one in written["labels"]] == ["panda", "dog"]


async def test_a_picture_is_tested_against_every_label(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    upload = await bob.upload(images, sample("panda"), "question.png")
    told = await labels(bob, home, "test", option(ATTACHMENT, "image", "0"), attachments=[upload])
    assert "✅ **panda" in told.words
    table = (await the_file(bob, told)).decode("utf-8-sig").splitlines()
    assert len(table) == 1 + len(bot.services.shipped.sets["default"])


async def test_a_set_that_ships_is_used(home: House, bot: MagpieBot) -> None:
    bob = await home.member("bob")
    told = await labels(bob, home, "use", option(STRING, "set", "games"))
    assert f"{len(bot.services.shipped.sets['games'])} labels" in told.words
    assert ENGLISH.labels.sets["games"] in (await labels(bob, home, "list")).words


async def test_whoever_loses_the_right_presses_in_vain(home: House, bot: MagpieBot) -> None:
    bob = await home.member("bob")
    asked = await labels(bob, home, "clear")
    home.sandbox.guild("The Nest").members[int(bob.id)].roles.clear()
    refused = await bob.press(home.nest, asked.message, button(asked.message, "magpie:labels_clear"))
    assert refused.words == ENGLISH.errors.needs_permission.format(permission="Manage Server")
    assert (await bot.services.labels.of_guild(home.nest)).server is None


async def test_tagging_shows_what_is_set_where(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    await bob.use(home.nest, images, "tagging", [option(STRING, "mode", "reply")])
    told = await bob.use(home.nest, images, "tagging", [])
    assert f"<#{images}>" in told.words
    assert ENGLISH.tagging.modes["reply"] in told.words  # type: ignore[index]
