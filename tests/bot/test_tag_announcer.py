"""How the tags of new images are announced, whatever Discord does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest

from bot.discord_io.messages import REPOST_EMOJI
from bot.errors import ImageUnreachable
from bot.features.announcements import MAX_AGE, MAX_WAITING, MAX_WAITING_IN_CHANNEL
from bot.features.formatting import TagFormatter
from bot.features.tagging import TagAnnouncer
from bot.indexing.indexer import IndexedMessage
from bot.indexing.labels import LabelBook, NamedLabel
from bot.models import (
    DISCORD_EPOCH_MS,
    ChannelRef,
    Image,
    ImageRef,
    ImageState,
    RemoteImage,
    Source,
    Tag,
    TaggingMode,
    utc_now,
)

LABELS = LabelBook([NamedLabel("cat", "🐱", "cat", "猫"), NamedLabel("dog", "🐶", "dog", "狗")])


@dataclass
class FakeDiscord:
    """Client, message and remembered replies in one. errors: raised once each, in order. held: where to wait.

    spoilers, gone, hidden: attachment ids.
    """

    replies: list[str] = field(default_factory=list)
    reactions: list[str] = field(default_factory=list)
    remembered: list[list[int]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    held: asyncio.Event | None = None
    held_in: dict[int, asyncio.Event] = field(default_factory=dict)  # by channel
    spoilers: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    reachable: bool = True
    covered: list[list[int]] = field(default_factory=list)
    known: dict[int, list[Image]] = field(default_factory=dict)  # by message
    described: dict[int, list[int]] = field(default_factory=dict)  # by a reply's id, the images
    contents: dict[int, str] = field(default_factory=dict)  # by a message's id
    reply_to: dict[int, int] = field(default_factory=dict)
    withdrawn: list[int] = field(default_factory=list)
    at: int = 0
    user: Any = field(default_factory=lambda: SimpleNamespace(id=9))

    async def look_up(self, ref: ImageRef) -> list[RemoteImage]:
        if not self.reachable:
            raise ImageUnreachable("not now")
        carried = [RemoteImage(Source.ATTACHMENT, at, "", spoiler=at in self.spoilers) for at in range(10)]
        return [image for image in carried if image.attachment_id not in self.gone]

    def get_partial_messageable(self, channel_id: int, *, guild_id: int) -> FakeDiscord:
        return replace(self, held=self.held_in.get(channel_id, self.held))  # its lists are this one's

    def get_partial_message(self, message_id: int) -> FakeDiscord:
        self.at = message_id
        return self

    async def stored(self, message_id: int) -> list[Image]:
        return self.known.get(message_id, [])

    async def about(self, image_ids: list[int]) -> dict[int, list[int]]:
        found = {reply: [one for one in ids if one in image_ids] for reply, ids in self.described.items()}
        return {reply: ids for reply, ids in found.items() if ids}

    async def withdraw(self, message_id: int) -> None:
        self.withdrawn.append(message_id)

    def get_guild(self, guild_id: int) -> None:
        return None

    async def add_reaction(self, emoji: str) -> None:
        if self.held is not None:
            await self.held.wait()
        self.reactions.append(emoji)

    async def fetch(self) -> Any:
        theirs = SimpleNamespace(emoji="🎉", me=False)
        at = self.at

        async def edit(content: str) -> None:
            self.contents[at] = content

        to = self.reply_to.get(at)
        return SimpleNamespace(
            reactions=[theirs, *(SimpleNamespace(emoji=one, me=True) for one in self.reactions)],
            content=self.contents.get(at, ""),
            reference=None if to is None else SimpleNamespace(message_id=to),
            edit=edit,
        )

    async def remove_reaction(self, reaction: Any, who: Any) -> None:
        assert who is self.user
        if self.errors:
            raise self.errors.pop(0)
        self.reactions.remove(reaction.emoji)

    async def cover(self, image_ids: list[int]) -> None:
        self.covered.append(image_ids)

    async def reply(self, text: str, *, silent: bool, mention_author: bool) -> Any:
        assert silent and not mention_author  # noqa: PT018 - nobody is notified
        if self.held is not None:
            await self.held.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.replies.append(text)
        return SimpleNamespace(id=99)

    async def remember(self, channel: ChannelRef, message_id: int, image_ids: list[int], covered: list[int]) -> None:
        assert {id_ for id_ in image_ids if id_ in self.spoilers} == set(covered)
        self.remembered.append(image_ids)


@pytest.fixture
def fake() -> FakeDiscord:
    return FakeDiscord()


class Announcer(TagAnnouncer):
    def announce(self, message: IndexedMessage) -> None:
        """What is announced is stored, too."""
        fake = cast(FakeDiscord, self._client)
        fake.known.setdefault(message.images[0].ref.message_id, list(message.images))
        super().announce(message)


@pytest.fixture
async def announcer(fake: FakeDiscord) -> AsyncIterator[TagAnnouncer]:
    hides = lambda ref: ref.attachment_id in fake.hidden  # noqa: E731 - a predicate
    formatter = TagFormatter(LABELS)
    made = Announcer(cast(Any, fake), formatter, cast(Any, fake), fake.look_up, hides, fake.stored)
    yield made
    await made.close()


def message(
    number: int,
    *labels: str,
    mode: TaggingMode = TaggingMode.REPLY,
    posted: datetime | None = None,
    channel: int = 2,
) -> IndexedMessage:
    """A message with one image for each label."""
    moment = posted or utc_now()
    message_id = ((int(moment.timestamp() * 1000) - DISCORD_EPOCH_MS) << 22) + number
    images = [
        Image(
            at,
            ImageRef(ChannelRef(1, channel), message_id, at, Source.ATTACHMENT, 5),
            ImageState.READY,
            tags=(Tag(label, 0.9 - 0.1 * at),),
        )
        for at, label in enumerate(labels)
    ]
    return IndexedMessage(tuple(images), mode)


async def test_one_reply_names_each_tag_of_a_message_once(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    announcer.announce(message(1, "cat", "dog", "cat"))
    await announcer.settled()
    [reply] = fake.replies
    assert reply.count("cat") == 1
    assert reply.index("cat") < reply.index("dog")
    assert fake.remembered == [[0, 1, 2]]


async def test_an_image_that_is_to_be_forgotten_is_not_spoken_of(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    fake.hidden = {0}
    announcer.announce(message(1, "cat", "dog"))
    await announcer.settled()
    [reply] = fake.replies
    assert "dog" in reply
    assert "cat" not in reply
    assert fake.remembered == [[1]]


async def test_reactions_are_the_emoji_of_the_tags(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    announcer.announce(message(1, "cat", "dog", mode=TaggingMode.REACTION))
    await announcer.settled()
    assert fake.reactions == ["🐱", "🐶"]


async def test_tags_of_a_spoiler_are_covered_and_cause_no_reactions(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    fake.spoilers = {0, 1}
    announcer.announce(message(1, "cat", "dog"))
    await announcer.settled()
    announcer.announce(message(3, "cat", "||us", mode=TaggingMode.REACTION))
    announcer.announce(message(4, "cat", "||us"))
    await announcer.settled()
    assert fake.reactions == []
    assert fake.replies == ["🏷️ ||🐱 cat · 🐶 dog||", "🏷️ ||🐱 cat · \\|\\|us||"]


async def test_of_what_has_become_a_spoiler_the_replies_go_and_the_bots_own_reactions(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    """Also where the reactions are just being added."""
    fake.held = asyncio.Event()
    announced = message(1, "cat", "dog", mode=TaggingMode.REACTION)
    announcer.announce(announced)
    await asyncio.sleep(0)
    await announcer.cover(announced.images)
    assert fake.covered == [[0, 1]]
    fake.held.set()
    await announcer.settled()
    assert fake.reactions == []


async def test_of_what_has_become_a_spoiler_other_reactions_of_the_bot_go_even_where_it_has_no_tags(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    fake.reactions.append(REPOST_EMOJI)
    await announcer.cover([replace(image, tags=()) for image in message(1, "cat").images])
    await announcer.settled()
    assert fake.reactions == []


async def test_a_reaction_that_cannot_be_removed_is_logged_and_stops_nothing(
    announcer: TagAnnouncer, fake: FakeDiscord, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    announced = message(1, "cat", mode=TaggingMode.REACTION)
    announcer.announce(announced)
    await announcer.settled()
    fake.errors = [discord.Forbidden(cast(Any, SimpleNamespace(status=403, reason="no")), "no")]
    await announcer.cover(announced.images)
    await announcer.settled()
    assert fake.reactions == ["🐱"]
    assert "taken back" in caplog.text
    announcer.announce(message(2, "dog"))
    await announcer.settled()
    assert len(fake.replies) == 1


async def test_of_a_message_with_a_spoiler_the_other_images_tags_are_shown(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    fake.spoilers = {1}
    announcer.announce(message(1, "cat", "dog"))
    announcer.announce(message(2, "cat", "dog", mode=TaggingMode.REACTION))
    await announcer.settled()
    assert fake.replies == ["🏷️ 🐱 cat · ||🐶 dog||"]
    assert fake.reactions == ["🐱"]


async def test_nothing_is_said_of_what_was_removed_or_cannot_be_looked_up(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    fake.gone = {0}
    announcer.announce(message(1, "cat", "dog"))
    await announcer.settled()
    assert fake.replies == ["🏷️ 🐶 dog"]
    fake.reachable = False
    announcer.announce(message(2, "cat"))
    await announcer.settled()
    assert len(fake.replies) == 1


@pytest.mark.parametrize("mode", [TaggingMode.OFF, TaggingMode.SILENT])
async def test_a_quiet_channel_sees_nothing(announcer: TagAnnouncer, fake: FakeDiscord, mode: TaggingMode) -> None:
    announcer.announce(message(1, "cat", mode=mode))
    await announcer.settled()
    assert (fake.replies, fake.reactions) == ([], [])


async def test_old_messages_and_messages_without_tags_are_not_announced(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    announcer.announce(message(1, "cat", posted=utc_now() - MAX_AGE - timedelta(seconds=1)))
    untagged = message(2, "cat")
    announcer.announce(IndexedMessage((Image(1, untagged.images[0].ref, ImageState.READY),), TaggingMode.REPLY))
    await announcer.settled()
    assert fake.replies == []


async def test_nothing_is_announced_once_it_is_closed(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    await announcer.close()
    announcer.announce(message(1, "cat"))
    await announcer.settled()
    await asyncio.sleep(0)
    assert fake.replies == []


async def test_a_message_is_announced_once(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    first = message(1, "cat")
    announcer.announce(first)
    announcer.announce(first)
    await announcer.settled()
    assert len(fake.replies) == 1


@pytest.mark.parametrize(
    "error",
    [
        discord.Forbidden(cast(Any, SimpleNamespace(status=403, reason="no")), {"code": 50013, "message": "no"}),
        RuntimeError("unexpected"),
    ],
    ids=["refused", "unexpected"],
)
async def test_an_announcement_that_fails_does_not_prevent_the_next(
    announcer: TagAnnouncer, fake: FakeDiscord, error: Exception
) -> None:
    fake.errors = [error] * 5
    for number in range(6):
        announcer.announce(message(number, "cat"))
    await announcer.settled()
    assert len(fake.replies) == 1


async def test_where_too_many_announcements_wait_new_ones_are_skipped(
    announcer: TagAnnouncer, fake: FakeDiscord, caplog: pytest.LogCaptureFixture
) -> None:
    fake.held = asyncio.Event()
    for number in range(MAX_WAITING + 10):
        announcer.announce(message(number, "cat", channel=number))
    fake.held.set()
    await announcer.settled()
    assert len(fake.replies) == MAX_WAITING
    assert "too many announcements wait" in caplog.text


async def test_a_slow_channel_holds_up_no_other_and_a_crowded_one_skips_its_own(
    announcer: TagAnnouncer, fake: FakeDiscord, caplog: pytest.LogCaptureFixture
) -> None:
    fake.held_in[2] = asyncio.Event()
    for number in range(MAX_WAITING_IN_CHANNEL + 10):
        announcer.announce(message(number, "cat", mode=TaggingMode.REACTION))
    announcer.announce(message(1000, "dog", channel=3))
    async with asyncio.timeout(60):
        while not fake.replies:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert (fake.replies, fake.reactions) == (["🏷️ 🐶 dog"], [])
    fake.held_in[2].set()
    await announcer.settled()
    assert fake.reactions == ["🐱"] * MAX_WAITING_IN_CHANNEL
    assert caplog.text.count("too many wait in its channel") == 10
    announcer.announce(message(2000, "cat"))
    await announcer.settled()
    assert len(fake.replies) == 2


def retagged(image: Image, *labels: str) -> Image:
    return replace(image, tags=tuple(Tag(label, 0.5) for label in labels))


async def test_tags_that_a_member_removed_just_before_are_not_announced(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    announced = message(1, "cat", "dog")
    first, second = announced.images
    fake.known[first.ref.message_id] = [retagged(first), second]
    announcer.announce(announced)
    await announcer.settled()
    assert fake.replies == ["🏷️ 🐶 dog"]


async def test_a_reply_is_corrected_when_a_member_changes_the_tags_and_withdrawn_when_none_is_left(
    announcer: TagAnnouncer, fake: FakeDiscord
) -> None:
    [image] = message(1, "cat").images
    here = image.ref.message_id
    fake.described, fake.reply_to = {50: [image.id], 60: [image.id]}, {50: here, 60: 12345}
    fake.contents = {50: "🏷️ 🐱 cat", 60: "🏷️ 🐱 cat"}
    fake.known[here] = [retagged(image, "dog")]
    announcer.correct(image)
    await announcer.settled()
    assert fake.contents == {50: "🏷️ 🐶 dog", 60: "🏷️ 🐱 cat"}, "an answer to a question is no announcement"
    fake.known[here] = [retagged(image)]
    announcer.correct(image)
    await announcer.settled()
    assert fake.withdrawn == [50]


async def test_reactions_of_removed_tags_go_and_others_stay(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    announced = message(1, "cat", "dog", mode=TaggingMode.REACTION)
    announcer.announce(announced)
    await announcer.settled()
    first, second = announced.images
    fake.known[first.ref.message_id] = [retagged(first, "our flag"), second]
    announcer.correct(first)
    await announcer.settled()
    assert fake.reactions == ["🐶"]


async def test_a_correction_says_nothing_openly_of_a_spoiler(announcer: TagAnnouncer, fake: FakeDiscord) -> None:
    [image] = message(1, "cat").images
    here = image.ref.message_id
    fake.spoilers = {0}
    fake.described, fake.reply_to, fake.contents = {50: [image.id]}, {50: here}, {50: "🏷️ ||🐱 cat||"}
    fake.known[here] = [retagged(image, "dog")]
    announcer.correct(image)
    await announcer.settled()
    assert fake.contents[50] == "🏷️ ||🐶 dog||"
