"""`python -m bot` as a process: problems of configuration end it with one sentence, signals stop it in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import discord
import numpy as np
import pytest
import torch
from discord.ext import commands
from pydantic import SecretStr

import clipcore
from bot.app import create_bot, create_engine, log_in, stay_connected
from bot.discord_io.client import MagpieBot
from bot.errors import StartupError
from bot.models import ChannelRef
from bot.services import Services
from bot.settings import Settings
from bot.store.database import Database
from clipcore.engine.engine import ClipEngine
from clipcore.index.scan import KERNEL
from clipcore.types import Encoder
from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.bot.commands import bot_with_commands, no_set_up
from tests.clipcore.tiny import write_tiny_clip
from tests.clipcore.tiny_families import write_tiny_dinov2

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180  # importing torch takes long where many things run at once


REGISTRATION = {"method": "PUT", "path": "/applications/*/commands"}


@dataclass(frozen=True)
class Ended:
    code: int | None
    said: str

    @property
    def sentence(self) -> str:
        """What was said, which must be one line and no traceback."""
        lines = self.said.strip().splitlines()
        assert len(lines) == 1, self.said
        return lines[0]


class Start:
    """Starts the bot in a directory of its own with these settings and nothing else of the environment's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def process(self, **settings: str) -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.directory / "hub"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "OMP_NUM_THREADS": "1",
            "DATABASE_URL": str(self.directory / "magpie.sqlite3"),
            "LOG_LEVEL": "WARNING",
            **settings,
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", env=environment, cwd=self.directory, stderr=asyncio.subprocess.PIPE
        )

    async def __call__(self, **settings: str) -> Ended:
        async with ended_in_any_case(await self.process(**settings)) as process:
            _, said = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return Ended(process.returncode, said.decode())


@asynccontextmanager
async def ended_in_any_case(process: asyncio.subprocess.Process) -> AsyncIterator[asyncio.subprocess.Process]:
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny"))


async def test_a_missing_token_ends_the_start_with_where_to_put_one(start: Start) -> None:
    ended = await start()
    assert ended.code == 2
    assert "DISCORD_TOKEN is not set" in ended.sentence
    assert ".env" in ended.sentence


async def test_a_refused_token_ends_the_start_with_what_to_do(start: Start, sandbox: Sandbox) -> None:
    ended = await start(**sandbox.bot_settings | {"DISCORD_TOKEN": "wrong"})
    assert ended.code == 2
    assert "Discord refused DISCORD_TOKEN" in ended.sentence
    assert "wrong" not in ended.sentence


async def test_an_unreachable_discord_ends_the_start_with_what_to_check(start: Start) -> None:
    ended = await start(DISCORD_TOKEN="token", DISCORD_API_BASE="http://127.0.0.1:9/api/v10")
    assert ended.code == 2
    assert "cannot be reached" in ended.sentence


async def test_a_missing_message_content_intent_ends_the_bot_with_where_to_enable_it(
    start: Start, sandbox: Sandbox, tiny_model: str
) -> None:
    sandbox.application.message_content = False
    ended = await start(CLIP_MODEL=tiny_model, **sandbox.bot_settings)
    assert ended.code == 2
    assert "MESSAGE CONTENT INTENT" in ended.sentence
    assert "developer portal" in ended.sentence


@pytest.mark.parametrize(("code", "sentence"), [(4004, "Discord refused DISCORD_TOKEN"), (4012, "code 4012")])
async def test_a_close_code_that_forbids_reconnecting_ends_the_bot(sandbox: Sandbox, code: int, sentence: str) -> None:
    nothing = cast(Any, None)
    sandbox.faults.add(Fault("identify", close_code=code))
    async with MagpieBot(no_set_up) as bot:
        await bot.login(sandbox.bot_token)
        with pytest.raises(StartupError, match=sentence):
            await stay_connected(bot, ClipEngine(lambda: nothing))


async def test_a_model_that_cannot_be_loaded_ends_the_start_with_how_to_download_it(
    start: Start, sandbox: Sandbox
) -> None:
    ended = await start(CLIP_MODEL="nobody/no-such-clip", **sandbox.bot_settings)
    assert ended.code == 2
    assert "hf download nobody/no-such-clip" in ended.sentence
    assert "CLIP_MODEL" in ended.sentence and "`bundled`" in ended.sentence
    assert "trial" in ended.sentence


async def test_a_model_without_text_ends_the_start_with_what_to_choose_instead(
    start: Start, sandbox: Sandbox, tmp_path: Path
) -> None:
    backbone = str(write_tiny_dinov2(tmp_path / "dinov2-tiny"))
    ended = await start(CLIP_MODEL=backbone, **sandbox.bot_settings)
    assert ended.code == 2
    assert "'dinov2-tiny' cannot read text" in ended.sentence
    assert "CLIP_MODEL" in ended.sentence


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, which says what it read, comes with torch for Linux")
@pytest.mark.parametrize(("own", "spins"), [({}, "0"), ({"OMP_WAIT_POLICY": "active"}, "30000000000")])
async def test_idle_threads_of_torch_sleep_unless_the_operator_wants_them_to_spin(
    start: Start, sandbox: Sandbox, tmp_path: Path, own: dict[str, str], spins: str
) -> None:
    backbone = str(write_tiny_dinov2(tmp_path / "dinov2-tiny"))  # it is loaded, and ends the start
    ended = await start(CLIP_MODEL=backbone, OMP_DISPLAY_ENV="verbose", **own, **sandbox.bot_settings)
    assert f"GOMP_SPINCOUNT = '{spins}'" in ended.said


async def test_an_unwritable_database_ends_the_start_with_the_setting(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = await start(DISCORD_TOKEN="token", DATABASE_URL=str(tmp_path / "file" / "magpie.sqlite3"))
    assert ended.code == 2
    assert "DATABASE_URL" in ended.sentence


async def test_a_database_newer_than_the_code_ends_the_start(start: Start, tmp_path: Path, sandbox: Sandbox) -> None:
    # A first start with a refused token makes the database; a later version then leaves its mark in it.
    await start(**sandbox.bot_settings | {"DISCORD_TOKEN": "wrong"})
    with sqlite3.connect(tmp_path / "magpie.sqlite3") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
    database.close()
    ended = await start(**sandbox.bot_settings)
    assert ended.code == 2
    assert "newer" in ended.sentence


async def test_sigterm_stops_a_running_bot_in_order_and_no_second_one_starts_meanwhile(
    start: Start, sandbox: Sandbox, tiny_model: str, tmp_path: Path
) -> None:
    settings = {"CLIP_MODEL": tiny_model, "LOG_LEVEL": "INFO", **sandbox.bot_settings}
    async with ended_in_any_case(await start.process(**settings)) as process, asyncio.timeout(PATIENCE_S):
        assert process.stderr is not None
        lines = [b""]
        while b"commands registered" not in lines[-1]:
            assert process.returncode is None
            lines.append(await process.stderr.readline())
        chosen = next(line for line in lines if b"vector search kernel chosen" in line)  # docs/operating.md explains it
        assert KERNEL.encode() in chosen
        second = await start(**settings)
        assert second.code == 2
        assert "Another bot is running with the database" in second.sentence
        assert "end it first" in second.sentence
        await ends_in_order(process, signal.SIGTERM)
    assert not (tmp_path / "magpie.sqlite3-wal").exists()  # the last connection was closed properly


async def test_sigint_stops_a_bot_that_is_still_loading_its_model(
    start: Start, sandbox: Sandbox, tiny_model: str
) -> None:
    logins = counted(sandbox, method="GET", path="/oauth2/applications/@me")
    settings = {"CLIP_MODEL": tiny_model, "LOG_LEVEL": "INFO", **sandbox.bot_settings}
    async with ended_in_any_case(await start.process(**settings)) as process, asyncio.timeout(PATIENCE_S):
        await until_triggered(logins)
        await ends_in_order(process, signal.SIGINT)


def counted(sandbox: Sandbox, method: str, path: str) -> Fault:
    """A fault that does nothing but count the bot's requests."""
    return sandbox.faults.add(Fault("delay", method, path, times=None, seconds=0))


async def until_triggered(fault: Fault) -> None:
    while not fault.triggered:  # noqa: ASYNC110 - a fault has no event
        await asyncio.sleep(0.01)


async def ends_in_order(process: asyncio.subprocess.Process, ending: signal.Signals) -> None:
    assert process.stderr is not None
    process.send_signal(ending)
    said = await process.stderr.read()
    assert await process.wait() == 0
    assert b"Traceback" not in said
    assert b"] stopped " in said.splitlines()[-1]


async def test_commands_are_registered_once_and_again_only_when_they_change(sandbox: Sandbox, tmp_path: Path) -> None:
    registrations = counted(sandbox, **REGISTRATION)
    bot = await bot_with_commands()
    async with bot:
        await bot.login(sandbox.bot_token)
        assert await bot.sync_commands(tmp_path / "commands") is True
        assert await bot.sync_commands(tmp_path / "commands") is False
        assert stat.S_IMODE((tmp_path / "commands").stat().st_mode) == 0o600
        (tmp_path / "commands").chmod(0o644)  # as earlier versions left it
        bot.tree.remove_command("privacy")
        assert await bot.sync_commands(tmp_path / "commands") is True
        assert stat.S_IMODE((tmp_path / "commands").stat().st_mode) == 0o600
    assert registrations.triggered == 2


@pytest.mark.parametrize("unusable", ["directory", "garbage"])
async def test_an_unusable_file_of_registered_commands_costs_a_registration_and_not_the_start(
    sandbox: Sandbox, tmp_path: Path, unusable: str
) -> None:
    file = tmp_path / "commands"
    file.mkdir() if unusable == "directory" else file.write_bytes(b"\xff\xfe")
    async with await bot_with_commands() as bot:
        await bot.login(sandbox.bot_token)
        assert await bot.sync_commands(file) is True
        assert await bot.sync_commands(file) is (unusable == "directory")


async def test_a_refused_registration_is_retried_at_the_next_start(sandbox: Sandbox, tmp_path: Path) -> None:
    async with await bot_with_commands() as bot:
        await bot.login(sandbox.bot_token)
        sandbox.faults.add(Fault("server_error", status=400, **REGISTRATION))
        assert await bot.sync_commands(tmp_path / "commands") is False
        assert await bot.sync_commands(tmp_path / "commands") is True


async def test_a_connection_lost_while_registering_does_not_end_the_start(sandbox: Sandbox, tmp_path: Path) -> None:
    async with await bot_with_commands() as bot:
        await bot.login(sandbox.bot_token)
        sandbox.faults.add(Fault("drop", times=None, **REGISTRATION))
        assert await bot.sync_commands(tmp_path / "commands") is False
        sandbox.faults.clear()
        assert await bot.sync_commands(tmp_path / "commands") is True


async def test_a_database_that_fails_during_the_set_up_ends_the_start(
    sandbox: Sandbox, tiny_model: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate(
        {"database_url": str(tmp_path / "magpie.sqlite3"), "clip_model": tiny_model,
         **{name.lower(): value for name, value in sandbox.bot_settings.items()}}
    )  # fmt: skip
    with closing(
        sqlite3.connect(tmp_path / "magpie.sqlite3", isolation_level=None, check_same_thread=False)
    ) as another_process:

        def load() -> Encoder:
            another_process.execute("BEGIN IMMEDIATE")  # after the database was opened, before it is written
            return clipcore.ClipModel.load(tiny_model, device="cpu")

        with pytest.raises(StartupError, match="database"):
            async with create_bot(settings, ClipEngine(load)) as bot:
                await log_in(bot, settings)


async def test_a_closing_bot_receives_no_events_while_its_services_stop_and_may_still_use_discord(
    sandbox: Sandbox,
) -> None:
    received: list[str] = []
    application_id = 0

    class Listener(commands.Cog):
        @commands.Cog.listener()
        async def on_news(self, news: str) -> None:
            received.append(news)

    async def stop() -> None:
        nonlocal application_id
        bot.dispatch("news", "while closing")
        await asyncio.sleep(0)
        application_id = (await bot.application_info()).id

    async with await bot_with_commands() as bot:
        await bot.login(sandbox.bot_token)
        await bot.add_cog(Listener())
        bot.exit_stack.push_async_callback(stop)
        bot.dispatch("news", "before")
        await asyncio.sleep(0)
    assert received == ["before"]
    assert application_id == sandbox.application_id


async def test_a_second_signal_stops_the_bot_at_once(start: Start, sandbox: Sandbox, tiny_model: str) -> None:
    logins = counted(sandbox, method="GET", path="/oauth2/applications/@me")
    settings = {"CLIP_MODEL": tiny_model, "LOG_LEVEL": "INFO", **sandbox.bot_settings}
    async with ended_in_any_case(await start.process(**settings)) as process, asyncio.timeout(PATIENCE_S):
        await until_triggered(logins)
        # It wakes up to both of them: on a busy machine the first alone could end it before the second is sent.
        for one in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            process.send_signal(one)
        assert process.stderr is not None
        said = await process.stderr.read()
        assert await process.wait() in (128 + signal.SIGINT, 128 + signal.SIGTERM)  # whichever was handled last
    assert b"stopped at once by a second signal" in said.splitlines()[-1]


async def test_the_model_uses_no_more_threads_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("bot.app.usable_cores", lambda: 2)
    settings = Settings(_env_file=None, discord_token=SecretStr("token"))  # type: ignore[call-arg]
    engine = create_engine(settings, "bundled")
    try:
        torch.set_num_threads(5)
        await engine.start()
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
        await engine.close()


async def test_the_default_labels_are_encoded_by_the_first_start_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = Settings(_env_file=None, discord_token=SecretStr("token"), clip_model="bundled")  # type: ignore[call-arg]
    encoded = []
    for start in ("first", "second"):
        async with await Database.open(tmp_path / f"{start}.sqlite3") as database:
            engine, client = (
                create_engine(settings, settings.clip_model),
                discord.Client(intents=discord.Intents.none()),
            )
            await engine.start()
            services = Services(settings, engine, database, client)
            await services.start()
            await services.tagger.tag(ChannelRef(1, 1), np.zeros((1, engine.card.dimension), np.float32))
            await services.close()
            await engine.close()
            encoded.append(engine.prompts_encoded)
    assert encoded[0] > 1000
    assert encoded[1] == 0
