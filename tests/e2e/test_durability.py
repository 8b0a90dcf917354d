"""What must survive: a killed process, a pause, an outage, a stumbling Discord. Nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.models import ImageState
from sandbox.faults import Fault
from tests.e2e.harness import House, captions, kill, reading, sample, until

UPLOADS = 50
SCENES = ("panda", "rocket", "octopus", "bicycle", "sailboat", "umbrella", "sunflower", "red-apple")


def different(number: int) -> bytes:
    """An image with bytes of its own: what follows a PNG's end is no part of what it shows."""
    return sample(SCENES[number % len(SCENES)]) + number.to_bytes(4)


async def states(home: House, posted: list[dict[str, Any]]) -> list[list[ImageState]]:
    """The state of every image kept of each message."""
    async with reading(home.directory) as store:
        return [[image.state for image in await store.by_message(int(one["id"]))] for one in posted]


async def test_a_kill_in_the_middle_of_fifty_uploads_loses_nothing_and_doubles_nothing(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    posted: list[dict[str, Any]] = []

    async def some_but_not_all_ready() -> bool:
        ready = [one for one in await states(home, posted) if one == [ImageState.READY]]
        return 0 < len(ready) < UPLOADS

    async with home.bot_process() as process:
        await until_connected_and_marked(home)
        home.sandbox.faults.add(slow_downloads())
        sending = asyncio.create_task(send(ann, images, posted))
        await until(some_but_not_all_ready, "the first uploads are remembered")
        await kill(process)
        await sending  # people go on posting while nobody listens
    home.sandbox.faults.clear()

    async def each_ready_once() -> bool:
        return await states(home, posted) == [[ImageState.READY]] * UPLOADS

    async with home.bot_process():
        await until(each_ready_once, "all fifty are remembered, each once")


def slow_downloads() -> Fault:
    """So that a kill is sure to come in the middle."""
    return Fault("delay", path="/attachments/*", times=None, seconds=0.3, bots_only=False)


async def send(member: Any, channel_id: int, posted: list[dict[str, Any]]) -> None:
    for number in range(UPLOADS):
        posted.append(await member.post(channel_id, different(number)))


async def until_connected_and_marked(home: House) -> None:
    """Until the bot has noted where each channel stands, so that what follows is new to it."""

    async def marked() -> bool:
        from bot.store.database import Database
        from bot.store.guilds import ChannelStore

        database = await Database.open(home.directory / "magpie.sqlite3")
        try:
            return await ChannelStore(database).last_seen(home.channel("pictures")) is not None
        finally:
            await database.close()

    await until(marked, "the channel's mark is set")


async def test_what_was_posted_while_the_bot_was_away_is_found_when_it_is_back(home: House) -> None:
    ann, images, cats = await home.member("ann"), home.channel("pictures"), home.channel("cats only")
    async with home.bot():
        await home.indexed(await ann.post(images, sample("rocket")))
    meanwhile = [await ann.post(images, sample("panda")), await ann.post(cats, sample("octopus"))]
    made = await ann.ok("POST", f"/guilds/{home.nest}/channels", {"name": "new", "type": 0})
    meanwhile.append(await ann.post(made["id"], sample("umbrella")))
    gone = await ann.post(images, sample("bicycle"))
    await ann.remove(gone)
    async with home.bot():
        await home.indexed(*meanwhile)
        for name, message in zip(("panda", "octopus", "umbrella"), meanwhile, strict=True):
            assert (await ann.find(home.nest, images, captions(name)[0])).ids[0] == message["id"]
        assert gone["id"] not in (await ann.find(home.nest, images, captions("bicycle")[0])).ids
    assert await states(home, [gone]) == [[]]


async def test_what_was_pending_when_the_bot_stopped_is_finished_when_it_is_back(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot() as bot:
        stuck = home.sandbox.faults.add(Fault("delay", path="/attachments/*", times=None, seconds=30, bots_only=False))
        posted = await ann.post(images, sample("panda"))

        async def accepted() -> bool:
            return bool(await bot.services.images.by_message(int(posted["id"]))) and stuck.triggered > 0

        await until(accepted, "the picture is pending, its download under way")
    home.sandbox.faults.clear()
    assert await states(home, [posted]) == [[ImageState.PENDING]]
    async with home.bot():
        await home.indexed(posted)


async def test_an_outage_of_a_server_loses_nothing(home: House) -> None:
    ann, images, guild = await home.member("ann"), home.channel("pictures"), home.sandbox.guild("The Nest")
    async with home.bot() as bot:
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)
        home.sandbox.outage(guild)
        await until(lambda: _unavailable(bot, guild.id, True), "the bot hears of the outage")
        assert await states(home, [posted]) == [[ImageState.READY]]
        home.sandbox.outage(guild, over=True)
        await until(lambda: _unavailable(bot, guild.id, False), "the bot hears of its end")
        assert (await ann.find(home.nest, images, "a panda")).ids == [posted["id"]]


async def _unavailable(bot: Any, guild_id: int, wanted: bool) -> bool:
    guild = bot.get_guild(guild_id)
    return guild is not None and bool(guild.unavailable) is wanted


async def test_a_server_that_removed_the_bot_while_it_was_down_is_forgotten_at_the_next_start(home: House) -> None:
    ann, images, guild = await home.member("ann"), home.channel("pictures"), home.sandbox.guild("The Nest")
    async with home.bot():
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)
    home.sandbox.remove_bot(guild)
    async with home.bot():
        await home.forgotten(posted)


async def test_channels_and_threads_deleted_while_the_bot_was_down_are_forgotten_and_archived_ones_stay(
    home: House,
) -> None:
    ann, bob = await home.member("ann"), await home.member("bob")
    images, chat, cats = map(home.channel, ("pictures", "chat", "cats only"))
    async with home.bot() as bot:
        new = await bob.ok("POST", f"/channels/{images}/threads", {"name": "old cats", "type": 11})
        in_channel, in_thread, in_archived = (
            await ann.post(chat, sample("rocket")),
            await ann.post(cats, sample("panda")),
            await bob.post(new["id"], sample("octopus")),
        )
        await home.indexed(in_channel, in_thread, in_archived)
        assert {chat, cats, int(new["id"])} <= {
            place.channel_id for place in await bot.services.images.searchable_channels(home.nest)
        }
    for deleted in (chat, cats):
        await bob.ok("DELETE", f"/channels/{deleted}")
    await bob.ok("PATCH", f"/channels/{new['id']}", {"archived": True})
    async with home.bot():
        await home.forgotten(in_channel, in_thread)
        assert (await ann.find(home.nest, images, "an octopus")).ids == [in_archived["id"]]


async def test_a_message_deleted_while_its_image_is_read_never_comes_back(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot() as bot:
        slow = home.sandbox.faults.add(Fault("delay", path="/attachments/*", seconds=1.0, bots_only=False))
        posted = await ann.post(images, sample("panda"))

        async def under_way() -> bool:
            return slow.triggered > 0

        await until(under_way, "the download is under way")
        await ann.remove(posted)
        await home.forgotten(posted)
        await bot.services.indexer.settled()
        assert await states(home, [posted]) == [[]]
        assert (await ann.find(home.nest, images, "a panda")).ids == []


async def test_events_that_come_twice_count_once(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot() as bot:
        home.sandbox.faults.add(Fault("double_event", event="MESSAGE_*", times=None))
        posted = [await ann.post(images, different(number)) for number in range(3)]
        await home.indexed(*posted)
        await bot.services.indexer.settled()
        assert await states(home, posted) == [[ImageState.READY]] * 3
        await ann.remove(posted[0])
        await home.forgotten(posted[0])
        assert await states(home, posted) == [[], [ImageState.READY], [ImageState.READY]]


async def test_a_broken_connection_is_resumed_and_misses_nothing(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        await home.sandbox.drop_gateway()
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)


async def test_a_session_that_cannot_be_resumed_is_caught_up_on(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        await home.indexed(await ann.post(images, sample("rocket")))
        home.sandbox.faults.add(Fault("lost_event", event="MESSAGE_CREATE"))
        unheard = await ann.post(images, sample("panda"))
        await home.sandbox.invalidate_session()
        await home.indexed(unheard)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("server_error", path="/attachments/*", bots_only=False),
        Fault("drop", path="/attachments/*", bots_only=False),
        Fault("rate_limit", method="GET", path="/channels/*"),
        Fault("server_error", method="GET", path="/channels/*", status=502),
        Fault("rate_limit", method="PATCH", path="/webhooks/*", bots_only=False),
    ],
    ids=lambda fault: f"{fault.kind} {fault.path}",
)
async def test_temporary_errors_of_discord_are_retried(home: House, fault: Fault) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        armed = home.sandbox.faults.add(Fault(**{name: getattr(fault, name) for name in _FIELDS}))
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)
        assert (await ann.find(home.nest, images, "a panda")).ids == [posted["id"]]
        assert armed.triggered == 1


_FIELDS = ("kind", "method", "path", "times", "status", "bots_only")


async def test_a_start_that_discord_slows_down_succeeds(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    slowed = home.sandbox.faults.add(Fault("rate_limit", method="PUT", path="/applications/*"))
    async with home.bot():
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)
    assert slowed.triggered == 1


# -- what happened to messages that were known before


async def test_what_happened_to_known_messages_while_the_bot_was_killed_counts(home: House) -> None:
    cem, bob = await home.member("cem"), await home.member("bob")
    images = home.channel("pictures")
    async with home.bot_process() as process:
        await until_connected_and_marked(home)
        gone, edited = (
            await cem.post(images, sample("rocket")),
            await cem.post(images, sample("panda"), sample("octopus")),
        )
        linked = await bob.say(images, f"look {home.sandbox.url}/sandbox/samples/umbrella.png", flags=SUPPRESS_EMBEDS)
        last = await cem.post(images, sample("bicycle"))

        async def all_known() -> bool:
            found = await states(home, [gone, edited, last])
            return [image for one in found for image in one] == [ImageState.READY] * 4

        await until(all_known, "the pictures are remembered")
        await kill(process)
    await cem.remove(gone)
    await cem.remove(last)
    kept = edited["attachments"][1]["id"]
    await cem.ok("PATCH", f"/channels/{images}/messages/{edited['id']}", {"attachments": [{"id": kept}]})
    await bob.ok("PATCH", f"/channels/{images}/messages/{linked['id']}", {"flags": 0})  # the preview comes now

    async def compared() -> bool:
        return await states(home, [gone, edited, linked, last]) == [[], [ImageState.READY], [ImageState.READY], []]

    async with home.bot_process():
        await until(compared, "what was deleted is forgotten, and the preview is indexed")
    async with reading(home.directory) as store:
        assert [str(image.ref.attachment_id) for image in await store.by_message(int(edited["id"]))] == [kept]


SUPPRESS_EMBEDS = 1 << 2


async def test_a_thread_with_a_parked_image_only_is_forgotten_when_it_is_deleted_meanwhile(home: House) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    new = await bob.ok("POST", f"/channels/{images}/threads", {"name": "broken", "type": 11})
    async with home.bot():
        posted = await bob.post(new["id"], b"\x89PNG\r\n\x1a\n, and that is all of it")

        async def parked() -> bool:
            return await states(home, [posted]) == [[ImageState.PARKED]]

        await until(parked, "the picture is given up")
    await bob.ok("DELETE", f"/channels/{new['id']}")
    async with home.bot():
        await home.forgotten(posted)


async def test_a_thread_that_is_archived_again_in_the_meantime_is_caught_up_on_and_compared(home: House) -> None:
    """Also one of a forum, and one in which no picture had been posted before."""
    bob, images = await home.member("bob"), home.channel("pictures")
    new = await bob.ok("POST", f"/channels/{images}/threads", {"name": "old cats", "type": 11})
    empty = await bob.ok("POST", f"/channels/{images}/threads", {"name": "no cats", "type": 11})
    cats = home.channel("cats only")
    async with home.bot():
        gone, stays = await bob.post(new["id"], sample("rocket")), await bob.post(new["id"], sample("panda"))
        in_post = await bob.post(cats, sample("bicycle"))
        await bob.say(empty["id"], "nothing to see here")
        await home.indexed(gone, stays, in_post)
    await bob.remove(gone)
    await bob.remove(in_post)
    missed = [await bob.post(place, sample("octopus")) for place in (new["id"], empty["id"], cats)]
    for archived in (new["id"], empty["id"], cats):
        await bob.ok("PATCH", f"/channels/{archived}", {"archived": True})
    async with home.bot() as bot:
        await home.indexed(stays, *missed)
        await home.forgotten(gone, in_post)
        [found] = (await bob.find(home.nest, images, captions("octopus")[0])).ids  # the same picture shows once
        assert found in [one["id"] for one in missed]
        assert {await bot.services.channels.last_seen(int(one["channel_id"])) for one in missed} == {
            int(one["id"]) for one in missed
        }


async def test_while_a_right_is_lost_nothing_is_lost_and_everything_is_read_when_it_returns(home: House) -> None:
    ann, cem = await home.member("ann"), await home.member("cem")
    chat, own = home.channel("chat"), home.sandbox.application_id
    hidden = f"/channels/{chat}/permissions/{own}"
    async with home.bot() as bot:
        download = home.sandbox.faults.add(Fault("server_error", path="/attachments/*", times=None, bots_only=False))
        before = await cem.post(chat, sample("panda"))

        async def begun() -> bool:
            return download.triggered > 0

        await until(begun, "the picture cannot be downloaded")
        await ann.ok("PUT", hidden, {"type": 1, "allow": "0", "deny": str(1 << 10)})

        async def forbidden() -> bool:
            [image] = await bot.services.images.by_message(int(before["id"]))
            return image.reason == "forbidden"

        await until(forbidden, "the bot is refused the picture")
        meanwhile = await cem.post(chat, sample("rocket"))
        home.sandbox.faults.clear()
        [image] = await bot.services.images.by_message(int(before["id"]))
        await bot.services.images.park(image.id, "forbidden")
        await ann.ok("DELETE", hidden)
        await home.indexed(before, meanwhile)
        await bot.services.catch_up.finished()
        assert (await states(home, [before, meanwhile])) == [[ImageState.READY]] * 2
