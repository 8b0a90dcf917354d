"""The real bot against the sandbox: in this process, to look inside, or as a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.app import create_bot, log_in, stay_connected
from bot.discord_io.client import MagpieBot, use_endpoint
from bot.models import Image, ImageState
from bot.settings import Settings
from bot.store.database import Database
from bot.store.images import ImageStore
from clipcore.engine.engine import ClipEngine
from clipcore.images.processes import WorkLimits
from clipcore.types import Encoder
from sandbox.server import Sandbox
from tests.e2e.member import PATIENCE_S, Member
from tests.empty_database import empty_database

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "clipcore" / "bundled" / "samples"


def sample(name: str) -> bytes:
    """One of the scenes that the sandbox's tray offers."""
    return (SAMPLES / f"{name}.png").read_bytes()


def captions(name: str) -> tuple[str, str]:
    """What a sample shows, in English and Chinese."""
    entries = json.loads((SAMPLES / "samples.json").read_text("utf-8"))
    return next((entry["en"], entry["zh"]) for entry in entries if entry["file"] == f"{name}.png")


def settings_for(sandbox: Sandbox, directory: Path) -> dict[str, str]:
    return sandbox.bot_settings | {
        "DATABASE_URL": str(directory / "magpie.sqlite3"),
        "CLIP_MODEL": "bundled",
    }


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Looks again and again, for a limited time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process or a database
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it did not come about: {what}") from None


@dataclass
class House:
    """A sandbox, and the bot in it while it is up."""

    sandbox: Sandbox
    directory: Path
    encoder: Encoder
    up: MagpieBot | None = None
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def running(self) -> MagpieBot:
        assert self.up is not None, "the bot is not up"
        return self.up

    @property
    def nest(self) -> int:
        return self.sandbox.guild("The Nest").id

    def channel(self, name: str, guild: str | None = None) -> int:
        return self.sandbox.channel(name, guild).id

    async def member(self, username: str) -> Member:
        if username not in self.members:
            someone = Member(self.sandbox.url, self.sandbox.user(username).token)
            self.members[username] = someone
            await someone.connect()
        return self.members[username]

    @asynccontextmanager
    async def bot(self, *, caught_up: bool = True, **changed: Any) -> AsyncIterator[MagpieBot]:
        """The bot in this process, ready, and caught up unless the test prevents that. Its model is loaded once for all
        tests; the rest is as in production.
        """
        settings = Settings.model_validate(
            {key.lower(): value for key, value in {**settings_for(self.sandbox, self.directory), **changed}.items()}
        )
        use_endpoint(settings.discord_api_base, settings.discord_gateway, settings.discord_cdn)
        engine = ClipEngine(lambda: self.encoder, work_limits=WorkLimits())  # as the bot's own settings have it
        async with create_bot(settings, engine) as bot:
            await log_in(bot, settings)
            connection = asyncio.create_task(stay_connected(bot, engine))
            try:
                await asyncio.wait_for(bot.wait_until_ready(), PATIENCE_S)
                if caught_up:
                    await asyncio.wait_for(bot.services.catch_up.finished(), PATIENCE_S)
                self.up = bot
                yield bot
            finally:
                self.up = None
                connection.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await connection

    @asynccontextmanager
    async def bot_process(self, module: str = "bot", **changed: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """`python -m bot` itself, in a session of its own; killed at the end, if it still is there."""
        environment = {
            **os.environ,
            **settings_for(self.sandbox, self.directory),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            **changed,
        }
        command = (sys.executable, "-m", module)
        with (self.directory / "bot.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, cwd=self.directory, stderr=log, start_new_session=True
            )
        try:
            await self.sandbox.bot_connected(timeout_s=3 * PATIENCE_S)
            yield process
        finally:
            await kill(process)
            await until(self._has_lost_the_bot, "the sandbox notices that the bot is gone")

    async def _has_lost_the_bot(self) -> bool:
        """Until then, it would send the next bot's events to this one."""
        return not self.sandbox.server.sessions.is_connected(self.sandbox.application.bot_id)

    async def indexed(self, *messages: dict[str, Any]) -> list[Image]:
        """Waits until every image of these messages is searchable."""
        store = self.running.services.images
        found: list[Image] = []

        async def all_ready() -> bool:
            found.clear()
            for message in messages:
                images = await store.by_message(int(message["id"]))
                if len(images) < len(message["attachments"]):
                    return False
                found.extend(images)
            return all(image.state is ImageState.READY for image in found)

        await until(all_ready, "the pictures are indexed")
        return list(found)

    async def forgotten(self, *messages: dict[str, Any]) -> None:
        store = self.running.services.images

        async def none_left() -> bool:
            return not any([await store.by_message(int(message["id"])) for message in messages])

        await until(none_left, "the pictures are forgotten")

    async def kept(self) -> list[Image]:
        """Every image in the database, the bot being up or not."""
        async with reading(self.directory) as store:
            found: list[Image] = []
            for message_id in _message_ids(self.sandbox):
                found += await store.by_message(message_id)
            return found


@asynccontextmanager
async def reading(directory: Path) -> AsyncIterator[ImageStore]:
    database = await Database.open(directory / "magpie.sqlite3")
    try:
        yield ImageStore(database)
    finally:
        await database.close()


@asynccontextmanager
async def house(directory: Path, encoder: Encoder) -> AsyncIterator[House]:
    async with AsyncExitStack() as closing:
        sandbox = await closing.enter_async_context(Sandbox.serve())
        empty_database(directory / "magpie.sqlite3")
        found = House(sandbox, directory, encoder)
        try:
            yield found
        finally:
            for member in found.members.values():
                await member.close()


async def kill(process: asyncio.subprocess.Process) -> None:
    """At once and without a word, as when the power goes."""
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()


def _message_ids(sandbox: Sandbox) -> list[int]:
    return [message_id for channel in sandbox.state.channels.values() for message_id in channel.messages]
