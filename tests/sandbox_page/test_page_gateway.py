"""The page's gateway connection: messages that are posted while it is lost appear after it resumes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sandbox.server import Sandbox
from tests.sandbox_page.browser import open_browser
from tests.sandbox_page.neighbour import say
from tests.sandbox_page.visitor import Visitor

WAYS: dict[str, Callable[[Sandbox], Awaitable[None]]] = {
    "dropped": Sandbox.drop_gateway,
    "asked to reconnect": Sandbox.ask_reconnect,
    "session invalidated": Sandbox.invalidate_session,
}


async def test_the_page_resumes_a_lost_connection_without_losing_messages() -> None:
    async with Sandbox.serve() as sandbox, open_browser() as browser:
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        await visitor.open_channel("pictures")
        seen = visitor.page.locator(".message .content")
        for way, lose in WAYS.items():
            await say(sandbox, "bob", f"before: {way}")
            await seen.get_by_text(f"before: {way}").wait_for()
            await lose(sandbox)
            await say(sandbox, "bob", f"meanwhile: {way}")
            await seen.get_by_text(f"meanwhile: {way}").wait_for()
            assert await seen.get_by_text(f"before: {way}").count() == 1
        assert visitor.complaints == []
