"""Who posts a picture again is told so where a channel wants that, and nobody anywhere else."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageOps

from bot.discord_io.client import MagpieBot
from bot.discord_io.messages import REPOST_EMOJI
from bot.i18n import ENGLISH
from tests.e2e.harness import House, sample
from tests.e2e.member import BOOLEAN, CHANNEL, INTEGER, STRING, SUBCOMMAND, Member, Reply, button

ROLE = 8
TEXTS = ENGLISH.reposts
HOUR, DAY = 3600.0, 86400.0


async def run(who: Member, home: House, place: int, name: str, *options: tuple[int, str, Any]) -> Reply:
    filled = [{"type": kind, "name": key, "value": value} for kind, key, value in options]
    return await who.use(home.nest, place, "reposts", [{"type": SUBCOMMAND, "name": name, "options": filled}])


async def tell_by(home: House, notice: str, place: str = "pictures", days: int = 30) -> Reply:
    bob, where = await home.member("bob"), home.channel(place)
    options = (STRING, "notice", notice), (INTEGER, "days", days), (CHANNEL, "channel", str(where))
    return await run(bob, home, where, "choose", *options)


async def noticed(home: House, *posted: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that the bot has said about these messages, once it says no more."""
    await home.indexed(*posted)
    await home.running.services.indexer.settled()
    await home.running.services.repost_notices.settled()
    ids, bot = {one["id"] for one in posted}, home.sandbox.application.bot_id
    channels = home.sandbox.state.channels.values()
    said = [one for channel in channels for one in channel.messages.values() if one.author_id == bot]
    return [one for one in said if one.reference is not None and str(one.reference["message_id"]) in ids]


async def notice_of(who: Member, posted: dict[str, Any]) -> Reply:
    return await who.message(lambda one: (one.get("message_reference") or {}).get("message_id") == posted["id"])


def link(home: House, posted: dict[str, Any]) -> str:
    return f"https://discord.com/channels/{home.nest}/{posted['channel_id']}/{posted['id']}"


def changed(data: bytes, *, mirror: bool = False) -> bytes:
    """Half as large and a JPEG; or mirrored."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = ImageOps.mirror(image) if mirror else image.resize((image.width // 2, image.height // 2))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if mirror else "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (sample("umbrella"), "file"),
        (changed(sample("umbrella")), "picture"),
        (changed(sample("umbrella"), mirror=True), "similar"),
    ],
    ids=["the same file", "the same picture", "a similar one"],
)
async def test_a_reply_tells_what_was_posted_before_and_where(
    home: House, bot: MagpieBot, again: bytes, kind: str
) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    assert "30 days" in (await tell_by(home, "reply")).words
    first = await cem.post(home.channel("chat"), sample("umbrella"))
    await home.indexed(first)
    posted = await dora.post(home.channel("pictures"), again)
    told = await notice_of(cem, posted)
    sentence = next(words for name, words in TEXTS.kinds.items() if name == kind)
    begins, ends = sentence.split("{when}")[0], sentence.split("{when}")[1].format(link=link(home, first))
    assert told.words.startswith(f"{REPOST_EMOJI} {begins}<t:")
    assert told.words.endswith(f":R>{ends}")
    assert told.message["flags"] & (1 << 12), "nobody is notified"
    assert not told.message["mentions"]


async def test_nothing_is_told_by_default_nor_of_a_picture_that_is_new(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    first = await cem.post(images, sample("umbrella"))
    await home.indexed(first)
    assert await noticed(home, await dora.post(images, sample("umbrella"))) == []
    await tell_by(home, "reply")
    assert await noticed(home, await dora.post(images, sample("rocket"))) == []
    await tell_by(home, "off")
    assert await noticed(home, await dora.post(images, sample("umbrella"))) == []


async def test_a_reaction_tells_without_words_and_stays_when_tags_are_corrected(home: House, bot: MagpieBot) -> None:
    bob, cem, images = await home.member("bob"), await home.member("cem"), home.channel("pictures")
    await tell_by(home, "reaction")
    await home.indexed(await cem.post(images, sample("umbrella")))
    posted = await bob.post(images, sample("umbrella"))
    await cem.event("MESSAGE_REACTION_ADD", lambda one: one["message_id"] == posted["id"])
    assert await noticed(home, posted) == []
    [image] = await home.indexed(posted)
    bot.services.announcer.correct(image)
    await bot.services.announcer.settled()
    assert REPOST_EMOJI in home.sandbox.state.channels[images].messages[int(posted["id"])].reactions


async def test_the_leeway_in_time_holds_for_long_ago_and_for_ones_own_a_moment_ago(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply", days=7)
    await home.indexed(await cem.post(images, sample("umbrella")))
    assert await noticed(home, await cem.post(images, sample("umbrella"))) == [], "an album, or a correction"
    home.sandbox.state.clock.advance(2 * HOUR)
    assert len(await noticed(home, await cem.post(images, sample("umbrella")))) == 1
    home.sandbox.state.clock.advance(8 * DAY)
    assert await noticed(home, await dora.post(images, sample("umbrella"))) == []


async def test_who_has_an_exempt_role_is_not_told(home: House, bot: MagpieBot) -> None:
    bob, cem, dora = [await home.member(name) for name in ("bob", "cem", "dora")]
    images = home.channel("pictures")
    await tell_by(home, "reply")
    [regular] = [role for role in home.sandbox.guild("The Nest").roles.values() if role.name == "Regular"]
    told = await run(bob, home, images, "exempt", (ROLE, "role", str(regular.id)))
    assert told.words == TEXTS.exempt.format(role=f"<@&{regular.id}>")
    await home.indexed(await dora.post(images, sample("umbrella")))
    assert await noticed(home, await cem.post(images, sample("umbrella"))) == []
    await home.indexed(await cem.post(images, sample("rocket")))
    assert len(await noticed(home, await dora.post(images, sample("rocket")))) == 1
    listed = (await run(bob, home, images, "list")).words
    assert f"<#{images}>: {next(words for mode, words in TEXTS.modes.items() if mode == 'reply')}" in listed
    assert f"<@&{regular.id}>" in listed
    await run(bob, home, images, "exempt", (ROLE, "role", str(regular.id)), (BOOLEAN, "exempt", False))
    assert len(await noticed(home, await cem.post(images, sample("rocket")))) == 1


async def test_a_moderator_allows_a_picture_for_good_and_nobody_else_can(home: House, bot: MagpieBot) -> None:
    bob, cem, dora = [await home.member(name) for name in ("bob", "cem", "dora")]
    images = home.channel("pictures")
    await tell_by(home, "reply")
    await home.indexed(await cem.post(images, sample("umbrella")))
    told = await notice_of(cem, await dora.post(images, sample("umbrella")))
    allow = button(told.message, "magpie:repost_allow:")
    refused = await cem.press(home.nest, told.message, allow)
    assert refused.words == ENGLISH.errors.needs_permission.format(permission="Manage Messages")
    assert (await bob.press(home.nest, told.message, allow)).words == TEXTS.allowed
    await cem.event("MESSAGE_DELETE", lambda one: one["id"] == told.message["id"])
    home.sandbox.state.clock.advance(20 * DAY)
    again = await dora.post(images, changed(sample("umbrella")))
    assert await noticed(home, again) == []
    home.sandbox.state.clock.advance(20 * DAY)
    assert await noticed(home, await cem.post(images, changed(sample("umbrella")))) == [], "it is handed on"


async def test_a_notice_goes_with_the_earlier_picture_and_with_the_later_one(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply")
    for which in (0, 1):
        scene = ("umbrella", "rocket")[which]
        first = await cem.post(images, sample(scene))
        await home.indexed(first)
        second = await dora.post(images, sample(scene))
        told = await notice_of(cem, second)
        await bot.services.repost_notices.settled()
        await (cem, dora)[which].remove((first, second)[which])
        await cem.event("MESSAGE_DELETE", lambda one, id_=told.message["id"]: one["id"] == id_)


async def test_a_notice_that_was_not_noted_down_is_known_by_its_form(home: House) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    async with home.bot() as bot:
        await tell_by(home, "reply")
        first = await cem.post(images, sample("umbrella"))
        await home.indexed(first)
        told = await notice_of(cem, await dora.post(images, sample("umbrella")))
        await bot.services.repost_notices.settled()
        await bot.services.replies._store.drop(int(told.message["id"]))  # as a kill at that moment leaves it
    async with home.bot():
        await cem.remove(first)
        await cem.event("MESSAGE_DELETE", lambda one: one["id"] == told.message["id"])


async def test_no_notice_tells_of_what_any_reader_could_not_see(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply")
    hidden = await cem.post(home.channel("regulars"), sample("umbrella"))
    adult = await cem.post(home.channel("after-dark"), sample("rocket"))
    await home.indexed(hidden, adult)
    assert await noticed(home, await dora.post(images, sample("umbrella"))) == []
    assert await noticed(home, await dora.post(images, sample("rocket"))) == []
    await tell_by(home, "reply", "regulars")
    told = await notice_of(cem, await cem.post(home.channel("regulars"), sample("rocket")))
    assert "rocket" not in told.words


async def test_a_spoiler_is_told_of_neither_as_the_new_picture_nor_as_the_earlier_one(
    home: House, bot: MagpieBot
) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply")

    async def covered(who: Member, scene: str) -> dict[str, Any]:
        upload = await who.upload(images, sample(scene), "SPOILER_it.png")
        return await who.say(images, attachments=[{**upload, "id": "0"}])

    await home.indexed(await cem.post(images, sample("umbrella")), await covered(cem, "rocket"))
    assert await noticed(home, await covered(dora, "umbrella")) == []
    assert await noticed(home, await dora.post(images, sample("rocket"))) == []


async def test_a_notice_goes_when_the_picture_becomes_a_spoiler(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply")
    first = await cem.post(images, sample("umbrella"))
    await home.indexed(first)
    told = await notice_of(cem, await dora.post(images, sample("umbrella")))
    await bot.services.repost_notices.settled()
    files = [{"id": first["attachments"][0]["id"], "is_spoiler": True}]
    await cem.ok("PATCH", f"/channels/{images}/messages/{first['id']}", {"attachments": files})
    await cem.event("MESSAGE_DELETE", lambda one: one["id"] == told.message["id"])


async def test_of_an_album_each_repeated_picture_is_told_with_its_number(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply")
    await home.indexed(await cem.post(images, sample("umbrella"), sample("rocket")))
    told = await notice_of(cem, await dora.post(images, sample("rocket"), sample("panda"), sample("umbrella")))
    first, second = told.words.splitlines()
    assert first.startswith(f"{REPOST_EMOJI} Picture 1: ")
    assert second.startswith(f"{REPOST_EMOJI} Picture 3: ")


async def test_a_flat_picture_is_like_any_other(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    await tell_by(home, "reply")
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64)).save(buffer, "PNG")
    await home.indexed(await cem.post(images, buffer.getvalue()))
    assert await noticed(home, await dora.post(images, buffer.getvalue())) == []


async def test_what_a_backfill_finds_and_what_is_read_again_is_not_told(home: House) -> None:
    bob, cem, dora = [await home.member(name) for name in ("bob", "cem", "dora")]
    images = home.channel("pictures")
    before = [await who.post(images, sample("umbrella")) for who in (cem, dora)]
    async with home.bot() as bot:
        await tell_by(home, "reply")
        await bob.use(home.nest, images, "magpie", [{"type": SUBCOMMAND, "name": "index", "options": []}])
        assert await noticed(home, *before) == []
        posted = await bob.post(images, sample("umbrella"))
        await notice_of(cem, posted)
        bot.services.indexer.repair([image.id for image in await home.indexed(posted)])
        assert len(await noticed(home, posted)) == 1


async def test_where_the_bot_may_not_answer_everything_else_goes_on(home: House, bot: MagpieBot) -> None:
    ann, cem, dora = [await home.member(name) for name in ("ann", "cem", "dora")]
    images = home.channel("pictures")
    await tell_by(home, "reply")
    await home.indexed(await cem.post(images, sample("umbrella")))
    silent = {"type": 1, "allow": "0", "deny": str(1 << 11)}
    await ann.ok("PUT", f"/channels/{images}/permissions/{home.sandbox.application.bot_id}", silent)
    posted = await dora.post(images, sample("umbrella"))
    assert await noticed(home, posted) == []
    other = await dora.post(images, sample("rocket"))
    await home.indexed(other)
    assert (await cem.find(home.nest, images, "a rocket")).ids == [other["id"]]
