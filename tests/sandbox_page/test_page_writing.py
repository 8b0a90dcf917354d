"""The composer: images by button, paste and drop; drafts; the note about the bundled model."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

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
async def at_the_page(bot_model: str | None = None) -> AsyncIterator[tuple[Sandbox, Visitor]]:
    async with Sandbox.serve(bot_model=bot_model) as sandbox, open_browser() as browser:
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        await visitor.open_channel("pictures")
        yield sandbox, visitor
        assert visitor.complaints == []


async def transfer(visitor: Visitor, name: str) -> JSHandle:
    return await visitor.page.evaluate_handle(TRANSFER, [name, base64.b64encode(SCENE.read_bytes()).decode()])


async def test_a_pasted_screenshot_gets_a_file_name_and_is_posted() -> None:
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


async def test_a_dragged_image_shows_the_drop_zone_and_is_posted() -> None:
    async with at_the_page() as (_, visitor):
        dragged, chat, zone = await transfer(visitor, "holiday.png"), "#chat", visitor.page.locator("#drop-zone")
        await visitor.page.dispatch_event(chat, "dragover", {"dataTransfer": dragged})
        assert "#pictures" in await zone.inner_text()
        await visitor.page.dispatch_event(chat, "drop", {"dataTransfer": dragged})
        assert not await zone.is_visible()
        await visitor.page.locator(".pending li", has_text="holiday.png").wait_for()
        await visitor.page.locator("#send").click()
        await visitor.page.locator('.message .picture img[alt="holiday.png"]').wait_for()


async def test_images_removed_from_the_draft_are_not_posted() -> None:
    async with at_the_page() as (_, visitor):
        await visitor.page.locator("#file").set_input_files([SCENE, SCENE])
        await visitor.page.locator(".pending li").nth(1).wait_for()
        await visitor.page.locator(".pending li").first.get_by_role("button").click()
        assert await visitor.page.locator(".pending li").count() == 1
        await visitor.page.locator("#send").click()
        await visitor.page.locator(f'.message .picture img[alt="{SCENE.name}"]').wait_for()


async def test_a_draft_survives_a_new_session_but_not_a_switch_of_the_member() -> None:
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


async def test_losing_the_permission_to_send_disables_the_composer_at_once() -> None:
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


def photo(tmp_path: Path) -> Path:
    path = tmp_path / "holiday.jpg"
    Image.effect_noise((320, 240), 80).convert("RGB").save(path)
    return path


@pytest.mark.parametrize(("language", "words"), [("en", "only knows emoji scenes"), ("zh", "只认识")])
async def test_with_the_bundled_model_posting_a_photo_shows_how_to_use_a_real_model(
    tmp_path: Path, language: str, words: str
) -> None:
    async with at_the_page("bundled") as (_, visitor):
        await visitor.page.locator(f"[data-language={language}]").click()
        note = visitor.page.locator("#model-note")
        await visitor.post_scene("a cat on a sofa")
        assert await note.is_hidden(), "the bundled model knows the sample scenes"
        await visitor.page.locator("#file").set_input_files(photo(tmp_path))
        await visitor.page.locator("#send").click()
        await visitor.page.locator('.message .picture img[alt="holiday.jpg"]').wait_for()
        assert words in await note.inner_text()
        assert "make run CLIP_MODEL=" in await note.inner_text()
        await note.get_by_role("button").click()
        assert await note.is_hidden()


async def test_with_a_real_model_a_photo_is_posted_without_a_note(tmp_path: Path) -> None:
    async with at_the_page("google/siglip2-base-patch32-256") as (_, visitor):
        await visitor.page.locator("#file").set_input_files(photo(tmp_path))
        await visitor.page.locator("#send").click()
        await visitor.page.locator('.message .picture img[alt="holiday.jpg"]').wait_for()
        assert await visitor.page.locator("#model-note").is_hidden()
