"""A backup of the running bot, restored by the command: nothing that was deleted since is found at any time."""

from __future__ import annotations

import asyncio
import os
import sys

from bot.i18n import ENGLISH
from sandbox.faults import Fault
from tests.e2e.harness import ROOT, House, sample, settings_for, until
from tests.e2e.member import button

FAILS_AT_ONCE = 404  # without a code: nothing is known of the channel. discord.py repeats a request that got 500


async def command(home: House, *arguments: str) -> str:
    """`python -m bot` with these arguments and without a token; returns what it says."""
    settings = settings_for(home.sandbox, home.directory) | {"DISCORD_TOKEN": ""}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *arguments),
        cwd=home.directory,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_a_restored_backup_shows_what_still_exists_and_nothing_that_was_deleted_since(home: House) -> None:
    ann, bob, cem = await home.member("ann"), await home.member("bob"), await home.member("cem")
    images, words = home.channel("pictures"), {"panda": "a panda", "rocket": "a rocket", "octopus": "an octopus"}
    async with home.bot():
        stays, forgotten = await ann.post(images, sample("rocket")), await cem.post(images, sample("panda"))
        deleted, later = await bob.post(images, sample("octopus")), await bob.post(images, sample("octopus") + b"again")
        await home.indexed(stays, forgotten, deleted, later)
        assert "holds 4 images" in await command(home, "backup", "copy")
        asked = await cem.ask_to_be_forgotten(home.nest, images)
        await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:forget:"))
        await bob.remove(deleted)
        await home.forgotten(forgotten, deleted)
        since = await ann.post(images, sample("umbrella"))
        await home.indexed(since)
    await bob.remove(later)  # nobody hears of it but Discord
    assert "Restored 2 images" in await command(home, "restore", "copy")
    gone = {forgotten["id"], deleted["id"], later["id"]}

    async def found() -> set[str]:
        """Whatever is found by any words."""
        answers = [await ann.find(home.nest, images, query) for query in (*words.values(), "an umbrella")]
        ids = {id_ for answer in answers for id_ in answer.ids}
        assert not ids & gone
        return ids

    held = home.sandbox.faults.add(Fault("delay", path="/channels/*/messages", times=None, seconds=2.0))
    async with home.bot():

        async def everything_that_exists() -> bool:
            return await found() == {stays["id"], since["id"]}

        await until(everything_that_exists, "what still exists is found")
        assert held.triggered
        assert {image.ref.message_id for image in await home.kept()} == {int(stays["id"]), int(since["id"])}
        assert (await ann.find(home.nest, images, "a rocket")).ids == [stays["id"]]


async def test_an_answer_before_the_comparison_says_why_nothing_is_found(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)
    await command(home, "backup", "copy")
    await command(home, "restore", "copy")
    outage = home.sandbox.faults.add(
        Fault("server_error", path="/channels/*/messages", times=None, status=FAILS_AT_ONCE)
    )
    async with home.bot(caught_up=False):  # catch-up reads the same histories
        for only in (None, images):
            answer = await ann.find(home.nest, images, "a panda", only=only)
            assert ENGLISH.search.unverified in answer.words.splitlines()
        outage.times = 0

        async def found() -> bool:
            return (await ann.find(home.nest, images, "a panda")).ids == [posted["id"]]

        await until(found, "the picture is found once Discord answers")
