"""A member of the sandbox who uses Magpie as people do, and reads its answers as people see them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.sandbox.person import Person

SLASH, MENU = 1, 3
COMMAND, COMPONENT, AUTOCOMPLETE = 2, 3, 4
SUBCOMMAND, SUBCOMMAND_GROUP, STRING, INTEGER, BOOLEAN, USER, CHANNEL, ATTACHMENT = 1, 2, 3, 4, 5, 6, 7, 11
KINDS = {"channel": CHANNEL, "author": USER, "count": INTEGER, "share": BOOLEAN, "image": ATTACHMENT}
LOADING, EPHEMERAL = 128, 64
ROW, BUTTON, SELECT, SECTION, TEXT, THUMBNAIL, GALLERY = 1, 2, 3, 9, 10, 11, 12
PATIENCE_S = 120.0


@dataclass(frozen=True)
class ShownHit:
    """One result as it is seen. message_id: where "Open message" leads. more: what asks for more like it."""

    message_id: str
    image_id: str
    picture: str
    alt: str
    spoiler: bool
    words: str
    more: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the bot answered. words: every text in it, in order."""

    message: dict[str, Any]
    words: str
    hits: list[ShownHit]

    @property
    def ids(self) -> list[str]:
        return [hit.message_id for hit in self.hits]

    @property
    def private(self) -> bool:
        return bool(self.message["flags"] & EPHEMERAL)


class Member(Person):
    """Waits longer than a person at the sandbox would: a model takes its time on a busy machine."""

    async def event(self, name: str, check: Callable[[Any], bool] = lambda _: True, since: int = 0) -> Any:
        return await self.one_of((name,), check, since)

    async def one_of(self, names: tuple[str, ...], check: Callable[[Any], bool], since: int = 0) -> Any:
        def found() -> list[Any]:
            return [data for name, data in self.events[since:] if name in names and check(data)]

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(found)
        return found()[0]

    @property
    def id(self) -> str:
        return str(self.ready["user"]["id"])

    # -- posting

    async def post(self, channel_id: int | str, *images: bytes, text: str = "", **more: Any) -> dict[str, Any]:
        uploads = [await self.upload(channel_id, data, f"picture{at}.png") for at, data in enumerate(images)]
        attachments = [{**upload, "id": str(at)} for at, upload in enumerate(uploads)]
        return await self.say(channel_id, text, attachments=attachments, **more)

    async def reply(self, message: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
        return await self.say(message["channel_id"], text, message_reference={"message_id": message["id"]}, **more)

    async def remove(self, message: dict[str, Any]) -> None:
        await self.ok("DELETE", f"/channels/{message['channel_id']}/messages/{message['id']}")

    async def fetched(self, url: str) -> bytes:
        """A file of a message, as the CDN serves it."""
        async with self.http.get(url) as response:
            assert response.status == 200
            return await response.read()

    # -- asking

    async def find(
        self, guild_id: int, channel_id: int | str, query: str, only: int | str | None = None, **options: Any
    ) -> Reply:
        """only: the channel to search. options: the others, by name."""
        given = {"query": query, **({} if only is None else {"channel": str(only)}), **options}
        return await self.use(guild_id, channel_id, "find", _filled(given))

    async def find_like(
        self,
        guild_id: int,
        channel_id: int | str,
        query: str,
        image: bytes,
        filename: str = "question.png",
        **options: Any,
    ) -> Reply:
        """A picture beside the words."""
        given = _filled({"query": query, "image": "0", **options})
        upload = await self.upload(channel_id, image, filename)
        return await self.use(guild_id, channel_id, "find", given, attachments=[upload])

    async def browse(self, guild_id: int, channel_id: int | str, **options: Any) -> Reply:
        return await self.use(guild_id, channel_id, "browse", _filled(options))

    async def similar_to_file(self, guild_id: int, channel_id: int | str, image: bytes) -> Reply:
        upload = await self.upload(channel_id, image, "question.png")
        options = [{"type": ATTACHMENT, "name": "image", "value": "0"}]
        return await self.use(guild_id, channel_id, "similar", options, attachments=[upload])

    async def similar_to_link(self, guild_id: int, channel_id: int | str, link: str) -> Reply:
        return await self.use(guild_id, channel_id, "similar", [{"type": STRING, "name": "message", "value": link}])

    async def similar_by_menu(self, guild_id: int, message: dict[str, Any]) -> Reply:
        name = "Find similar pictures"
        return await self.use(guild_id, message["channel_id"], name, [], type=MENU, target_id=message["id"])

    async def press(self, guild_id: int, message: dict[str, Any], component: dict[str, Any]) -> Reply:
        """A button, or a choice in a menu, that is answered by a message of its own."""
        return await self._answer_to(await self._use_component(guild_id, message, component))

    async def press_and_see_it_change(
        self,
        guild_id: int,
        message: dict[str, Any],
        component: dict[str, Any],
        check: Callable[[Reply], bool] = lambda _: True,
    ) -> Reply:
        """check: of a message that may change for other reasons as well."""
        since = len(self.events)
        await self._use_component(guild_id, message, component)
        changed = await self.event(
            "MESSAGE_UPDATE", lambda seen: seen["id"] == message["id"] and check(read(seen)), since
        )
        return read(changed)

    async def choose(self, guild_id: int, message: dict[str, Any], menu: dict[str, Any], *values: str) -> Reply:
        """A choice that is answered by a message of its own."""
        data = {"component_type": menu["type"], "custom_id": menu["custom_id"], "values": [*values]}
        extra = {"message_id": message["id"], "message_flags": message["flags"], "guild_id": str(guild_id)}
        application = message.get("application_id") or message["author"]["id"]
        return await self._answer_to(await self.interact(COMPONENT, application, message["channel_id"], data, **extra))

    async def choose_and_see_it_change(
        self,
        guild_id: int,
        message: dict[str, Any],
        menu: dict[str, Any],
        *values: str,
        check: Callable[[Reply], bool] = lambda _: True,
    ) -> Reply:
        return await self.press_and_see_it_change(guild_id, message, {**menu, "values": [*values]}, check)

    async def _use_component(self, guild_id: int, message: dict[str, Any], component: dict[str, Any]) -> str:
        """component: a button, or a menu with what is chosen as its `values`."""
        data = {"component_type": component["type"], "custom_id": component["custom_id"]}
        if "values" in component:
            data["values"] = component["values"]
        extra = {"message_id": message["id"], "message_flags": message["flags"], "guild_id": str(guild_id)}
        application = message.get("application_id") or message["author"]["id"]
        return await self.interact(COMPONENT, application, message["channel_id"], data, **extra)

    async def ask_to_be_forgotten(self, guild_id: int, channel_id: int | str, *, everywhere: bool = False) -> Reply:
        """Up to the question whether to; everywhere: to opt out."""
        explained = await self.use(guild_id, channel_id, "privacy", [])
        wish = "magpie:privacy_leave:" if everywhere else "magpie:privacy_delete:"
        return await self.press_and_see_it_change(guild_id, explained.message, button(explained.message, wish))

    async def use(
        self, guild_id: int, channel_id: int | str, name: str, options: list[dict[str, Any]], **more: Any
    ) -> Reply:
        """Any command, to its final answer."""
        command = await self.command(guild_id, name)
        data = {"id": command["id"], "version": command["version"], "name": name, "type": SLASH, "options": options}
        where = {"guild_id": str(guild_id)}
        nonce = await self.interact(COMMAND, command["application_id"], channel_id, {**data, **more}, **where)
        return await self._answer_to(nonce)

    async def subcommand(self, guild_id: int, channel_id: int | str, name: str, sub: str, **options: str) -> Reply:
        return await self.use(guild_id, channel_id, name, [_sub(sub, options)])

    async def magpie(self, guild_id: int, channel_id: int | str, *sub: str, **options: tuple[int, str]) -> Reply:
        """A subcommand of /magpie. options: their type and value."""
        filled = [{"type": kind, "name": name, "value": value} for name, (kind, value) in options.items()]
        nested: dict[str, Any] = {"type": SUBCOMMAND, "name": sub[-1], "options": filled}
        for group in reversed(sub[:-1]):
            nested = {"type": SUBCOMMAND_GROUP, "name": group, "options": [nested]}
        return await self.use(guild_id, channel_id, "magpie", [nested])

    async def seen_as(self, message: dict[str, Any], check: Callable[[Reply], bool]) -> Reply:
        """Waits until this message, as it was sent or changed, looks as it should."""
        found = await self.one_of(
            ("MESSAGE_CREATE", "MESSAGE_UPDATE"), lambda seen: seen["id"] == message["id"] and check(read(seen))
        )
        return read(found)

    async def offered(
        self, guild_id: int, channel_id: int | str, name: str, sub: str | None = None, **typed: str
    ) -> list[str]:
        """The choices that a half-typed option is offered: the first of those given."""
        return [choice["value"] for choice in await self.choices(guild_id, channel_id, name, sub, **typed)]

    async def choices(
        self, guild_id: int, channel_id: int | str, name: str, sub: str | None = None, **typed: str
    ) -> list[dict[str, Any]]:
        """As `offered`, with the names that people read."""
        command = await self.command(guild_id, name)
        options = _filled(typed)
        options[0]["focused"] = True
        nested = options if sub is None else [{"type": SUBCOMMAND, "name": sub, "options": options}]
        data = {"id": command["id"], "version": command["version"], "name": name, "type": SLASH, "options": nested}
        where = {"guild_id": str(guild_id)}
        nonce = await self.interact(AUTOCOMPLETE, command["application_id"], channel_id, data, **where)
        told = await self.event("APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE", lambda seen: seen["nonce"] == nonce)
        return list(told["choices"])

    async def ask_in_public(self, bot_id: int, image: dict[str, Any], words: str) -> Reply:
        """Replies to an image, names the bot, and reads what it replies."""
        since = len(self.events)
        return await self.replied(await self.reply(image, f"<@{bot_id}> {words}"), since)

    async def ask_by_name(self, bot_id: int, channel_id: int | str, words: str, *images: bytes) -> Reply:
        """A message that begins with the bot's name, and what the bot replies."""
        since = len(self.events)
        return await self.replied(await self.post(channel_id, *images, text=f"<@{bot_id}> {words}"), since)

    async def replied(self, asked: dict[str, Any], since: int = 0) -> Reply:
        """What somebody replies to a message."""

        def answer(seen: dict[str, Any]) -> bool:
            return (seen.get("message_reference") or {}).get("message_id") == asked["id"]

        return await self.message(answer, since)

    async def message(self, check: Callable[[dict[str, Any]], bool], since: int = 0) -> Reply:
        """A message that anybody in the channel can see."""
        return read(await self.event("MESSAGE_CREATE", check, since))

    async def _answer_to(self, nonce: str) -> Reply:
        begun = await self.event("INTERACTION_CREATE", lambda seen: seen.get("nonce") == nonce)

        def final(message: dict[str, Any]) -> bool:
            told = message.get("interaction_metadata") or {}
            return told.get("id") == begun["id"] and not message["flags"] & LOADING

        return read(await self.one_of(("MESSAGE_CREATE", "MESSAGE_UPDATE"), final))


def read(message: dict[str, Any]) -> Reply:
    parts = list(_unfolded(message.get("components") or []))
    words = [message["content"]] + [part["content"] for part in parts if part["type"] == TEXT]
    return Reply(message, "\n".join(filter(None, words)), list(_hits(parts)))


def _hits(parts: list[dict[str, Any]]) -> Iterator[ShownHit]:
    """Those of a gallery with a line below it for each picture, or those of a list."""
    menus = [part for part in parts if part.get("custom_id") == "magpie-menu:like"]
    galleries = [part for part in parts if part["type"] == GALLERY]
    sections = [part for part in parts if part["type"] == SECTION]
    if not menus:
        return
    if galleries:
        pictures = galleries[0]["items"]
        below = next(part for part in parts[parts.index(galleries[0]) :] if part["type"] == TEXT)
        described = below["content"].split("\n")
    else:
        pictures = [section["accessory"] for section in sections]
        described = [section["components"][0]["content"] for section in sections]
    for picture, words, option in zip(pictures, described, menus[0]["options"], strict=True):
        [link] = re.findall(r"\(https://discord\.com/channels/\d+/\d+/(\d+)\)", words)
        yield ShownHit(
            message_id=link,
            image_id=option["value"],
            picture=picture["media"]["url"],
            alt=picture["description"],
            spoiler=picture.get("spoiler", False),
            words=words,
            more={**menus[0], "values": [option["value"]]},
        )


def button(message: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The button whose id begins like this."""
    return next(part for part in _unfolded(message["components"]) if part.get("custom_id", "").startswith(prefix))


def labelled(message: dict[str, Any], label: str) -> dict[str, Any] | None:
    """The button with this label, if there is one."""
    return next((part for part in _unfolded(message["components"]) if part.get("label") == label), None)


def _unfolded(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for component in components:
        yield component
        yield from _unfolded(component.get("components") or [])


def _sub(name: str, options: dict[str, str]) -> dict[str, Any]:
    return {"type": SUBCOMMAND, "name": name, "options": _filled(options)}


def _filled(options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": KINDS.get(key, STRING), "name": key, "value": value} for key, value in options.items()]
