"""What applications put into messages: galleries, covers, buttons and select menus, by pointer and by keyboard."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.server import Sandbox
from tests.sandbox_page.browser import open_browser
from tests.sandbox_page.neighbour import call
from tests.sandbox_page.small_bot import SmallBot, alt, button, container, gallery, row, small_bot, text
from tests.sandbox_page.visitor import Visitor

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

SAMPLES = sorted((Path(__file__).parents[2] / "clipcore" / "bundled" / "samples").glob("*.png"))[:10]
FILES = {f"scene_{n}.png": path.read_bytes() for n, path in enumerate(SAMPLES, 1)}
ROWS = {1: [1], 2: [2], 3: [2, 1], 4: [2, 2], 5: [2, 3], 6: [3, 3], 7: [1, 3, 3], 8: [2, 3, 3], 9: [3, 3, 3],
        10: [1, 3, 3, 3]}  # fmt: skip
"""How many pictures begin at the same height, from the top, in Discord's grids."""


@asynccontextmanager
async def bot_at_the_page(channel: str = "chat") -> AsyncIterator[tuple[Sandbox, SmallBot, Visitor]]:
    async with Sandbox.serve() as sandbox, small_bot(sandbox) as bot, open_browser() as browser:
        visitor = await Visitor.arrive(browser, sandbox.url + "/")
        await visitor.page.set_viewport_size({"width": 1280, "height": 720})
        await visitor.open_channel(channel)
        yield sandbox, bot, visitor
        assert visitor.complaints == []


def files(count: int) -> dict[str, bytes]:
    return dict(itertools.islice(FILES.items(), count))


async def focused(page: Page) -> str:
    """What a screen reader calls the control that has the focus."""
    name: str = await page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
    )
    return name


async def boxes(tiles: Locator) -> list[dict[str, float]]:
    found: list[dict[str, float]] = await tiles.evaluate_all(
        "all => all.map((one) => { const { left, right, top } = one.getBoundingClientRect();"
        " return { left: Math.round(left), right: Math.round(right), top: Math.round(top) }; })"
    )
    return found


async def test_one_to_ten_pictures_stand_in_discords_grids_with_their_alt_texts() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        for count, rows in ROWS.items():
            shown = files(count)
            message = visitor.message(await bot.post("chat", gallery(*shown), files=shown))
            tiles = message.locator(".picture")
            await tiles.nth(count - 1).wait_for()
            places = await boxes(tiles)
            heights = sorted({place["top"] for place in places})
            assert [sum(place["top"] == top for place in places) for top in heights] == rows, count
            width = max(p["right"] for p in places) - min(p["left"] for p in places)
            assert width <= 550, count
            if count > 1:
                assert {max(p["right"] for p in places if p["top"] == top) for top in heights} == {
                    places[0]["left"] + width
                }, f"each row of {count} pictures is full"
            alts = await tiles.locator("img").evaluate_all("all => all.map((one) => one.alt)")
            assert alts == [alt(name) for name in shown]


async def test_a_gallery_is_never_wider_than_a_telephone() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        await visitor.page.set_viewport_size({"width": 390, "height": 844})
        shown = files(4)
        menu = {"type": 3, "custom_id": "s", "options": [{"label": "a" * 90, "value": "a"}]}
        box = container(gallery(*shown), row(button("A button", "b"), button("Another one", "c")), row(menu))
        message = visitor.message(await bot.post("chat", box, files=shown))
        await message.locator(".picture").last.wait_for()
        right = await message.locator(".c-container *").evaluate_all(
            "all => Math.max(...all.map((one) => one.getBoundingClientRect().right))"
        )
        assert right <= 390


async def test_a_spoiler_is_covered_until_it_is_opened_and_then_stays_open() -> None:
    async with bot_at_the_page() as (sandbox, bot, visitor):
        shown = files(3)
        posted = await bot.post("chat", gallery(*shown, spoilers=["scene_2.png"]), files=shown)
        tile = visitor.message(posted).locator(".picture").nth(1)
        await tile.locator(".veil").wait_for()
        assert await tile.locator("button.picture-face").evaluate("one => one.closest('[inert]') !== null")
        await tile.locator(".veil").focus()
        await visitor.page.keyboard.press("Enter")
        assert await focused(visitor.page) == "Open picture: scene 2"
        place = f"/channels/{sandbox.channel('chat').id}/messages/{posted}/reactions/%F0%9F%91%8D/@me"
        await call(sandbox, "bob", "PUT", place)
        await visitor.message(posted).locator(".reaction").wait_for()
        assert await tile.locator(".veil").count() == 0
        # Another member has not opened it.
        await visitor.be("bob")
        await tile.locator(".veil").wait_for()


async def test_the_lightbox_goes_through_the_pictures_by_keyboard_and_skips_covered_ones() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        shown = files(4)
        posted = await bot.post("chat", gallery(*shown, spoilers=["scene_3.png"]), files=shown)
        await visitor.message(posted).locator("button.picture-face").first.focus()
        keys, box = visitor.page.keyboard, visitor.page.get_by_role("dialog")
        await keys.press("Enter")
        seen = []
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Home", "End"):
            seen.append(await box.locator("img").get_attribute("alt"))
            await keys.press(key)
        assert seen == ["scene 1", "scene 2", "scene 4", "scene 1", "scene 4", "scene 1"]
        assert "3 of 3" in await box.inner_text()
        await keys.press("Escape")
        await box.wait_for(state="detached")
        assert await focused(visitor.page) == "Open picture: scene 1"


async def test_buttons_sections_files_and_separators_look_as_they_are_meant() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        shown = files(2)
        section = {"type": 9, "components": [text("**one**"), text("two")], "accessory": button("More", "more")}
        thumb = {"type": 11, "media": {"url": "attachment://scene_1.png"}, "description": "a thumb"}
        look = {"type": 9, "components": [text("three")], "accessory": thumb}
        posted = await bot.post(
            "chat",
            container(
                section,
                look,
                {"type": 14, "divider": True, "spacing": 2},
                {"type": 13, "file": {"url": "attachment://scene_2.png"}},
                row(
                    button("Before", "b", disabled=True),
                    button("Next", "n", emoji={"name": "▶️"}),
                    {"type": 2, "style": 5, "label": "Web", "url": "https://example.org/"},
                ),
                accent_color=0x58E0C4,
            ),
            files=shown,
        )
        message = visitor.message(posted)
        await message.locator(".c-section").first.wait_for()
        accent = "one => getComputedStyle(one, '::before').backgroundColor"
        assert await message.locator(".c-container").evaluate(accent) == "rgb(88, 224, 196)"
        assert await message.locator(".c-section strong").inner_text() == "one"
        assert await message.locator(".thumbnail img").get_attribute("alt") == "a thumb"
        assert await message.locator("hr[data-large=true][data-line=true]").count() == 1
        assert await message.locator(".file-card a").get_attribute("download") == "scene_2.png"
        assert await message.get_by_role("button", name="Before").is_disabled()
        assert await message.get_by_role("button", name="Next").inner_text() == "▶️\nNext"
        assert await message.get_by_role("link", name="Web").get_attribute("target") == "_blank"


async def test_a_covered_container_hides_its_buttons_until_it_is_opened() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        box = container(text("the murderer is the gardener"), row(button("Really?", "r")), spoiler=True)
        message = visitor.message(await bot.post("chat", box))
        await message.locator(".veil").wait_for()
        under_cover = "one => one.closest('[inert]') !== null"
        assert await message.locator(".c-button").evaluate(under_cover)
        await message.locator(".veil").click()
        assert not await message.locator(".c-button").evaluate(under_cover)


async def test_a_pressed_button_shows_that_it_waits_and_no_other_is_sent_meanwhile() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        message = visitor.message(await bot.post("chat", row(button("One", "1"), button("Two", "2"))))
        await message.get_by_role("button", name="One").click()
        first = await bot.asked()
        await message.locator(".c-button.busy", has_text="One").wait_for()
        assert await message.locator(".components[aria-busy=true]").count() == 1
        await message.get_by_role("button", name="Two").click()
        assert await focused(visitor.page) == "Two", "none is disabled, which would take the focus away"
        await bot.show(first, text("done"))
        await visitor.page.locator(".message.ephemeral", has_text="done").wait_for()
        await message.locator(".components:not([aria-busy])").wait_for()
        await message.get_by_role("button", name="Two").click()
        second = await bot.asked()
        assert second["data"]["custom_id"] == "2"
        await bot.show(second, text("done, too"))
        await visitor.page.locator(".message.ephemeral", has_text="done, too").wait_for()


async def test_an_answer_that_is_paged_keeps_the_focus_and_the_place_of_its_button() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        await bot.register({"name": "show", "description": "Shows"})

        def page(number: int) -> dict[str, Any]:
            return container(
                *[text(f"{line} of page {number}") for line in range(8 + 9 * number)],
                row(button("Back", f"to-{number - 1}", disabled=number == 1), button("Next", f"to-{number + 1}",
                    disabled=number == 3)),
            )  # fmt: skip

        await visitor.page.locator("#bot-status[data-state=online]").wait_for()
        await visitor.page.locator("#text").fill("/show ")
        await visitor.page.keyboard.press("Enter")
        await bot.show(await bot.asked(), page(1))
        forth = visitor.page.locator(".message.ephemeral").get_by_role("button", name="Next")
        await forth.focus()
        before = await forth.bounding_box()
        await visitor.page.keyboard.press("Enter")
        await bot.show(await bot.asked(), page(2), update=True)
        await visitor.page.get_by_text("7 of page 2", exact=True).wait_for()
        assert await focused(visitor.page) == "Next"
        after = await forth.bounding_box()
        assert before is not None and after is not None
        assert abs(before["y"] - after["y"]) < 2
        # On the last page there is no next one: its neighbour has the focus.
        await visitor.page.keyboard.press("Enter")
        await bot.show(await bot.asked(), page(3), update=True)
        await visitor.page.get_by_text("7 of page 3", exact=True).wait_for()
        assert await focused(visitor.page) == "Back"


SORT = {"type": 3, "custom_id": "sort", "placeholder": "Sort by", "options": [
    {"label": "Best", "value": "best", "description": "the best match first", "emoji": {"name": "⭐"}, "default": True},
    {"label": "Newest", "value": "newest"},
    {"label": "Oldest", "value": "oldest"},
]}  # fmt: skip
TAGS = {"type": 3, "custom_id": "tags", "placeholder": "Tags", "min_values": 1, "max_values": 2, "options": [
    {"label": name, "value": name.lower()} for name in ("Cat", "Dog", "Cake", "Panda")
]}  # fmt: skip
WHO, WHERE = ({"type": 5, "custom_id": "who", "placeholder": "Who"},
              {"type": 8, "custom_id": "where", "placeholder": "Where", "channel_types": [0, 11]})  # fmt: skip


@pytest.mark.parametrize(
    ("menu", "keys", "values"),
    [
        (SORT, ["Enter", "ArrowDown", "Enter"], ["newest"]),
        (SORT, [" ", "End", " "], ["oldest"]),
        (SORT, ["n", "Enter"], ["newest"]),
        (TAGS, ["Enter", "p", "Enter", "Home", "Enter", "ArrowDown", "Enter", "Tab"], ["cat", "panda"]),
        (TAGS, ["Enter", "c", "Enter", "Escape"], ["cake"]),
    ],
)
async def test_a_select_menu_is_used_by_keyboard(menu: dict[str, Any], keys: list[str], values: list[str]) -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        face = visitor.message(await bot.post("chat", row(menu))).get_by_role("combobox", name=menu["placeholder"])
        await face.focus()
        for key in keys:
            await visitor.page.keyboard.press(key)
        asked = await bot.asked()
        assert asked["data"]["values"] == values
        assert await face.get_attribute("aria-expanded") == "false"
        await bot.show(asked, text("thanks"))
        await visitor.page.get_by_text("thanks").wait_for()
        labels = [o["label"] for o in menu["options"] if o["value"] in values]
        assert (await face.inner_text()).split("\n") == labels


async def test_a_select_menu_shows_emoji_descriptions_and_how_many_to_choose() -> None:
    async with bot_at_the_page() as (_, bot, visitor):
        message = visitor.message(await bot.post("chat", row(SORT), row(TAGS)))
        await message.get_by_role("combobox", name="Sort by").click()
        best = message.get_by_role("option", name="Best")
        assert await best.inner_text() == "⭐\nBest\nthe best match first"
        assert await best.get_attribute("aria-selected") == "true"
        await visitor.page.keyboard.press("Escape")
        await message.get_by_role("combobox", name="Tags").click()
        rule = message.get_by_role("listbox", name="Tags")
        assert (await rule.inner_text()).startswith("Choose 1 to 2")
        for name in ("Cat", "Dog"):
            await message.get_by_role("option", name=name).click()
        assert await message.get_by_role("option", name="Cake").get_attribute("aria-disabled") == "true"


async def test_members_and_channels_are_chosen_from_what_the_member_sees() -> None:
    async with bot_at_the_page() as (sandbox, bot, visitor):
        await visitor.be("dora")
        await visitor.open_channel("chat")
        message = visitor.message(await bot.post("chat", row(WHO), row(WHERE)))
        await message.get_by_role("combobox", name="Where").click()
        where = await message.locator(".picker-list:popover-open .picker-texts").all_inner_texts()
        assert "cats only\n#pictures" in where
        assert not [name for name in where if name.startswith(("regulars", "announcements", "Lobby"))]
        await visitor.page.keyboard.press("Escape")
        await message.get_by_role("combobox", name="Who").click()
        await message.get_by_role("option", name="Cem").click()
        asked = await bot.asked()
        assert asked["data"]["values"] == [str(sandbox.user("cem").id)]
        await bot.show(asked, text("thanks"))
        await visitor.page.get_by_text("thanks").wait_for()
