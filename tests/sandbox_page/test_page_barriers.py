"""No barriers on the page, as far as axe-core finds them, in both languages and sizes; and what axe cannot see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.sandbox_page.small_bot import MODAL, SmallBot, button, container, gallery, row, text
from tests.sandbox_page.test_page_components import SORT, TAGS, bot_at_the_page, files, focused
from tests.sandbox_page.test_page_modals import ANIMALS, label, text_input
from tests.sandbox_page.test_page_prompt import SHOW, fill
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import Page

SIZES = {"laptop": {"width": 1280, "height": 720}, "telephone": {"width": 390, "height": 844}}
FIND = {**SHOW, "name": "find"}


async def barriers(page: Page) -> list[str]:
    """What axe-core reports, with the elements that it is about."""
    found = (await Axe().run(page)).response["violations"]
    return [f"{one['id']}: {node['target']} {node['html'][:160]}" for one in found for node in one["nodes"]]


@asynccontextmanager
async def somewhere(size: str, language: str) -> AsyncIterator[tuple[SmallBot, Visitor]]:
    async with bot_at_the_page() as (_, bot, visitor):
        await bot.register(FIND)
        await visitor.page.locator("#tour").wait_for()
        await visitor.page.locator(f"[data-language={language}]").click()
        # What moves has colours of its own for a moment.
        await visitor.page.emulate_media(reduced_motion="reduce")
        await visitor.page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
        yield bot, visitor


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", SIZES)
async def test_axe_finds_no_barrier_anywhere(size: str, language: str) -> None:
    async with somewhere(size, language) as (bot, visitor):
        page = visitor.page
        found: dict[str, list[str]] = {}
        found["the start page, with the tour"] = await barriers(page)
        if size == "telephone":
            await page.locator("#drawer").click()
            found["the channels"] = await barriers(page)
            assert await focused(page) in ("chat, public channel", "chat, 公开频道")
            await page.keyboard.press("Escape")
            assert await page.locator("#drawer[aria-expanded=false]").count() == 1
            assert await page.evaluate("document.activeElement.id") == "drawer"

        await page.locator("#text").click()
        await page.keyboard.type("/")
        await page.locator("#composer > .suggest .suggest-item").first.wait_for()
        found["the menu of commands"] = await barriers(page)
        await page.keyboard.type("find a cat")
        await fill(visitor, "count", "99", "Enter")
        await fill(visitor, "author")
        found["a command with a wrong value and an open list"] = await barriers(page)
        await page.keyboard.press("Escape")
        await page.locator('.prompt-cell[data-option="count"] input').fill("3")
        await page.keyboard.press("Enter")

        shown = files(5)
        answer = container(
            text("## Five pictures\nof a cat"),
            gallery(*shown, spoilers=["scene_2.png"]),
            row(button("Back", "b", disabled=True), button("Next", "n", style=1), button("Forget", "f", style=4)),
            row(SORT),
            row(TAGS),
            accent_color=0x58E0C4,
        )
        await bot.show(await bot.asked(), text("an answer"))
        posted = visitor.message(await bot.post("chat", answer, files=shown))
        await posted.locator("img").first.wait_for()
        found["an answer with a gallery"] = await barriers(page)
        await posted.locator(".picker-face").last.click()
        found["an open select menu"] = await barriers(page)
        await page.keyboard.press("Escape")
        await posted.locator("button.picture-face").first.click()
        found["a picture in full size"] = await barriers(page)
        await page.keyboard.press("Escape")

        await posted.locator(".c-button", has_text="Next").click()
        menu = {"type": 3, "custom_id": "animal", "options": ANIMALS}
        form = [
            label("Name", text_input("name"), description="As members read it"),
            label("Animal", menu),
            label("Files", {"type": 19, "custom_id": "files"}),
            label("One", {"type": 21, "custom_id": "one", "options": ANIMALS}),
        ]
        await bot.answer(await bot.asked(), MODAL, {"custom_id": "form", "title": "A form", "components": form})
        dialog = page.get_by_role("dialog", name="A form")
        await dialog.locator("[type=submit]").click()
        await dialog.get_by_role("alert").first.wait_for()
        found["a form with what is missing"] = await barriers(page)
        assert {place: problems for place, problems in found.items() if problems} == {}


@pytest.mark.parametrize("size", SIZES)
async def test_notices_cover_neither_the_message_box_nor_the_command(size: str) -> None:
    async with somewhere(size, "en") as (_, visitor):
        await visitor.page.evaluate(
            "import('/notices.js').then((m) => [1, 2].map(() => m.notice('a notice', 'error')))"
        )
        await visitor.page.locator("#text").click()
        await visitor.page.keyboard.type("/find a cat")
        for control in (visitor.page.locator(".prompt .run"), visitor.page.locator("#composer")):
            box = await control.bounding_box()
            assert box is not None
            for notice in await visitor.page.locator(".notice").all():
                other = await notice.bounding_box()
                assert other is not None
                assert other["y"] + other["height"] <= box["y"]


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_is_wider_than_the_window(size: str) -> None:
    async with somewhere(size, "zh") as (bot, visitor):
        shown = files(10)
        box = container(gallery(*shown), row(*[button("A longer label", f"{n}") for n in range(5)]), row(SORT))
        await visitor.message(await bot.post("chat", box, files=shown)).locator("img").first.wait_for()
        await visitor.page.locator("#text").click()
        await visitor.page.keyboard.type("/find a cat")
        await visitor.page.locator(".chip", has_text="另有").click()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await visitor.page.evaluate(overflow) == 0
        for part in ("#chat", "#scroller", "#composer", "#tour"):
            wide = await visitor.page.locator(part).evaluate("one => one.scrollWidth - one.clientWidth")
            assert wide <= 0, part


async def test_a_picture_is_found_looked_at_and_put_away_by_keyboard_alone() -> None:
    async with somewhere("laptop", "en") as (bot, visitor):
        page, keys = visitor.page, visitor.page.keyboard
        await page.locator("#text").focus()
        await keys.type("/fi")
        await page.locator("#composer > .suggest .suggest-item").first.wait_for()
        await keys.press("Enter")
        await page.locator("form.prompt").wait_for()
        await keys.type("a cat")
        await keys.press("Enter")
        shown = files(2)
        await bot.show(await bot.asked(), text("found"))
        await page.locator(".message.ephemeral", has_text="found").wait_for()
        await bot.post("chat", gallery(*shown), row(button("Next", "next")), files=shown)
        await page.locator(".gallery").wait_for()

        async def tab_to(name: str) -> None:
            for _ in range(60):
                if await focused(page) == name:
                    return
                await keys.press("Shift+Tab")
            raise AssertionError(f"{name} cannot be reached by keyboard")

        await tab_to("Next")
        await keys.press("Enter")
        await bot.show(await bot.asked(), text("pressed"))
        await tab_to("Open picture: scene 1")
        await keys.press("Enter")
        await page.get_by_role("dialog").wait_for()
        await keys.press("Escape")
        assert await focused(page) == "Open picture: scene 1"
