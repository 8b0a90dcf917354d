"""The forms of applications: every kind of input, errors that keep what was entered, and the keyboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox_page.small_bot import MODAL, SmallBot, button, row, text
from tests.sandbox_page.test_page_components import bot_at_the_page, focused
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import Locator


ROW, LABEL = 1, 18


def label(words: str, component: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": LABEL, "label": words, "component": component, **more}


def text_input(custom_id: str, **more: Any) -> dict[str, Any]:
    return {"type": 4, "style": 1, "custom_id": custom_id, **more}


ANIMALS = [{"label": name, "value": name.lower()} for name in ("Cat", "Dog", "Fox")]


@asynccontextmanager
async def a_form(*components: dict[str, Any]) -> AsyncIterator[tuple[Sandbox, SmallBot, Visitor, Locator]]:
    """A bot's form in front of the visitor, after the press of a button."""
    async with bot_at_the_page() as (sandbox, bot, visitor):
        message = visitor.message(await bot.post("chat", row(button("Open", "open"))))
        await message.get_by_role("button", name="Open").click()
        modal = {"custom_id": "form", "title": "A form", "components": list(components)}
        await bot.answer(await bot.asked(), MODAL, modal)
        dialog = visitor.page.get_by_role("dialog", name="A form")
        await dialog.wait_for()
        yield sandbox, bot, visitor, dialog


async def thanked(bot: SmallBot, visitor: Visitor, interaction: dict[str, Any]) -> dict[str, Any]:
    """Answers what was entered; gives it by custom id, once the form has closed."""
    await bot.show(interaction, text("thank you"))
    await visitor.page.locator(".message.ephemeral", has_text="thank you").wait_for()
    await visitor.page.get_by_role("dialog").wait_for(state="detached")
    items = [item for item in interaction["data"]["components"] if item["type"] in (ROW, LABEL)]
    entered = [item.get("component") or item["components"][0] for item in items]
    return {one["custom_id"]: one.get("value", one.get("values")) for one in entered}


async def test_text_and_choices_of_every_kind_reach_the_application() -> None:
    about = {"type": 10, "content": "Fill in **everything**"}
    async with a_form(
        about,
        label("Name", text_input("name", placeholder="of the label"), description="As members read it"),
        label("Prompts", text_input("prompts", style=2, value="a cat")),
        label("Animal", {"type": 3, "custom_id": "animal", "options": ANIMALS, "max_values": 2}),
        label("Member", {"type": 5, "custom_id": "who"}),
    ) as (sandbox, bot, visitor, dialog):
        assert await dialog.locator("strong").inner_text() == "everything"
        name = dialog.get_by_label("Name")
        assert await name.get_attribute("placeholder") == "of the label"
        assert await name.evaluate("one => one === document.activeElement"), "one can type at once"
        await visitor.page.keyboard.type("tabby")
        await dialog.get_by_label("Prompts").press("End")
        await visitor.page.keyboard.type(" on a sofa\na tabby")
        await dialog.get_by_role("combobox", name="Animal").click()
        for animal in ("Fox", "Cat"):
            await dialog.get_by_role("option", name=animal).click()
        await visitor.page.keyboard.press("Escape")
        assert await dialog.is_visible(), "Escape closes the open menu, not the form"
        await dialog.get_by_role("combobox", name="Member").click()
        await dialog.get_by_role("option", name="Bob").click()
        await dialog.get_by_role("button", name="Submit").click()
        assert await thanked(bot, visitor, await bot.asked()) == {
            "name": "tabby",
            "prompts": "a cat on a sofa\na tabby",
            "animal": ["cat", "fox"],
            "who": [str(sandbox.user("bob").id)],
        }


async def test_radio_buttons_boxes_and_optional_inputs_reach_the_application() -> None:
    async with a_form(
        label("One", {"type": 21, "custom_id": "one", "options": ANIMALS}),
        label("Some", {"type": 22, "custom_id": "some", "options": ANIMALS, "min_values": 2}),
        label("Agreed", {"type": 23, "custom_id": "agreed"}),
        label("Nothing", text_input("nothing", required=False)),
        {"type": ROW, "components": [text_input("old", label="An older form")]},
    ) as (_, bot, visitor, dialog):
        await dialog.get_by_role("group", name="One").get_by_label("Dog").check()
        for animal in ("Cat", "Fox"):
            await dialog.get_by_role("group", name="Some").get_by_label(animal).check()
        await dialog.get_by_label("Agreed").check()
        await dialog.get_by_label("An older form").fill("still works")
        await dialog.get_by_role("button", name="Submit").click()
        assert await thanked(bot, visitor, await bot.asked()) == {
            "one": "dog",
            "some": ["cat", "fox"],
            "agreed": True,
            "nothing": "",
            "old": "still works",
        }


async def test_files_are_chosen_removed_and_reach_the_application() -> None:
    files = {"type": 19, "custom_id": "files", "max_values": 3}
    async with a_form(label("Pictures", files), label("Words", text_input("words"))) as (_, bot, visitor, dialog):
        chosen = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": png(n, n)} for n in (1, 2, 3)]
        await dialog.locator("input[type=file]").set_input_files(chosen)
        await dialog.get_by_role("button", name="Remove 2.png").click()
        assert await focused(visitor.page) == "Choose files"
        await dialog.get_by_label("Words").fill("two of them")
        await dialog.get_by_role("button", name="Submit").click()
        asked = await bot.asked()
        resolved = asked["data"]["resolved"]["attachments"]
        entered = await thanked(bot, visitor, asked)
        assert [resolved[one]["filename"] for one in entered["files"]] == ["1.png", "3.png"]


@pytest.mark.parametrize(
    ("component", "entered", "problem"),
    [
        (text_input("x"), "", "Please fill this in."),
        (text_input("x", min_length=5), "four", "At least 5 characters; so far 4."),
        (text_input("x", style=2, max_length=3), "🐈🐈🐈🐈", "At most 3 characters; now 4."),
    ],
)
async def test_a_wrong_input_is_named_and_has_the_focus_and_nothing_is_sent(
    component: dict[str, Any], entered: str, problem: str
) -> None:
    async with a_form(label("First", text_input("first")), label("Second", component)) as (_, bot, visitor, dialog):
        await dialog.get_by_label("First").fill("fine")
        second = dialog.get_by_label("Second")
        await second.fill(entered)
        await dialog.get_by_role("button", name="Submit").click()
        assert await dialog.get_by_role("alert").filter(has_text=problem).count() == 1
        assert await second.get_attribute("aria-invalid") == "true"
        assert await second.evaluate("one => one === document.activeElement")
        await second.fill("right"[: component.get("max_length", 5)])
        await dialog.get_by_role("button", name="Submit").click()
        asked = await bot.asked()
        assert (await thanked(bot, visitor, asked))["x"] == "right"[: component.get("max_length", 5)]


async def test_too_few_choices_are_named() -> None:
    menu = {"type": 3, "custom_id": "menu", "options": ANIMALS, "min_values": 2, "max_values": 3}
    async with a_form(label("Animals", menu)) as (_, _, _, dialog):
        for key in ("Enter", "Enter", "Tab"):
            await dialog.get_by_role("combobox", name="Animals").press(key)
        await dialog.get_by_role("button", name="Submit").click()
        assert "Choose at least 2." in await dialog.inner_text()


async def test_an_answer_that_is_refused_or_not_answered_keeps_the_form_and_what_was_entered() -> None:
    async with a_form(label("Name", text_input("name"))) as (sandbox, bot, visitor, dialog):
        await dialog.get_by_label("Name").fill("tabby")
        sandbox.faults.add(Fault("server_error", method="POST", path="/interactions", times=1, bots_only=False))
        await dialog.get_by_role("button", name="Submit").click()
        await dialog.get_by_role("alert").filter(has_text="Server Error").wait_for()
        assert await dialog.get_by_label("Name").input_value() == "tabby"
        visitor.complaints.clear()  # the browser tells of the refusal
        await dialog.get_by_role("button", name="Submit").click()
        await bot.asked()
        # The application lets the deadline pass.
        await dialog.get_by_role("alert").filter(has_text="Something went wrong").wait_for()
        await dialog.get_by_role("button", name="Submit").click()
        assert await thanked(bot, visitor, await bot.asked()) == {"name": "tabby"}


@pytest.mark.parametrize("way", ["Escape", "Cancel"])
async def test_a_form_keeps_the_focus_until_it_is_closed_and_then_gives_it_back(way: str) -> None:
    async with a_form(label("Name", text_input("name"))) as (_, _, visitor, dialog):
        inside = []
        for _ in range(6):
            await visitor.page.keyboard.press("Tab")
            inside.append(
                await visitor.page.evaluate("document.activeElement.closest('#top, #sidebar, #chat') === null")
            )
        assert all(inside)
        if way == "Escape":
            await visitor.page.keyboard.press("Escape")
        else:
            await dialog.get_by_role("button", name="Cancel").click()
        await dialog.wait_for(state="detached")
        assert await focused(visitor.page) == "Open"
