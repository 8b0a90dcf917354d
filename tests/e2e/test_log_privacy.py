"""What people write, search for and name reaches no log, also where something fails."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from bot.i18n import ENGLISH
from bot.logging import formatter
from tests.e2e.harness import House, sample

WRITTEN = "marzipan"
SOUGHT = "tangerine"
LABELLED = "gooseberry"
FILE = "persimmon"
THREAD = "quince"
WORDS = (WRITTEN, SOUGHT, LABELLED, FILE, THREAD)


async def test_nothing_that_people_write_reaches_the_log_and_an_archived_thread_is_explained(
    home: House, caplog: pytest.LogCaptureFixture
) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    for ours in ("bot", "clipcore"):
        caplog.set_level(logging.DEBUG, ours)
    async with home.bot() as bot:
        upload = await bob.upload(images, sample("panda"), f"{FILE}.png")
        posted = await bob.say(images, WRITTEN, attachments=[upload])
        await home.indexed(posted)
        await bob.find(home.nest, images, SOUGHT)
        await bob.find(home.nest, images, "a panda", exclude=SOUGHT, share=True)
        await bob.ask_by_name(home.sandbox.application_id, images, f"find {SOUGHT}")
        await bob.ask_by_name(home.sandbox.application_id, images, WRITTEN)
        await bob.similar_to_link(home.nest, images, SOUGHT)
        await bob.subcommand(home.nest, images, "labels", "add", label=LABELLED)
        await bob.offered(home.nest, images, "labels", "remove", label=LABELLED)
        await bob.subcommand(home.nest, images, "labels", "remove", label=f"{LABELLED} pie")

        thread = await bob.ok("POST", f"/channels/{images}/threads", {"name": THREAD, "type": 11})
        await bob.ok("PATCH", f"/channels/{thread['id']}", {"archived": True})
        told = await bob.find(home.nest, images, SOUGHT, only=thread["id"])
        assert told.words == ENGLISH.errors.unknown_channel

        bot.services.search = cast(Any, None)  # a failure that nobody foresaw
        failed = await bob.find(home.nest, images, SOUGHT)
        assert failed.words.startswith(ENGLISH.errors.failed.split("{")[0])
    lines = [form.format(one) for one in caplog.records for form in (formatter("text"), formatter("json"))]
    for error in ("TransformerError", "AttributeError"):
        assert any("command failed" in line and error in line and "interaction_id" in line for line in lines)
    assert [line for line in lines if any(word in line.casefold() for word in WORDS)] == []
