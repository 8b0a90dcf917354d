"""Words inside pictures, from end to end: what is written in a picture is found where a moderator wants that, by those
who may see the picture, for as long as it is there.
"""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from bot.logging import formatter
from clipcore.recognition import RECOGNIZES_TEXT
from tests.e2e.harness import House, until
from tests.e2e.member import Member, button
from tests.e2e.test_moderation import confirmed
from tests.written_images import IN_CHINESE, written

pytestmark = pytest.mark.skipif(not RECOGNIZES_TEXT, reason="the extra `ocr` is not installed")
TEXTS = ENGLISH.settings
FILE = 13


@pytest.fixture(autouse=True)
def hasty(bot: MagpieBot) -> None:
    """Reads without the pauses that spare Discord."""
    bot.services.text_reader.pause_s = 0.0


async def switched(home: House, *, on: bool) -> None:
    bob, chat = await home.member("bob"), home.channel("chat")
    page = await bob.magpie(home.nest, chat, "settings")
    assert (TEXTS.words_not_read if on else TEXTS.words_read) in page.words
    changed = await confirmed(home, bob, page, f"settings_words:@{bob.id}:{'on' if on else 'off'}")
    assert (TEXTS.words_read if on else TEXTS.words_not_read) in changed.words


async def finds(home: House, member: Member, words: str, *expected: dict[str, object]) -> None:
    """Waits until the member finds these messages by what is written in their pictures."""

    async def found() -> bool:
        answer = await member.find(home.nest, home.channel("chat"), words)
        by_words = [hit.message_id for hit in answer.hits if ENGLISH.search.written in hit.words]
        return {*by_words} == {message["id"] for message in expected}

    await until(found, f"exactly the pictures with {words!r} are found")


async def test_a_picture_is_found_by_its_words_in_two_languages_until_it_is_deleted(
    home: House, bot: MagpieBot, caplog: pytest.LogCaptureFixture
) -> None:
    for ours in ("bot", "clipcore"):
        caplog.set_level(logging.DEBUG, ours)
    cem, images = await home.member("cem"), home.channel("pictures")
    before = await cem.post(images, written("Opening hours"))
    await home.indexed(before)
    await finds(home, cem, "opening hours")
    await switched(home, on=True)
    await finds(home, cem, "opening hours", before)
    after = await cem.post(images, IN_CHINESE)
    await finds(home, cem, "营业", after)
    await finds(home, cem, "opening hours", before)
    await cem.remove(before)
    await home.forgotten(before)
    await finds(home, cem, "opening hours")
    await switched(home, on=False)
    await finds(home, cem, "营业")
    assert await bot.services.image_texts.of_images(range(100)) == {}
    lines = [form.format(one).casefold() for one in caplog.records for form in (formatter("text"), formatter("json"))]
    assert lines
    assert [line for line in lines if "opening" in line or "营业" in line] == []


async def test_words_are_found_only_by_those_who_may_see_the_picture(home: House, bot: MagpieBot) -> None:
    bob, dora = await home.member("bob"), await home.member("dora")
    await switched(home, on=True)
    hidden = await bob.post(home.channel("regulars"), written("Opening hours"))
    await finds(home, bob, "opening hours", hidden)
    status = await bob.magpie(home.nest, home.channel("chat"), "status")
    assert ENGLISH.status.unread.format(1) not in status.words
    await finds(home, dora, "opening hours")


async def test_words_are_exported_and_go_with_who_opts_out(home: House, bot: MagpieBot) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")
    await switched(home, on=True)
    posted = await cem.post(images, written("Opening hours"))
    await finds(home, cem, "opening hours", posted)
    told = await cem.use(home.nest, images, "privacy", [])
    answer = await cem.press(home.nest, told.message, button(told.message, "magpie:privacy_export:"))
    [file] = [part["file"] for part in answer.message["components"] if part["type"] == FILE]
    about = json.loads(await cem.fetched(file["url"]))
    assert [picture["words"] for picture in about["pictures"]] == ["opening hours"]
    asked = await cem.ask_to_be_forgotten(home.nest, images, everywhere=True)
    await cem.press_and_see_it_change(home.nest, asked.message, button(asked.message, "magpie:opt_out:"))
    await home.forgotten(posted)
    assert await bot.services.image_texts.of_images(range(100)) == {}


async def test_the_page_says_in_chinese_what_is_read(home: House, bot: MagpieBot) -> None:
    dora = await home.member("dora")
    assert "文字" in CHINESE.settings.words_read
    told = await dora.use(home.nest, home.channel("pictures"), "privacy", [])
    assert "文字" in told.words


async def test_a_button_of_before_deletes_nothing_where_words_can_no_more_be_read(home: House, bot: MagpieBot) -> None:
    cem, bob, chat = await home.member("cem"), await home.member("bob"), home.channel("chat")
    posted = await cem.post(home.channel("pictures"), written("Opening hours"))
    await home.indexed(posted)
    page = await bob.magpie(home.nest, chat, "settings")
    await switched(home, on=True)
    await finds(home, cem, "opening hours", posted)
    cast(Any, bot.services.text_reader)._recognizer = None
    await confirmed(home, bob, page, f"settings_words:@{bob.id}:on")
    await finds(home, cem, "opening hours", posted)
