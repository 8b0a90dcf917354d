"""/magpie index: what was posted before the bot joined becomes searchable, while everything else goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.models import BackfillState
from sandbox.faults import Fault
from tests.e2e.harness import House, kill, sample, until
from tests.e2e.member import CHANNEL, STRING, Member, Reply, button

WORDING = ENGLISH.backfill
DONE = WORDING.heading[BackfillState.DONE].format(place=WORDING.server)
THOROUGH = (STRING, "thorough")


async def notice(member: Member, since: int = 0) -> Reply:
    """The message that shows the progress."""
    return await member.message(
        lambda seen: any(b["custom_id"] == "magpie:backfill_cancel" for b in buttons(seen)), since
    )


def buttons(message: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [row for row in message.get("components") or [] if row["type"] == 1]
    return [one for row in rows for one in row["components"]]


async def ended(member: Member, shown: Reply, heading: str = DONE) -> Reply:
    return await member.seen_as(shown.message, lambda seen: seen.words.startswith(heading))


def hurry(bot: MagpieBot) -> None:
    bot.services.backfills.pause_s = 0.01


def counts(found: int, done: int | None = None, failed: int = 0) -> str:
    numbers = {"found": found, "done": found if done is None else done, "waiting": 0, "failed": failed}
    return WORDING.counts.format(**numbers)


async def before(home: House) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Pictures from before the bot was there, in channels of every kind; and a message without one."""
    ann, cem = await home.member("ann"), await home.member("cem")
    cats = home.channel("cats only")
    posted = [
        await cem.post(home.channel("pictures"), sample("panda"), sample("rocket")),
        await cem.post(home.channel("chat"), sample("octopus")),
        await cem.post(cats, sample("red-apple")),
        await ann.post(home.channel("after-dark"), sample("bicycle")),
        await ann.post(home.channel("party planning"), sample("sailboat")),
        await ann.post(home.channel("Hangout"), sample("sunflower")),
    ]
    text = await cem.say(home.channel("chat"), "nothing to see")
    await cem.ok("PATCH", f"/channels/{cats}", {"archived": True})
    return posted, text


@pytest.mark.parametrize("mode", ["quick", "thorough"])
async def test_a_whole_server_is_indexed_with_its_archived_threads_and_everything_is_found(
    home: House, mode: str
) -> None:
    posted, _ = await before(home)
    hidden = await (await home.member("bob")).post(home.channel("moderators"), sample("panda"))
    async with home.bot() as bot:
        hurry(bot)
        bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
        assert (await cem.find(home.nest, chat, "a panda")).ids == []
        told = await bob.magpie(home.nest, chat, "index", mode=(STRING, mode))
        assert told.private
        assert told.words == WORDING.began_here
        seen = await ended(cem, await notice(cem))
        assert counts(7) in seen.words
        assert buttons(seen.message) == []
        await home.indexed(*posted)
        assert (await cem.find(home.nest, chat, "a panda")).ids == [posted[0]["id"]]
        assert (await cem.find(home.nest, chat, "a red apple")).ids == [posted[2]["id"]]
        assert await bot.services.images.by_message(int(hidden["id"])) == [], "the bot may not read that channel"
        assert not cem.count("MESSAGE_REACTION_ADD")

        since = len(cem.events)
        again = await bob.magpie(home.nest, chat, "index", mode=(STRING, mode))
        assert again.words == WORDING.began_here
        assert counts(7) in (await ended(cem, await notice(cem, since))).words, "known ones are found again"
    assert len(await home.kept()) == 7


async def test_one_channel_with_its_threads_is_indexed_and_no_other(home: House) -> None:
    posted, _ = await before(home)
    async with home.bot() as bot:
        hurry(bot)
        bob, images = await home.member("bob"), home.channel("pictures")
        await bob.magpie(home.nest, home.channel("chat"), "index", channel=(CHANNEL, str(images)), mode=THOROUGH)
        heading = WORDING.heading[BackfillState.DONE].format(place=f"<#{images}>")
        assert counts(4) in (await ended(bob, await notice(bob), heading)).words
        await home.indexed(posted[0], posted[2], posted[4])
    assert len(await home.kept()) == 4


async def test_a_kill_in_the_middle_loses_nothing_doubles_nothing_and_its_message_goes_on(home: House) -> None:
    cem, bob, chat = await home.member("cem"), await home.member("bob"), home.channel("chat")
    posted = [await cem.post(chat, sample("panda"), text=str(number)) for number in range(12)]
    talk = [await cem.say(chat, "…") for _ in range(150)]
    posted += [await cem.post(chat, sample("rocket"), text=str(number)) for number in range(6)]
    gone = posted.pop(3)
    file = home.directory / "magpie.sqlite3"

    def stored() -> list[int]:
        with closing(sqlite3.connect(file, timeout=60)) as database:
            return [id_ for (id_,) in database.execute("SELECT message_id FROM images ORDER BY message_id")]

    async def some() -> bool:
        return bool(stored())

    async with home.bot_process() as process:
        await bob.magpie(home.nest, chat, "index", mode=THOROUGH)
        shown = await notice(bob)
        await until(some, "the first page is read")
        await kill(process)
    assert len(stored()) < len(posted)
    await cem.remove(gone)
    async with home.bot_process():
        seen = await ended(bob, shown)
    assert stored() == sorted(int(one["id"]) for one in posted)
    assert counts(len(posted)) in seen.words
    messages = len(talk) + len(posted)
    assert WORDING.messages.format(count=messages) in seen.words


FAULTS = [
    [Fault("rate_limit", path="/guilds/*/messages/search", seconds=0.3, times=2)],
    [Fault("rate_limit", path="/channels/*/messages", method="GET", seconds=0.3, scope="shared", times=2)],
    [Fault("server_error", path="/guilds/*/messages/search", status=503, times=1)],
    [Fault("server_error", path="/channels/*/threads/archived/*", status=500, times=1)],
    [Fault("drop", path="/guilds/*/messages/search", times=2)],
    [Fault("not_indexed", times=2, seconds=0.2), Fault("short_page", times=2)],
]


@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: faults[0].kind + faults[0].path)
async def test_a_discord_in_trouble_costs_time_and_no_picture(home: House, faults: Sequence[Fault]) -> None:
    posted, _ = await before(home)
    async with home.bot() as bot:
        hurry(bot)
        bob = await home.member("bob")
        for fault in faults:
            fault.triggered = 0
            home.sandbox.faults.add(fault)
        await bob.magpie(home.nest, home.channel("chat"), "index")
        assert counts(7) in (await ended(bob, await notice(bob))).words
        assert all(fault.triggered for fault in faults) or faults[0].method == "GET"
        await home.indexed(*posted)


async def test_where_discord_refuses_a_search_every_message_is_read_and_the_message_says_so(home: House) -> None:
    posted, _ = await before(home)
    home.sandbox.faults.add(Fault("server_error", path="/guilds/*/messages/search", status=403, times=None))
    async with home.bot() as bot:
        hurry(bot)
        bob = await home.member("bob")
        await bob.magpie(home.nest, home.channel("chat"), "index")
        seen = await ended(bob, await notice(bob))
        assert WORDING.reads_history in seen.words
        assert counts(7) in seen.words
        await home.indexed(*posted)


async def test_those_who_manage_the_server_pause_resume_and_cancel_it_and_others_do_not(home: House) -> None:
    await before(home)
    async with home.bot() as bot:
        bob, ann, cem, chat = *[await home.member(name) for name in ("bob", "ann", "cem")], home.channel("chat")
        bot.services.backfills.pause_s = 0.3
        await bob.magpie(home.nest, chat, "index", mode=THOROUGH)
        shown = (await notice(cem)).message
        refused = await cem.press(home.nest, shown, button(shown, "magpie:backfill_pause"))
        assert refused.private
        assert "Manage Server" in refused.words

        async def press(member: Member, message: dict[str, Any], name: str, state: BackfillState) -> Reply:
            heading = WORDING.heading[state].format(place=WORDING.server)
            pressed = button(message, f"magpie:backfill_{name}")
            return await member.press_and_see_it_change(
                home.nest, shown, pressed, lambda seen: seen.words.startswith(heading)
            )

        paused = await press(ann, shown, "pause", BackfillState.PAUSED)
        busy = await ann.magpie(home.nest, chat, "index")
        assert busy.private
        assert busy.words.startswith(WORDING.already_running)
        going = await press(bob, paused.message, "resume", BackfillState.RUNNING)
        cancelled = await press(bob, going.message, "cancel", BackfillState.CANCELLED)
        assert buttons(cancelled.message) == []


async def test_where_the_bot_may_not_write_the_answer_shows_the_progress(home: House) -> None:
    await before(home)
    async with home.bot() as bot:
        hurry(bot)
        bob, place = await home.member("bob"), home.channel("announcements")
        told = await bob.magpie(home.nest, place, "index")
        assert told.private
        assert counts(7) in (await ended(bob, told)).words


async def test_live_pictures_are_found_while_a_backfill_goes_on_and_are_told_of_once(home: House) -> None:
    await before(home)
    async with home.bot() as bot:
        bot.services.backfills.pause_s = 0.2
        bob, cem, chat = await home.member("bob"), await home.member("cem"), home.channel("chat")
        await bob.magpie(home.nest, chat, "index", mode=THOROUGH)
        shown = await notice(bob)
        live = await cem.post(chat, sample("guitar-and-drum"))
        [image] = await home.indexed(live)
        assert not image.backfilled
        await ended(bob, shown)
    assert len(await home.kept()) == 8
