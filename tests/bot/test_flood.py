"""Many queries at once: few query images are downloaded at a time, and each member has a cooldown."""

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

from bot.discord_io import components
from bot.discord_io.attachments import images_of
from bot.discord_io.components import ActionButton, Actions
from bot.features.mentions import MentionsCog
from bot.features.paging import AnswerPages
from bot.features.query_image import MAX_DOWNLOADS, MAX_WAITING, QueryImages
from bot.i18n import ENGLISH
from bot.models import RemoteImage
from clipcore.errors import QueueFull
from tests.bot import discord_objects
from tests.bot.commands import bot_with_commands

BOT = 900_000_000_000_000_009
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class SlowImages:
    """Store, search, messages and downloader in one: nothing is indexed, and downloads last until released."""

    def __init__(self) -> None:
        self.running, self.max_running, self.begun = 0, 0, 0
        self.released = asyncio.Event()

    async def by_message(self, message_id: int) -> list[Any]:
        return []

    def downloadable_images_of(self, message: discord.Message) -> list[RemoteImage]:
        return images_of(message)

    async def download(self, image: RemoteImage, arrived: object = None) -> bytes:
        self.begun += 1
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        await self.released.wait()
        self.running -= 1
        return b""

    model_key = "fake@1#1"

    async def embedding_of_file(self, data: bytes, asker: object) -> str:
        return "a vector"

    @property
    def query_images(self) -> QueryImages:
        here = cast(Any, self)
        return QueryImages(here, here, here, here)


@asynccontextmanager
async def posted(cog: MentionsCog, messages: list[discord.Message]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Each message handled in a task of its own, as events are, until all of them wait."""
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
    """A reply to an image that mentions the bot and asks for similar ones."""
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
def cog(images: SlowImages) -> MentionsCog:
    nothing: Any = None
    pages = AnswerPages(nothing, nothing, nothing, nothing, nothing, page_size=5)
    services = SimpleNamespace(query_images=images.query_images, pages=pages)
    return MentionsCog(cast(Any, SimpleNamespace(own_id=BOT, services=services)))


async def test_a_flood_of_mentions_by_many_downloads_few_images_at_a_time(
    server: discord.Guild, images: SlowImages, cog: MentionsCog
) -> None:
    async with posted(cog, [mention(server, 100 + at, author=1000 + at) for at in range(25)]) as tasks:
        assert images.max_running == images.begun == MAX_DOWNLOADS - 1  # one is for other servers
        assert not any(task.done() for task in tasks)  # the others wait their turn


async def test_a_flood_of_mentions_by_one_person_is_answered_a_few_times_only(
    server: discord.Guild, images: SlowImages, cog: MentionsCog
) -> None:
    async with posted(cog, [mention(server, 100 + at, author=1000) for at in range(25)]) as tasks:
        assert sum(not task.done() for task in tasks) == 4
        assert [task.exception() for task in tasks if task.done()] == [None] * 21


async def test_queries_beyond_the_waiting_room_are_refused_as_busy_and_the_others_are_answered(
    server: discord.Guild, images: SlowImages
) -> None:
    query_images = images.query_images
    message = discord_objects.message(server, 1, 10, attachments=[discord_objects.attachment(20)])
    askers = [(number, number) for number in range(MAX_DOWNLOADS + MAX_WAITING + 5)]
    queries = [asyncio.create_task(query_images.from_message(asker, message)) for asker in askers]
    for _ in range(20):
        await asyncio.sleep(0)
    refused = [task.exception() for task in queries if task.done()]
    assert [type(error) for error in refused] == [QueueFull] * 5
    images.released.set()
    answers = await asyncio.gather(*queries, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == MAX_DOWNLOADS + MAX_WAITING
    assert images.max_running == MAX_DOWNLOADS
    await query_images.from_message((1, 1), message)  # there is room again


async def test_one_persons_queries_leave_room_and_downloads_to_others(
    server: discord.Guild, images: SlowImages
) -> None:
    query_images = images.query_images
    message = discord_objects.message(server, 1, 10, attachments=[discord_objects.attachment(20)])
    flood = [asyncio.create_task(query_images.from_message((1, 1), message)) for _ in range(60)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert images.begun == 2
    another = asyncio.create_task(query_images.from_message((1, 2), message))
    for _ in range(20):
        await asyncio.sleep(0)
    assert images.begun == 3
    images.released.set()
    await another
    await asyncio.gather(*flood, return_exceptions=True)


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


class Press:
    """An interaction with the button below a result: it is answered with one sentence, or deferred."""

    id, locale, guild, command = 5, discord.Locale.british_english, None, None
    data: dict[str, Any] = {}

    def __init__(self, client: object, member_id: int) -> None:
        self.client = client
        self.user = discord.Object(member_id)
        self.created_at = NOW
        self.response = self
        self.deferred = False
        self.sentences: list[str] = []

    @property
    def type(self) -> None:
        return None

    def is_done(self) -> bool:
        return False

    async def defer(self, **_: object) -> None:
        self.deferred = True

    async def send_message(self, view: discord.ui.LayoutView, **_: object) -> None:
        [text] = [item for item in view.walk_children() if isinstance(item, discord.ui.TextDisplay)]
        self.sentences.append(text.content)


class Pressed:
    """The bot, as far as a pressed button needs it."""

    def __init__(self) -> None:
        self.actions = Actions()
        self.actions.add(like=self._like)

    async def _like(self, press: components.Press) -> None:
        await press.interaction.response.defer()


async def test_a_button_pressed_too_often_is_refused_with_how_long_to_wait() -> None:
    bot, button = Pressed(), ActionButton("like", 1)
    for _ in range(15):
        press = Press(bot, 77_001)
        await button.callback(cast(Any, press))
        assert press.deferred
    press, other = Press(bot, 77_001), Press(bot, 77_002)
    await button.callback(cast(Any, press))
    assert not press.deferred
    assert "Try again in" in press.sentences[0]
    await button.callback(cast(Any, other))
    assert other.deferred


async def test_a_button_of_one_member_does_nothing_for_others() -> None:
    bot, button = Pressed(), ActionButton("like", 1, owner=77_001)
    mine, theirs = Press(bot, 77_001), Press(bot, 77_002)
    for press in (mine, theirs):
        await button.callback(cast(Any, press))
    assert mine.deferred
    assert not theirs.deferred
    assert theirs.sentences == [ENGLISH.errors.not_yours]


async def test_a_button_of_another_version_says_so() -> None:
    press = Press(Pressed(), 77_001)
    await ActionButton("flattened", 1).callback(cast(Any, press))
    assert press.sentences == [ENGLISH.errors.outdated]


@pytest.mark.parametrize("arguments", [("a b",), ("a/b",), ("x" * 100,)])
def test_what_a_custom_id_cannot_hold_is_refused_when_the_button_is_made(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="custom id"):
        ActionButton("like", *arguments)
