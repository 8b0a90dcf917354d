"""What a visitor is writing: pictures by button, paste and drop; and it outlives a lost connection."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.server import Sandbox
from tests.sandbox_page.browser import open_browser
from tests.sandbox_page.neighbour import call, say
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import JSHandle

SCENE = next((Path(__file__).parents[2] / "clipcore" / "bundled" / "samples").glob("*.png"))
TRANSFER = """([name, bytes]) => {
  const file = new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], name, { type: "image/png" });
  const transfer = new DataTransfer();
  transfer.items.add(file);
  return transfer;
}"""


@asynccontextmanager
async def at_the_page() -> AsyncIterator[tuple[Sandbox, Visitor]]:
    async with Sandbox.serve() as sandbox, open_browser() as browser:
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        await visitor.open_channel("pictures")
        yield sandbox, visitor
        assert visitor.complaints == []


async def transfer(visitor: Visitor, name: str) -> JSHandle:
    return await visitor.page.evaluate_handle(TRANSFER, [name, base64.b64encode(SCENE.read_bytes()).decode()])


async def test_a_pasted_screenshot_waits_under_a_name_of_its_own_and_is_posted() -> None:
    async with at_the_page() as (_, visitor):
        clipboard = await transfer(visitor, "image.png")
        await visitor.page.evaluate(
            "clipboardData => document.querySelector('#text')"
            ".dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))",
            clipboard,
        )
        waiting = visitor.page.locator(".pending li")
        await waiting.wait_for()
        assert (await waiting.inner_text()).startswith("pasted-")
        await visitor.page.keyboard.type("from the clipboard")
        await visitor.page.keyboard.press("Enter")
        posted = visitor.page.locator(".message", has_text="from the clipboard")
        await posted.locator(".picture img").wait_for()
        assert await waiting.count() == 0


async def test_a_dropped_picture_is_announced_while_it_hovers_and_posted() -> None:
    async with at_the_page() as (_, visitor):
        dragged, chat, zone = await transfer(visitor, "holiday.png"), "#chat", visitor.page.locator("#drop-zone")
        await visitor.page.dispatch_event(chat, "dragover", {"dataTransfer": dragged})
        assert "#pictures" in await zone.inner_text()
        await visitor.page.dispatch_event(chat, "drop", {"dataTransfer": dragged})
        assert not await zone.is_visible()
        await visitor.page.locator(".pending li", has_text="holiday.png").wait_for()
        await visitor.page.locator("#send").click()
        await visitor.page.locator('.message .picture img[alt="holiday.png"]').wait_for()


async def test_of_the_pictures_chosen_by_button_those_taken_away_again_are_not_posted() -> None:
    async with at_the_page() as (_, visitor):
        await visitor.page.locator("#file").set_input_files([SCENE, SCENE])
        await visitor.page.locator(".pending li").nth(1).wait_for()
        await visitor.page.locator(".pending li").first.get_by_role("button").click()
        assert await visitor.page.locator(".pending li").count() == 1
        await visitor.page.locator("#send").click()
        await visitor.page.locator(f'.message .picture img[alt="{SCENE.name}"]').wait_for()


async def test_a_text_and_a_picture_being_written_outlive_a_session_that_is_over() -> None:
    async with at_the_page() as (sandbox, visitor):
        await visitor.page.locator("#text").fill("half a sentence")
        await visitor.page.locator("#file").set_input_files(SCENE)
        await sandbox.invalidate_session()
        await say(sandbox, "bob", "back again")
        await visitor.page.locator(".message", has_text="back again").wait_for()
        assert await visitor.page.locator("#text").input_value() == "half a sentence"
        assert await visitor.page.locator(".pending li").count() == 1
        await visitor.page.locator("[data-language=zh]").click()
        assert await visitor.page.locator("#text").input_value() == "half a sentence"
        await visitor.be("bob")
        assert await visitor.page.locator("#text").input_value() == ""
        assert await visitor.page.locator(".pending li").count() == 0


async def test_a_role_that_may_write_no_more_closes_the_field_at_once() -> None:
    async with at_the_page() as (sandbox, visitor):
        await visitor.be("dora")
        guild = sandbox.guild("The Nest")
        everyone = f"/guilds/{guild.id}/roles/{guild.id}"
        writable = visitor.page.locator("#text:not(:disabled)")
        await writable.wait_for()
        before = guild.roles[guild.id].permissions
        await call(sandbox, "ann", "PATCH", everyone, {"permissions": str(before & ~(1 << 11))})
        await visitor.page.locator("#text:disabled").wait_for()
        await call(sandbox, "ann", "PATCH", everyone, {"permissions": str(before)})
        await writable.wait_for()
