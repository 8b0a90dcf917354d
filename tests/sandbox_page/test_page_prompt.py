"""The command prompt: the menu, every type of option, what is wrong with one, and the keyboard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.sandbox.images import png
from tests.sandbox_page.small_bot import CHOICES, SmallBot, text
from tests.sandbox_page.test_page_components import bot_at_the_page, focused
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import Locator

STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(3, 12)
MANAGE_GUILD = "32"


def option(kind: int, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, "description": f"About {name}", **more}


def command(name: str, *options: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"About {name}", "options": list(options), **more}


SHOW = command(
    "show",
    option(STRING, "words", required=True),
    option(INTEGER, "count", min_value=1, max_value=10),
    option(BOOLEAN, "share"),
    option(NUMBER, "cut", min_value=0.5),
    option(USER, "author"),
    option(CHANNEL, "channel", channel_types=[0, 11, 12]),
    option(STRING, "sort", choices=[{"name": "Best", "value": "best"}, {"name": "Newest", "value": "newest"}]),
    option(ATTACHMENT, "image"),
    option(ROLE, "role"),
    option(MENTIONABLE, "anybody"),
    option(STRING, "short", min_length=3, max_length=5),
)


@asynccontextmanager
async def prompt(
    *commands: Mapping[str, Any], typed: str = "/show a cat", member: str = "ann"
) -> AsyncIterator[tuple[Sandbox, SmallBot, Visitor, Locator]]:
    """The page with commands registered, and one of them typed."""
    async with bot_at_the_page() as (sandbox, bot, visitor):
        await bot.register(*commands)
        await visitor.be(member)
        await visitor.page.locator("#bot-status[data-state=online]").wait_for()
        await visitor.page.locator("#text").click()
        await visitor.page.keyboard.type(typed)
        yield sandbox, bot, visitor, visitor.page.locator("form.prompt")


async def sent(bot: SmallBot, visitor: Visitor) -> dict[str, Any]:
    """Runs the command; the options by name, as the application receives them."""
    await visitor.page.locator(".prompt .run").click()
    asked = await bot.asked()
    await bot.show(asked, text(f"done: {asked['id']}"))
    await visitor.page.locator(".message.ephemeral", has_text=asked["id"]).wait_for()
    assert await visitor.page.locator(".prompt").count() == 0
    return {one["name"]: one["value"] for one in asked["data"]["options"]}


async def fill(visitor: Visitor, name: str, *keys: str) -> None:
    """Opens an optional option and types into it; a key that is one is pressed."""
    if await visitor.page.locator(f'.chip[data-option="{name}"]').count() == 0:
        await visitor.page.locator(".chip", has_text="more").click()
    await visitor.page.locator(f'.chip[data-option="{name}"]').click()
    for key in keys:
        if key in ("Enter", "Tab", "ArrowDown"):
            await visitor.page.keyboard.press(key)
        else:
            await visitor.page.keyboard.type(key)


async def test_options_of_every_type_reach_the_application_with_their_types(tmp_path: Path) -> None:
    async with prompt(SHOW) as (sandbox, bot, visitor, form):
        await fill(visitor, "count", "7")
        await fill(visitor, "share", "ArrowDown", "Enter")
        await fill(visitor, "cut", "0.75")
        await fill(visitor, "author", "bo", "Enter")
        await fill(visitor, "channel", "party", "Enter")
        await fill(visitor, "sort", "new", "Tab")
        await fill(visitor, "role", "regu", "Enter")
        await fill(visitor, "anybody", "Moder", "Enter")
        await fill(visitor, "image")
        picture = tmp_path / "query.png"
        picture.write_bytes(png(4, 4))
        await form.locator("input[type=file]").set_input_files(picture)
        guild = sandbox.guild("The Nest")
        roles = {role.name: str(role.id) for role in guild.roles.values()}
        threads = {channel.name: str(channel.id) for channel in sandbox.state.threads_of(guild)}
        options = await sent(bot, visitor)
        image = options.pop("image")
        assert image.isdigit()
        assert options == {
            "words": "a cat",
            "count": 7,
            "share": False,
            "cut": 0.75,
            "author": str(sandbox.user("bob").id),
            "channel": threads["party planning"],
            "sort": "newest",
            "role": roles["Regular"],
            "anybody": roles["Moderator"],
        }


async def test_optional_options_are_chips_and_the_rest_is_behind_a_count() -> None:
    async with prompt(SHOW) as (_, bot, visitor, form):
        assert await form.locator(".prompt-cell").count() == 1
        assert await form.locator(".chip").all_inner_texts() == ["+ count", "+ share", "+ cut", "+7 more"]
        await form.locator(".chip", has_text="more").press("Enter")
        assert await focused(visitor.page) == "Add author: About author"
        assert await form.locator(".chip").count() == 10
        await visitor.page.keyboard.press("Enter")
        assert await form.locator(".prompt-about").inner_text() == "About author"
        author = form.get_by_role("combobox", name="author")
        assert await author.evaluate("one => one === document.activeElement")
        described = await author.evaluate(
            "one => one.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).innerText)"
        )
        assert described[0] == "About author"
        await form.get_by_role("button", name="Remove author").click()
        assert await sent(bot, visitor) == {"words": "a cat"}


@pytest.mark.parametrize(
    ("name", "wrong", "problem", "right", "value"),
    [
        ("count", "99", "At most 10.", "10", 10),
        ("count", "0", "At least 1.", "1", 1),
        ("count", "1.5", "Enter a whole number.", "2", 2),
        ("count", "many", "Enter a number.", "3", 3),
        ("cut", "0.2", "At least 0.5.", "0.5", 0.5),
        ("short", "ab", "At least 3 characters; so far 2.", "abc", "abc"),
        ("short", "abcdef", "At most 5 characters; now 6.", "abcde", "abcde"),
        ("author", "nobody of that name", "Choose one of the list.", "Bob", None),
    ],
)
async def test_a_wrong_value_is_named_beside_its_option_and_nothing_is_sent(
    name: str, wrong: str, problem: str, right: str, value: object
) -> None:
    async with prompt(SHOW) as (sandbox, bot, visitor, form):
        await fill(visitor, name, wrong)
        await form.locator(".run").click()
        cell = form.locator(f'.prompt-cell[data-option="{name}"]')
        assert await cell.get_by_role("alert").inner_text() == problem
        entry = cell.locator("input")
        assert await entry.get_attribute("aria-invalid") == "true"
        assert await entry.evaluate("one => one === document.activeElement")
        await entry.fill(right)
        assert (await sent(bot, visitor))[name] == (value or str(sandbox.user("bob").id))


async def test_a_missing_option_is_named() -> None:
    async with prompt(SHOW, typed="/show ") as (_, _, visitor, form):
        await visitor.page.keyboard.press("Enter")
        assert await form.get_by_role("alert").first.inner_text() == "Please fill in words"


async def test_what_an_application_suggests_is_sent_by_its_value_and_other_text_as_typed() -> None:
    tags = command("tag", option(STRING, "tag", required=True, autocomplete=True))
    async with prompt(tags, typed="/tag ca") as (_, bot, visitor, form):
        asked = await bot.asked()
        assert asked["data"]["options"] == [{"type": 3, "name": "tag", "value": "ca", "focused": True}]
        await bot.answer(asked, CHOICES, {"choices": [{"name": "Cats (12)", "value": "cat"}]})
        await form.get_by_role("option", name="Cats (12)").wait_for()
        await visitor.page.keyboard.press("ArrowDown")
        await visitor.page.keyboard.press("Enter")
        assert await form.get_by_role("combobox").input_value() == "Cats (12)"
        assert await sent(bot, visitor) == {"tag": "cat"}
        await visitor.page.keyboard.type("/tag caterpillar")
        await form.get_by_role("combobox").wait_for()
        await bot.asked()
        assert await sent(bot, visitor) == {"tag": "caterpillar"}


INDEX = {
    "name": "index",
    "description": "Index",
    "options": [
        {"type": 1, "name": "start", "description": "Starts", "options": [option(CHANNEL, "channel")]},
        {
            "type": 2,
            "name": "rate",
            "description": "Rates",
            "options": [{"type": 1, "name": "set", "description": "Sets the rate", "options": [option(4, "rate")]}],
        },
    ],
}


async def test_subcommands_and_their_groups_are_entries_of_their_own() -> None:
    async with prompt(INDEX, typed="/index") as (_, bot, visitor, _form):
        menu = visitor.page.locator("#composer > .suggest .suggest-item")
        await menu.first.wait_for()
        assert await menu.all_inner_texts() == ["/index start\nStarts", "/index rate set\nSets the rate"]
        await menu.nth(1).click()
        await fill(visitor, "rate", "5")
        await visitor.page.keyboard.press("Enter")
        asked = await bot.asked()
        await bot.show(asked, text("done"))
        inner = {"type": 1, "name": "set", "options": [{"type": 4, "name": "rate", "value": 5}]}
        assert asked["data"]["options"] == [{"type": 2, "name": "rate", "options": [inner]}]


@pytest.mark.parametrize(("member", "sees"), [("bob", True), ("dora", False)])
async def test_the_menu_has_the_applications_order_in_each_language_and_what_the_member_may_use(
    member: str, sees: bool
) -> None:
    commands = [
        command("zoom", name_localizations={"zh-CN": "忘记"}),
        command("admin", default_member_permissions=MANAGE_GUILD, name_localizations={"zh-CN": "管理"}),
        command("about", name_localizations={"zh-CN": "帮助"}, description_localizations={"zh-CN": "说明"}),
    ]
    async with prompt(*commands, typed="", member=member) as (_, _, visitor, _form):
        menu = visitor.page.locator("#composer > .suggest .suggest-item")

        async def names() -> list[str]:
            await visitor.page.locator("#text").fill("/")
            await menu.first.wait_for()
            return [line.split("\n")[0] for line in await menu.all_inner_texts()]

        english = ["/zoom", *(["/admin"] if sees else []), "/about"]
        assert await names() == english
        await visitor.page.locator("[data-language=zh]").click()
        assert await names() == ["/忘记", *(["/管理"] if sees else []), "/帮助"]
        assert (await menu.last.inner_text()).endswith("说明")
        # Either name finds it.
        for typed in ("/ab", "/帮"):
            await visitor.page.locator("#text").fill(typed)
            await menu.filter(has_text="帮助").wait_for()
            assert await menu.count() == 1


async def test_a_command_that_the_server_refuses_keeps_what_was_entered() -> None:
    async with prompt(SHOW) as (sandbox, bot, visitor, form):
        sandbox.faults.add(Fault("server_error", method="POST", path="/interactions", times=1, bots_only=False))
        await fill(visitor, "count", "3")
        await visitor.page.keyboard.press("Enter")
        await visitor.page.locator(".notice.error").wait_for()
        visitor.complaints.clear()  # the browser tells of the refusal
        assert await form.get_by_label("words").input_value() == "a cat"
        assert await sent(bot, visitor) == {"words": "a cat", "count": 3}


async def test_an_optional_text_that_stands_first_is_typed_at_once_and_left_out_if_empty() -> None:
    find = command("find", option(STRING, "query"), option(BOOLEAN, "share"))
    async with prompt(find, typed="/find a cat") as (_, bot, visitor, _form):
        assert await sent(bot, visitor) == {"query": "a cat"}
        await visitor.page.keyboard.type("/find ")
        assert await sent(bot, visitor) == {}


async def test_escape_closes_the_list_first_and_then_the_command() -> None:
    async with prompt(SHOW) as (_, _, visitor, form):
        await fill(visitor, "author")
        assert await form.get_by_role("option").count() > 1
        await visitor.page.keyboard.press("Escape")
        assert await form.locator(".suggest:visible").count() == 0
        await visitor.page.keyboard.press("Escape")
        await form.wait_for(state="detached")
        assert await visitor.page.evaluate("document.activeElement.id") == "text"
