"""Every surface of the bot on the page, in both languages: none fails, and the browser has nothing to complain about.

Their pictures go to `artifacts/screens`; `make screens` puts them into the documentation.
"""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from bot.discord_io.messages import REPOST_EMOJI
from bot.i18n import CHINESE, ENGLISH, Texts
from bot.i18n.zh import COMMANDS
from bot.models import RepostNotice
from tests.e2e.test_page import CAT, ROOT, running
from tests.sandbox_page.browser import open_browser, why_not
from tests.sandbox_page.visitor import Answer, Visitor

SCREENS = ROOT / "artifacts" / "screens"
HEIGHT = 1700
"""So that no answer is higher than the window."""
INDEXED = 100
"""Pictures of the demo, or a few more, that Ann may see."""
WORDS = {"en": "a cat on a sofa", "zh": "沙发上的猫"}
FIND = {"en": "find", "zh": "找"}
SHOW_TAGS = {"en": "Show tags", "zh": COMMANDS["Show tags"]}
NONSENSE = "qwrtzplk"

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"the page cannot be clicked through: {why_not()}")


class Photographer:
    """Asks, checks that the answer is no excuse, and keeps what it looks like."""

    def __init__(self, visitor: Visitor, language: str, texts: Texts) -> None:
        self._visitor = visitor
        self._language = language
        self._failed = re.compile(texts.errors.failed.split("{")[0].strip() or "-")

    async def keep(self, name: str, answer: Answer) -> Answer:
        assert not self._failed.search(answer.words), answer.words
        message = self._visitor.message(answer.message_id)
        await self._visitor.page.mouse.move(0, 0)  # a message below it shows its menu
        await self._visitor.loaded()
        self._write(name, await message.screenshot())
        return answer

    async def keep_page(self, name: str) -> None:
        """As a window of an ordinary height shows it."""
        await self._visitor.page.set_viewport_size({"width": 1280, "height": 800})
        await self._visitor.loaded()
        self._write(name, await self._visitor.page.screenshot())
        await self._visitor.page.set_viewport_size({"width": 1280, "height": HEIGHT})

    def _write(self, name: str, png: bytes) -> None:
        path = SCREENS / f"{name}-{self._language}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(png)) as shot:
            shot.convert("RGB").save(path, "WEBP", quality=75, method=4)


@pytest.mark.parametrize(("language", "texts"), [("en", ENGLISH), ("zh", CHINESE)], ids=["English", "Chinese"])
async def test_every_surface_answers_in_this_language(language: str, texts: Texts) -> None:
    words = WORDS[language]
    async with running() as url, open_browser() as browser:
        visitor = await Visitor.arrive(browser, url, height=HEIGHT)
        page, camera = visitor.page, Photographer(visitor, language, texts)
        await page.locator("#bot-status[data-state=online]").wait_for()
        await page.locator(f"[data-language={language}]").click()
        await visitor.be("ann")
        status = await visitor.command("magpie status")
        while await visitor.first_number(status) < INDEXED:
            status = await visitor.command("magpie status")

        found = await camera.keep("find", await visitor.find(words))
        await camera.keep_page("page")
        await camera.keep("find-list", await visitor.press_and_see_it_change(found, texts.search.list_view))
        nothing = await camera.keep("find-nothing", await visitor.find(NONSENSE))
        await camera.keep("find-nearest", await visitor.press_and_see_it_change(nothing, texts.search.show_nearest))
        newest = await camera.keep("browse", await visitor.command("browse"))
        await camera.keep("similar", await visitor.choose(newest, 1))
        await camera.keep("tags", await visitor.command("tags"))
        await camera.keep("map", await visitor.command("map"))
        await camera.keep("help", await visitor.command("help"))
        await camera.keep("privacy", await visitor.command("privacy"))
        for name in ("labels list", "tagging", "magpie status", "magpie settings"):
            await camera.keep(name.replace(" ", "-"), await visitor.command(name))
        reply = [*RepostNotice].index(RepostNotice.REPLY) + 1
        await camera.keep("reposts", await visitor.command_with_choice("reposts choose", "notice", reply))
        await visitor.post_scene(CAT)
        cat = await visitor.post_scene(CAT)
        await camera.keep("repost", await visitor.public_answer(REPOST_EMOJI))
        await camera.keep("show-tags", await visitor.menu_answer(cat, SHOW_TAGS[language]))
        await visitor.say(f"@Magpie {FIND[language]} {words}")
        await camera.keep("mention", await visitor.public_answer(words))
        step = await camera.keep("setup-1", await visitor.command("magpie setup"))
        for number in range(2, 7):
            step = await camera.keep(f"setup-{number}", await visitor.press_and_see_it_change(step, texts.setup.next))
        assert visitor.complaints == [], visitor.complaints
