"""Kills the bot in the middle of things, round after round, and compares what it remembers with what there is.

Everything is chosen by a seed: what people do, when the bot is killed, how Discord stumbles meanwhile. After each round
the bot must remember exactly the images that exist and that nobody asked it to forget, each once, and say nothing in
public about any other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bot.discord_io.attachments import preview_id
from bot.features.formatting import LABEL_EMOJI
from sandbox.faults import Fault
from sandbox.permissions import may_read
from sandbox.state import Channel, Message
from tests.e2e.harness import House, kill, sample, until
from tests.e2e.member import STRING, Member, button

SCENES = ("panda", "rocket", "octopus", "bicycle", "sailboat", "umbrella", "sunflower", "red-apple")
PEOPLE = ("ann", "bob", "cem", "dora")
PLACES = ("pictures", "chat", "cats only", "regulars", "party planning")
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "delay", "path": "/attachments/*", "seconds": 0.2, "times": None, "bots_only": False},
    {"kind": "server_error", "path": "/attachments/*", "status": 503, "times": 3, "bots_only": False},
    {"kind": "drop", "path": "/attachments/*", "times": 3, "bots_only": False},
    {"kind": "rate_limit", "method": "GET", "path": "/channels/*", "times": 2},
    {"kind": "server_error", "method": "GET", "path": "/channels/*", "status": 502, "times": 3},
    {"kind": "drop", "method": "GET", "path": "/channels/*", "times": 2},
    {"kind": "server_error", "method": "POST", "path": "/channels/*/messages", "times": 2},
    {"kind": "double_event", "event": "MESSAGE_*", "times": None},
    {"kind": "late_event", "event": "MESSAGE_*", "seconds": 0.3, "times": 5},
)
"""Lost events are not among them: Discord tells of those by a new session only, which a kill brings anyway."""

Key = tuple[int, str, int]
"""An image: the message's id, the source, the attachment's id."""


@dataclass
class Soak:
    """forgotten: the newest message of a member, by guild and author, that they asked the bot to forget."""

    home: House
    random: Random
    forgotten: dict[tuple[int, int], int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    async def run(self, rounds: int, report: Callable[[str], None] = lambda line: None) -> None:
        people = [await self.home.member(name) for name in PEOPLE]
        async with self.home.bot_process():
            await self._announce_in_public(people)
            await until(self._has_noted_all_places, "the bot has noted where each channel stands")
        for number in range(rounds):
            async with self.home.bot_process() as process:
                self._stumble()
                await self._act(people, self.random.randrange(1, 8), awake=True)
                await asyncio.sleep(self.random.random() * self.random.choice((0, 0.1, 1)))  # when the power fails
                await kill(process)
            await self._act(people, self.random.randrange(4), awake=False)
            while self.random.random() < 0.3:  # it fails again as soon as the bot is back
                async with self.home.bot_process() as process:
                    await asyncio.sleep(self.random.random())
                    await kill(process)
                self.counts["kills"] += 1
            self.counts["kills"] += 1
            self.home.sandbox.faults.clear()
            async with self.home.bot_process():
                await self._agrees(f"round {number}")
                await self._nobody_finds_more_than_they_see(people)
            report(f"round {number}: {dict(sorted(self.counts.items()))}")

    # -- what people and Discord do

    async def _has_noted_all_places(self) -> bool:
        """What was posted in a channel before the bot first noted it is history that it does not read."""
        with closing(sqlite3.connect(self.home.directory / "magpie.sqlite3")) as connection:
            noted = {id_ for (id_,) in connection.execute("SELECT id FROM channels WHERE last_seen IS NOT NULL")}
        return noted >= {self.home.channel(name) for name in PLACES}

    async def _announce_in_public(self, people: list[Member]) -> None:
        moderator = people[PEOPLE.index("bob")]
        option = {"type": STRING, "name": "mode", "value": "reply"}
        await moderator.use(self.home.nest, self.home.channel("pictures"), "tagging", [option])

    def _stumble(self) -> None:
        for fault in self.random.sample(FAULTS, self.random.randrange(3)):
            self.home.sandbox.faults.add(Fault(**fault))
            self.counts["faults"] += 1

    async def _act(self, people: list[Member], times: int, *, awake: bool) -> None:
        actions: list[tuple[int, Callable[[Member], Awaitable[None]]]] = [
            (10, self._post), (2, self._post_link), (4, self._delete), (2, self._drop_file), (1, self._delete_many),
            (1, self._open_thread), (1, self._delete_thread),
        ]  # fmt: skip
        if awake:
            actions.append((1, self._forget_me))
        for _ in range(times):
            [act] = self.random.choices([act for _, act in actions], [weight for weight, _ in actions])
            await act(self.random.choice(people))
            if self.random.random() < 0.5:
                await asyncio.sleep(self.random.random() * 0.2)

    async def _post(self, who: Member) -> None:
        images = [self._image() for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        if (place := self._place(who)) is not None:
            await who.post(place.id, *images)
            self.counts["posts"] += 1

    async def _post_link(self, who: Member) -> None:
        if (place := self._place(who)) is not None:
            await who.say(place.id, f"{self.home.sandbox.url}/sandbox/samples/{self.random.choice(SCENES)}.png")
            self.counts["links"] += 1

    async def _delete(self, who: Member) -> None:
        if (message := self._message(who)) is not None:
            await who.ok("DELETE", f"/channels/{message.channel_id}/messages/{message.id}")
            self.counts["deletions"] += 1

    async def _drop_file(self, who: Member) -> None:
        message = self._message(who)
        if message is not None and len(message.attachments) > 1:
            kept = [{"id": str(one.id)} for one in message.attachments[1:]]
            await who.ok("PATCH", f"/channels/{message.channel_id}/messages/{message.id}", {"attachments": kept})
            self.counts["files dropped"] += 1

    async def _delete_many(self, who: Member) -> None:
        moderator, place = await self.home.member("bob"), self.home.sandbox.channel("pictures")
        ids = [str(one.id) for one in list(place.messages.values())[-5:] if one.author_id != self._bot_id]
        if len(ids) >= 2:
            await moderator.ok("POST", f"/channels/{place.id}/messages/bulk-delete", {"messages": ids})
            self.counts["bulk deletions"] += 1

    async def _open_thread(self, who: Member) -> None:
        name = f"thread {self._next()}"
        made = await who.ok("POST", f"/channels/{self.home.channel('pictures')}/threads", {"name": name, "type": 11})
        await who.post(made["id"], self._image())
        self.counts["threads"] += 1

    async def _delete_thread(self, who: Member) -> None:
        threads = [one for one in self.home.sandbox.state.channels.values() if one.name.startswith("thread ")]
        if threads:
            await (await self.home.member("bob")).ok("DELETE", f"/channels/{self.random.choice(threads).id}")
            self.counts["threads deleted"] += 1

    async def _forget_me(self, who: Member) -> None:
        asked = await who.ask_to_be_forgotten(self.home.nest, self.home.channel("pictures"))
        since = self.home.sandbox.state.ids.next()
        await who.press_and_see_it_change(self.home.nest, asked.message, button(asked.message, "magpie:forget:"))
        self.forgotten[self.home.nest, int(who.id)] = since
        self.counts["own deletions"] += 1

    def _image(self) -> bytes:
        """Mostly new; sometimes a file that was posted before."""
        number = self._next() if self.random.random() < 0.8 else self.random.randrange(self._number + 1)
        return sample(SCENES[number % len(SCENES)]) + number.to_bytes(4)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _place(self, who: Member) -> Channel | None:
        place = self.home.sandbox.channel(self.random.choice(PLACES))
        return place if may_read(self.home.sandbox.state, place, int(who.id)) else None

    def _message(self, who: Member) -> Message | None:
        own = [
            message
            for place in self.home.sandbox.state.channels.values()
            for message in place.messages.values()
            if message.author_id == int(who.id) and may_read(self.home.sandbox.state, place, int(who.id))
        ]
        return self.random.choice(own[-20:]) if own else None

    # -- what must hold

    async def _agrees(self, when: str) -> None:
        """Waits until the bot remembers what it should, all of it ready."""

        async def agreed() -> bool:
            return not self._difference()

        try:
            await until(agreed, "the bot remembers what there is")
        except AssertionError as error:
            raise AssertionError(f"{when}: {self._difference()}") from error

    def _difference(self) -> dict[str, object]:
        """What is wrong, by kind; empty when nothing is."""
        expected, states = self._expected(), self._stored()
        replies = [
            message.id
            for place in self.home.sandbox.state.channels.values()
            for message in place.messages.values()
            if message.author_id == self._bot_id and message.content.startswith(LABEL_EMOJI)
            and int((message.reference or {}).get("message_id", 0)) not in {key[0] for key in expected}
        ]  # fmt: skip
        wrong = {
            "lost": sorted(expected - states.keys()),
            "still there": sorted(states.keys() - expected),
            "not ready": sorted(key for key in expected & states.keys() if states[key] != ["ready"]),
            "replies about nothing": replies,
        }
        return {kind: found for kind, found in wrong.items() if found}

    def _expected(self) -> set[Key]:
        state, found = self.home.sandbox.state, set[Key]()
        for place in state.channels.values():
            if not may_read(state, place, self._bot_id):
                continue
            for message in place.messages.values():
                cutoff = self.forgotten.get((place.guild_id, message.author_id), 0)
                if message.author_id == self._bot_id or message.id <= cutoff:
                    continue
                found |= {(message.id, "attachment", file.id) for file in message.attachments}
                urls = [embed["thumbnail"]["url"] for embed in message.previews]
                found |= {(message.id, "preview", preview_id(message.id, url)) for url in urls}
        return found

    def _stored(self) -> dict[Key, list[str]]:
        found: dict[Key, list[str]] = {}
        with closing(sqlite3.connect(self.home.directory / "magpie.sqlite3")) as connection:
            for *key, state in connection.execute("SELECT message_id, source, attachment_id, state FROM images"):
                found.setdefault((key[0], key[1], key[2]), []).append(state)
        return found

    async def _nobody_finds_more_than_they_see(self, people: list[Member]) -> None:
        state, there = self.home.sandbox.state, {key[0] for key in self._expected()}
        for who in people:
            answer = await who.find(self.home.nest, self.home.channel("pictures"), f"a {self.random.choice(SCENES)}")
            for message_id in map(int, answer.ids):
                place = next(one for one in state.channels.values() if message_id in one.messages)
                assert message_id in there, f"{who.id} found {message_id}, which is to be forgotten"
                assert may_read(state, place, int(who.id)), f"{who.id} found {message_id} without the right to see it"
            self.counts["answers"] += 1

    @property
    def _bot_id(self) -> int:
        return self.home.sandbox.application.bot_id
