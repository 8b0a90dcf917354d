"""How the page shows messages: always as text, and an error in one never hides others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.server import Sandbox
from tests.sandbox_page.browser import open_browser
from tests.sandbox_page.neighbour import say
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import Route


@pytest.mark.parametrize("words", ["<img src=x onerror=document.title='taken'>", "**bold** and <b>not</b>"])
async def test_messages_are_shown_as_text(words: str) -> None:
    async with Sandbox.serve() as sandbox, open_browser() as browser:
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        await say(sandbox, "bob", words)
        shown = visitor.page.locator(".message .content").last
        await shown.wait_for()
        assert "<" in await shown.inner_text()
        assert await shown.locator("img, b").count() == 0
        assert await visitor.page.title() != "taken"


async def test_an_invalid_timestamp_is_shown_as_text() -> None:
    async with Sandbox.serve() as sandbox, open_browser() as browser:
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        shown = visitor.page.locator(".message .content")
        await say(sandbox, "bob", "when <t:99999999999999>")
        await say(sandbox, "bob", "and after that")
        await shown.get_by_text("and after that").wait_for()
        assert await shown.all_inner_texts() == ["when <t:99999999999999>", "and after that"]
        assert visitor.complaints == []


async def test_a_message_that_cannot_be_rendered_does_not_hide_the_others() -> None:
    async with Sandbox.serve() as sandbox, open_browser() as browser:
        for words in ("first", "broken", "last"):
            await say(sandbox, "bob", words)
        visitor = await Visitor.arrive(browser, "about:blank")

        async def break_one(route: Route) -> None:
            answer = await route.fetch()
            page = await answer.json()
            for message in page:
                if message["content"] == "broken":
                    message["edited_timestamp"] = "never"
            await route.fulfill(response=answer, json=page)

        await visitor.page.route("**/messages?**", break_one)
        await visitor.page.goto(sandbox.url + "/")
        await visitor.page.locator(".message", has_text="last").wait_for()
        assert await visitor.page.locator(".message .content").all_inner_texts() == ["first", "last"]
        assert await visitor.page.locator(".message.unshown").inner_text() == "This message cannot be shown"
