"""The guided tour: what ticks a step and what does not, what it offers, and that it waits for its reader."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bot.settings import Settings
from sandbox.files import PAGE
from sandbox.server import Sandbox
from tests.sandbox_page.small_bot import SmallBot, button, container, row, text
from tests.sandbox_page.test_page_components import bot_at_the_page, focused
from tests.sandbox_page.test_page_prompt import ATTACHMENT, STRING, command, option
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import Locator

FIND = command("find", option(STRING, "query", required=True), option(ATTACHMENT, "image"))
SIMILAR = command("similar", option(ATTACHMENT, "image"))
TAGS = command("tags")


@asynccontextmanager
async def on_tour(*commands: dict[str, Any]) -> AsyncIterator[tuple[Sandbox, SmallBot, Visitor, Locator]]:
    async with bot_at_the_page() as (sandbox, bot, visitor):
        await bot.register(*commands)
        await visitor.page.locator("#tour").wait_for()
        yield sandbox, bot, visitor, visitor.page.locator("#tour")


async def ask(visitor: Visitor, words: str) -> None:
    await visitor.page.locator("#text").click()
    await visitor.page.keyboard.type(f"/find {words}")
    await visitor.page.keyboard.press("Enter")


def a_picture(sandbox: Sandbox) -> dict[str, Any]:
    """A gallery that shows a picture of a message, as answers of Magpie do."""
    return {"type": 12, "items": [{"media": {"url": f"{sandbox.url}/sandbox/samples/panda.png"}, "description": "x"}]}


async def test_an_answer_that_found_nothing_ticks_no_step_and_one_with_pictures_does() -> None:
    async with on_tour(FIND, SIMILAR) as (sandbox, bot, visitor, tour):
        await ask(visitor, "nonsense")
        await bot.show(await bot.asked(), text("nothing like that here"))
        await visitor.page.locator(".message.ephemeral", has_text="nothing like that").wait_for()
        assert await tour.locator("li.done").count() == 0
        await ask(visitor, "a panda")
        await bot.show(await bot.asked(), container(a_picture(sandbox), row(button("More like this", "magpie:like:1"))))
        await tour.locator("li[data-step=find].done").wait_for()
        assert "best matches come first" in await tour.locator(".latest").inner_text()
        assert await tour.locator("[aria-current=step]").get_attribute("data-step") == "like"
        # The next one is ticked by its answer, not by the press of its button.
        await visitor.page.get_by_role("button", name="More like this").click()
        pressed = await bot.asked()
        assert await tour.locator("li.done").count() == 1
        await bot.show(pressed, container(a_picture(sandbox)))
        await tour.locator("li[data-step=like].done").wait_for()


async def test_an_answer_that_is_deferred_counts_when_it_comes() -> None:
    async with on_tour(FIND) as (sandbox, bot, visitor, tour):
        await ask(visitor, "a panda")
        asked = await bot.asked()
        await bot.answer(asked, 5, {"flags": 64})
        await visitor.page.locator(".message .waiting", has_text="thinking").wait_for()
        assert await tour.locator("li.done").count() == 0
        await bot.complete(asked, container(a_picture(sandbox)))
        await tour.locator("li[data-step=find].done").wait_for()


async def test_only_what_the_bot_can_do_is_offered() -> None:
    async with on_tour(TAGS) as (_, bot, visitor, tour):
        steps = "all => all.map((one) => one.dataset.step)"
        assert await tour.locator("li").evaluate_all(steps) == ["post", "tags", "switch"]
        await bot.register(FIND, TAGS)
        await tour.locator("li[data-step=refine]").wait_for()
        assert await tour.locator("li").evaluate_all(steps) == ["find", "refine", "post", "tags", "switch"]
        await visitor.post_scene("a red apple")
        await tour.locator("li[data-step=post].done").wait_for()
        await visitor.be("dora")
        await tour.locator("li[data-step=switch].done").wait_for()


async def test_a_steps_button_begins_it_in_the_readers_language() -> None:
    async with on_tour(FIND) as (_, _, visitor, tour):
        await visitor.page.locator("[data-language=zh]").click()
        await tour.get_by_role("button", name="打开 /find").click()
        query = visitor.page.locator("form.prompt input").first
        await query.wait_for()
        assert await query.input_value() == "城堡"


async def test_the_tour_is_skipped_closed_and_taken_up_again_where_it_was() -> None:
    async with on_tour(FIND, TAGS) as (_, _, visitor, tour):
        await tour.get_by_role("button", name="Skip").click()
        assert await tour.locator("[aria-current=step]").get_attribute("data-step") == "refine"
        await visitor.post_scene("a red apple")
        await tour.locator("li[data-step=post].done").wait_for()
        await tour.get_by_role("button", name="Close the tour").click()
        assert not await tour.is_visible()
        assert await focused(visitor.page) == "Guided tour"
        await visitor.page.reload()
        await visitor.page.locator("#bot-status[data-state=online]").wait_for()
        assert not await tour.is_visible()
        await visitor.page.keyboard.press("Escape")
        await visitor.page.get_by_role("button", name="Guided tour").press("Enter")
        await tour.locator("li[data-step=post].done").wait_for()
        assert await tour.locator("[aria-current=step]").get_attribute("data-step") == "refine"
        for _ in range(3):
            await tour.get_by_role("button", name="Skip").click()
        await tour.get_by_role("button", name="Start again").click()
        assert await tour.locator("[aria-current=step]").get_attribute("data-step") == "find"
        assert await tour.locator("li.done").count() == 0


STEPS = """async () => {
  const { STEPS } = await import("/tour_steps.js");
  return STEPS.map(({ id, seconds, title, press, notice, go }) =>
    ({ id, seconds, texts: [title, press, notice, ...Object.values(go?.values ?? {})] }));
}"""


async def test_the_tour_takes_two_minutes_and_has_every_text_in_both_languages() -> None:
    async with bot_at_the_page() as (_, _, visitor):
        steps = await visitor.page.evaluate(STEPS)
        assert sum(step["seconds"] for step in steps) <= 120
        assert len({step["id"] for step in steps}) == len(steps) > 5
        for step in steps:
            for english, chinese in step["texts"]:
                assert english.isascii(), step["id"]
                assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese), step["id"]


def test_the_model_that_the_page_names_for_photographs_is_the_bots_default() -> None:
    default = Settings.model_fields["clip_model"].default
    assert f'make run CLIP_MODEL={default}"' in (PAGE / "notices.js").read_text("utf-8")
