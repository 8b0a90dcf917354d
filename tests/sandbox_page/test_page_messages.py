"""How the page shows messages: always as text, and an error in one never hides others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.guild_ops import add_emoji, add_sticker
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox_page.browser import open_browser
from tests.sandbox_page.neighbour import call, say
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


async def test_a_guilds_own_emojis_and_stickers_are_shown_with_their_names() -> None:
    async with Sandbox.serve() as sandbox, open_browser() as browser:
        guild, channel = sandbox.guild("The Nest"), sandbox.channel("pictures")
        emoji = add_emoji(sandbox.state, guild, "magpie", png(8, 8), sandbox.user("ann"))
        sticker = add_sticker(sandbox.state, guild, "A waving magpie", png(8, 8), sandbox.user("ann"))
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        await visitor.open_channel("pictures")
        path = f"/channels/{channel.id}/messages"
        await say(sandbox, "bob", f"look <:magpie:{emoji.id}>")
        await say(sandbox, "bob", f"<:magpie:{emoji.id}> \N{BIRD}")
        await call(sandbox, "bob", "POST", path, {"content": "", "sticker_ids": [str(sticker.id)]})
        shown = visitor.page.get_by_role("img", name="A waving magpie")
        await shown.wait_for()
        assert await shown.evaluate("one => one.decode().then(() => one.naturalWidth)") == 8
        emojis = visitor.page.get_by_role("img", name=":magpie:")
        sizes = await emojis.evaluate_all("all => all.map((one) => one.width)")
        assert sizes[1] > 1.5 * sizes[0], "alone, emoji are larger"
        newest = await visitor.page.locator(".message").last.get_attribute("data-message-id")
        await call(sandbox, "bob", "PUT", f"{path}/{newest}/reactions/magpie:{emoji.id}/@me")
        reaction = visitor.page.get_by_role("button", name="magpie, 1")
        await reaction.click()
        await visitor.page.get_by_role("button", name="magpie, 2").wait_for()
        assert visitor.complaints == []
