"""A user of the page: clicks, types and reads what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, Response

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The bot's ephemeral response. images: the alt texts of the pictures, best first."""

    message_id: str
    words: str
    images: list[str]


@dataclass
class Visitor:
    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors in the browser's console or network log."""

    @classmethod
    async def arrive(cls, browser: Browser, url: str, *, height: int = 800) -> Visitor:
        context = await browser.new_context(viewport={"width": 1280, "height": height}, locale="en-GB")
        context.set_default_timeout(PATIENCE_S * 1000)
        visitor = cls(await context.new_page())
        visitor._listen(url)
        await visitor.page.goto(url)
        return visitor

    def _listen(self, url: str) -> None:
        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(f"console: {message.text}")

        def asked(request: Request) -> None:
            if not request.url.startswith((url, "data:", f"blob:{url}")):
                self.complaints.append(f"left the sandbox: {request.url}")

        self.page.on("console", heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

        def answered(response: Response) -> None:
            if response.status >= 400:
                self.complaints.append(f"{response.status}: {response.url}")

        self.page.on("request", asked)
        self.page.on("response", answered)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))

    async def be(self, name: str) -> None:
        await self.page.locator(f".member[data-member={name}]").click()
        await self.page.locator(f".member[data-member={name}][aria-pressed=true]").wait_for()

    async def open_channel(self, name: str) -> None:
        await self.page.locator(f'.channel[data-channel="{name}"]').click()
        await self.page.locator("#channel-title h1", has_text=name).wait_for()

    def channels(self) -> Locator:
        return self.page.locator(".channel")

    async def post_scene(self, caption: str) -> str:
        """Clicks a scene of the tray; gives the message's id once it is there."""
        before = await self._newest()
        await self.page.locator(f'.scene[data-scene="{caption}"]').click()
        await self.page.wait_for_function(
            "before => { const last = [...document.querySelectorAll('.message:has(.picture)')].at(-1);"
            " return last && last.dataset.messageId !== before; }",
            arg=before,
        )
        newest = await self._newest()
        assert newest is not None
        return newest

    async def _newest(self) -> str | None:
        with_picture = self.page.locator(".message:has(.picture)")
        return await with_picture.last.get_attribute("data-message-id") if await with_picture.count() else None

    def message(self, message_id: str) -> Locator:
        return self.page.locator(f"#message-{message_id}")

    async def command(self, name: str, *typed: str) -> Answer:
        """Types a command and the text of its first option, and waits for the answer."""
        before = await self._last_answer()
        await self.page.locator("#text").click()
        await self.page.keyboard.type(f"/{name} ")
        await self.page.locator(".prompt").wait_for()
        for text in typed:
            await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")
        return await self._answer(before)

    async def say(self, text: str) -> None:
        await self.page.locator("#text").click()
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def public_answer(self, text: str) -> Answer:
        """The newest message of an application with this text."""
        application = self.page.locator(".badge")
        answer = self.page.locator(".message:not(.ephemeral)", has_text=text, has=application).last
        await answer.wait_for()
        return await self._read(answer)

    async def find(self, words: str) -> Answer:
        return await self.command("find", words)

    async def command_with_choice(self, name: str, option: str, number: int) -> Answer:
        """option: of the command, whose choices are counted from one."""
        before = await self._last_answer()
        await self.page.locator("#text").click()
        await self.page.keyboard.type(f"/{name} ")
        await self.page.locator(".prompt").wait_for()
        if await (chip := self.page.locator(f'.prompt .chip[data-option="{option}"]')).count():
            await chip.click()
        await self.page.locator(".prompt .suggest-item").nth(number - 1).click()
        await self.page.locator(".prompt .run").click()
        return await self._answer(before)

    async def press(self, answer: Answer, label: str) -> Answer:
        before = await self._last_answer()
        await self.message(answer.message_id).get_by_role("button", name=label).first.click()
        return await self._answer(before)

    async def press_and_see_it_change(self, answer: Answer, label: str) -> Answer:
        body = self.message(answer.message_id).locator(".message-body")
        before = await body.inner_text()
        await self.message(answer.message_id).get_by_role("button", name=label).first.click()
        await self.page.wait_for_function(
            "([id, before]) => { const body = document.querySelector(`#message-${id} .message-body`);"
            " return body && body.innerText !== before && !body.querySelector('[aria-busy=true]'); }",
            arg=[answer.message_id, before],
        )
        return await self._read(self.message(answer.message_id))

    async def choose(self, answer: Answer, number: int) -> Answer:
        """An entry of the answer's menu."""
        before = await self._last_answer()
        message = self.message(answer.message_id)
        await message.locator(".picker-face").first.click()
        await message.locator(".picker-list:popover-open [role=option]").nth(number - 1).click()
        return await self._answer(before)

    async def menu(self, message_id: str, entry: str) -> None:
        await self.message(message_id).hover()
        await self.message(message_id).locator(".more").click()
        await self.page.get_by_role("menuitem", name=entry).click()

    async def similar_to(self, message_id: str) -> Answer:
        return await self.menu_answer(message_id, "Find similar pictures")

    async def menu_answer(self, message_id: str, entry: str) -> Answer:
        before = await self._last_answer()
        await self.menu(message_id, entry)
        return await self._answer(before)

    async def delete(self, message_id: str) -> None:
        await self.menu(message_id, "Delete")
        await self.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await self.message(message_id).wait_for(state="detached")

    async def _last_answer(self) -> str | None:
        answers = self.page.locator(".message.ephemeral")
        return await answers.last.get_attribute("data-message-id") if await answers.count() else None

    async def _answer(self, before: str | None) -> Answer:
        await self.page.wait_for_function(
            "before => { const last = [...document.querySelectorAll('.message.ephemeral')].at(-1);"
            " return last && last.dataset.messageId !== before && !last.querySelector('.waiting'); }",
            arg=before,
        )
        return await self._read(self.page.locator(".message.ephemeral").last)

    async def _read(self, answer: Locator) -> Answer:
        images = await answer.locator(".picture img").evaluate_all("all => all.map((one) => one.alt)")
        message_id = await answer.get_attribute("data-message-id")
        assert message_id is not None
        return Answer(message_id, re.sub(r"\s+", " ", await answer.locator(".message-body").inner_text()), images)

    async def first_number(self, answer: Answer) -> int:
        """Of those in bold; 0 where there is none."""
        bold = await self.message(answer.message_id).locator("strong").all_inner_texts()
        return next((int(text) for text in bold if text.isdecimal()), 0)

    async def loaded(self) -> None:
        """Waits until the visible images are."""
        await self.page.wait_for_function("[...document.images].every((one) => one.complete || one.loading === 'lazy')")

    async def screenshot(self, path: str) -> None:
        await self.loaded()
        await self.page.screenshot(path=path)
