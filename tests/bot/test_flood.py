"""A crowd that asks all at once: few images are read at a time, and one person gets few answers in public."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest
from discord import app_commands

from bot.discord_io.attachments import sightings
from bot.features.query_image import LOOKS_AT_ONCE, MOST_WAITING, NoQuestion, Questions
from bot.features.search import SearchCog
from bot.i18n import texts_for
from bot.models import RemoteImage
from tests.bot import discord_objects
from tests.bot.commands import bot_with_commands

HOSTS = frozenset({"cdn.discordapp.com"})
BOT, NOTHING = 900_000_000_000_000_009, cast(Any, None)


class SlowImages:
    """Store, messages and fetcher in one: nothing is remembered, and every download goes on until released."""

    def __init__(self) -> None:
        self.under_way, self.most, self.begun = 0, 0, 0
        self.released = asyncio.Event()

    async def by_message(self, message_id: int) -> list[Any]:
        return []

    def images(self, message: discord.Message) -> list[RemoteImage]:
        return sightings(message, HOSTS)

    async def download(self, sighting: RemoteImage) -> bytes:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.released.wait()
        self.under_way -= 1
        return b""

    async def embedding_of_file(self, data: bytes) -> str:
        return "a vector"

    @property
    def questions(self) -> Questions:
        here = cast(Any, self)
        return Questions(here, here, here, here)


class Named:
    own_id = BOT


@asynccontextmanager
async def asked(cog: SearchCog, messages: list[discord.Message]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Every message told to the cog, each in a task as events are, and as far as they come by themselves."""
    tasks = [asyncio.create_task(cog.on_message(message)) for message in messages]
    try:
        for _ in range(20):
            await asyncio.sleep(0)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def mention(server: discord.Guild, message_id: int, author: int) -> discord.Message:
    """A reply to an image that names the bot and asks for look-alikes."""
    replied_to = discord_objects.message_data(1, 7, attachments=[discord_objects.attachment(20)])
    reference = {"message_id": "7", "channel_id": "1", "guild_id": str(discord_objects.GUILD), "type": 0}
    return discord_objects.message(
        server, 1, message_id, author, content=f"<@{BOT}> similar", message_reference=reference,
        referenced_message=replied_to,
    )  # fmt: skip


@pytest.fixture
def server() -> discord.Guild:
    return discord_objects.guild([discord_objects.channel(1)])


@pytest.fixture
async def images() -> SlowImages:
    return SlowImages()


@pytest.fixture
def cog(images: SlowImages) -> SearchCog:
    return SearchCog(cast(Any, Named()), NOTHING, images.questions, NOTHING, NOTHING, NOTHING, NOTHING)


async def test_a_flood_of_mentions_by_many_downloads_few_images_at_a_time(
    server: discord.Guild, images: SlowImages, cog: SearchCog
) -> None:
    async with asked(cog, [mention(server, 100 + at, author=1000 + at) for at in range(25)]) as tasks:
        assert images.most == images.begun == LOOKS_AT_ONCE
        assert not any(task.done() for task in tasks)  # the others wait their turn


async def test_a_flood_of_mentions_by_one_person_is_answered_a_few_times_only(
    server: discord.Guild, images: SlowImages, cog: SearchCog
) -> None:
    async with asked(cog, [mention(server, 100 + at, author=1000) for at in range(25)]) as tasks:
        assert sum(not task.done() for task in tasks) == 4
        assert [task.exception() for task in tasks if task.done()] == [None] * 21


async def test_a_crowd_beyond_the_line_is_told_that_the_bot_is_busy_and_the_line_empties(
    server: discord.Guild, images: SlowImages
) -> None:
    questions, texts = images.questions, texts_for(None)
    posted = discord_objects.message(server, 1, 10, attachments=[discord_objects.attachment(20)])
    crowd = [asyncio.create_task(questions.of_message(posted, texts)) for _ in range(LOOKS_AT_ONCE + MOST_WAITING + 5)]
    for _ in range(20):
        await asyncio.sleep(0)
    away = [task.exception() for task in crowd if task.done()]
    assert [type(one) for one in away] == [NoQuestion] * 5
    images.released.set()
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in answers) == LOOKS_AT_ONCE + MOST_WAITING
    assert images.most == LOOKS_AT_ONCE


@pytest.mark.parametrize(
    ("name", "user", "other"), [("find", 1, 2), ("similar", 3, 4), ("Find similar pictures", 5, 6)]
)
async def test_a_person_may_search_15_times_in_10_seconds_whatever_others_do(name: str, user: int, other: int) -> None:
    bot = await bot_with_commands()
    kind = discord.AppCommandType.message if " " in name else discord.AppCommandType.chat_input
    command: Any = bot.tree.get_command(name, type=kind)
    now = datetime.now(UTC)

    async def use(user_id: int, after_s: float = 0.0) -> None:
        moment = now + timedelta(seconds=after_s)
        interaction = SimpleNamespace(user=discord.Object(user_id), guild_id=1, created_at=moment)
        for check in command.checks:
            assert await discord.utils.maybe_coroutine(check, interaction)

    for _ in range(15):
        await use(user)
    with pytest.raises(app_commands.CommandOnCooldown):
        await use(user)
    await use(other)
    await use(user, after_s=10.1)


class Asked(Exception):
    """The press went through."""


class Press:
    """A press of the button below a result, and what its presser was told."""

    id, locale = 5, discord.Locale.british_english

    def __init__(self) -> None:
        self.user = discord.Object(1000)
        self.response = self
        self.told: list[str] = []

    def is_done(self) -> bool:
        return False

    async def defer(self, **_: object) -> None:
        raise Asked

    async def send_message(self, sentence: str, **_: object) -> None:
        self.told.append(sentence)


async def test_a_button_pressed_again_and_again_is_answered_with_how_long_to_wait(cog: SearchCog) -> None:
    for _ in range(15):
        with pytest.raises(Asked):
            await cog.on_more_like_this(cast(Any, Press()), 1)
    hasty = Press()
    await cog.on_more_like_this(cast(Any, hasty), 1)
    assert "try again in" in hasty.told[0]
