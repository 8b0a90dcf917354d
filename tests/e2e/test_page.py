"""The page in a real browser, against what `make run` starts: the sandbox, and the real bot as its own process."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.i18n import ENGLISH
from bot.models import Asked, TaggingMode
from tests.sandbox_page.browser import open_browser, why_not
from tests.sandbox_page.visitor import PATIENCE_S, Visitor

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "clipcore" / "bundled" / "model.safetensors"
SCREENSHOT = ROOT / "artifacts" / "page.png"
REACTION = 3
"""The place of `reaction` among the choices of /tagging."""
CAT, APPLE, PANDA = "a cat on a sofa", "a red apple", "a panda"

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=f"the page cannot be clicked through: {why_not()}"),
]


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[str]:
    """`python -m sandbox`, as `make run` starts it; gives the address that it tells people to open."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", *arguments]
    cache = tempfile.TemporaryDirectory()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": cache.name},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with asyncio.timeout(120):
            async for line in process.stdout:
                said.append(line.decode())
                found = re.search(r"Open (http://\S+) in your browser", said[-1])
                if found:
                    break
            else:
                raise AssertionError(f"it ended by itself: {''.join(said)}")
        drain = asyncio.create_task(process.stdout.read())
        yield found[1] + "/"
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
        await drain
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        cache.cleanup()


@pytest.mark.skipif(not MODEL.is_file(), reason="the bundled model is not there")
async def test_a_visitor_posts_finds_compares_deletes_and_sees_with_other_eyes() -> None:
    async with running("--empty") as url, open_browser() as browser:
        visitor = await Visitor.arrive(browser, url)
        await visitor.page.locator("#bot-status[data-state=online]").wait_for()

        # A moderator wants to see the tags; Ann posts, and the bot tags by itself.
        await visitor.be("bob")
        assert (
            ENGLISH.tagging.modes[TaggingMode.REACTION]
            in (await visitor.command_with_choice("tagging", "mode", REACTION)).words
        )
        await visitor.be("ann")
        cat = await visitor.post_scene(CAT)
        await visitor.post_scene(CAT)
        apple = await visitor.post_scene(APPLE)
        await visitor.message(apple).locator(".reaction").first.wait_for()

        # Found by words, in two languages; the page itself in Chinese.
        async with asyncio.timeout(PATIENCE_S):
            while (found := await visitor.find(CAT)).images[:1] != [CAT]:
                pass
        # The tour has noticed what was done.
        for step in ("find", "post", "switch"):
            assert await visitor.page.locator(f"#tour li[data-step={step}].done").count() == 1
        SCREENSHOT.parent.mkdir(exist_ok=True)
        await visitor.screenshot(str(SCREENSHOT))
        await visitor.page.locator("[data-language=zh]").click()
        in_chinese = await visitor.find("红苹果")
        assert in_chinese.images[0] == APPLE
        await visitor.page.locator("[data-language=en]").click()

        # Found by likeness: from a result, and from the message's menu.
        assert (await visitor.choose(found, 1)).images[0] == CAT
        assert (await visitor.similar_to(cat)).images[0] == CAT

        # A result leads to its message.
        await visitor.message(found.message_id).get_by_role("link", name="Open message").first.click()
        await visitor.page.locator(".message.flash").wait_for()

        # What is deleted is not found again, and what was never there neither.
        await visitor.delete(apple)
        async with asyncio.timeout(PATIENCE_S):
            while APPLE in (await visitor.find(APPLE)).images:
                pass
        nothing = await visitor.find("a guitar next to a drum")
        assert nothing.images == []
        assert ENGLISH.search.no_matches[Asked.WORDS] in nothing.words

        # The regulars' room: Cem finds what is in it, Dora neither sees the room nor its images.
        await visitor.be("cem")
        await visitor.open_channel("regulars")
        panda = await visitor.post_scene(PANDA)
        await visitor.open_channel("pictures")
        async with asyncio.timeout(PATIENCE_S):
            while PANDA not in (await visitor.find(PANDA)).images:
                pass
        await visitor.be("dora")
        await visitor.channels().first.wait_for()
        assert await visitor.page.locator(".channel[data-channel=regulars]").count() == 0
        assert PANDA not in (await visitor.find(PANDA)).images
        assert await visitor.message(panda).count() == 0

        assert visitor.complaints == []


async def test_the_page_fits_a_telephone() -> None:
    async with running("--no-bot", "--empty") as url, open_browser() as browser:
        visitor = await Visitor.arrive(browser, url)
        await visitor.page.set_viewport_size({"width": 390, "height": 800})
        await visitor.page.locator(".member[aria-pressed=true]").wait_for()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await visitor.page.evaluate(overflow) == 0
        await visitor.page.get_by_role("button", name="Show channels").click()
        await visitor.open_channel("chat")
        await visitor.post_scene(CAT)
        assert await visitor.page.evaluate(overflow) == 0
        assert visitor.complaints == []
