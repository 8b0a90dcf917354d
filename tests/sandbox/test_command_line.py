"""`python -m sandbox` as a person runs it: a real process, real signals."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bot.settings import Settings, load_settings
from sandbox.__main__ import HARMLESS_SETTINGS, REPOSITORY, without_bot_settings


@asynccontextmanager
async def started(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        *arguments,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: asyncio.subprocess.Process, check: Callable[[str], bool]) -> str:
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode():
            if check(line):
                return line.strip()
    raise AssertionError("the process ended without the line")


async def until(condition: Callable[[], bool]) -> None:
    """Other processes tell nothing when they change: look again and again, for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_its_address_serves_and_ends_when_told(number: signal.Signals) -> None:
    async with started("--no-bot", "--port", "0") as process:
        line = await line_with(process, lambda t: t.startswith("Open http://127.0.0.1:"))
        url = line.split()[1]
        async with aiohttp.ClientSession() as http, http.get(url + "/sandbox/world") as response:
            assert response.status == 200
        process.send_signal(number)
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_a_bot_of_ones_own_is_given_all_that_the_sandboxes_own_has(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started("--no-bot", "--port", "0") as process:
        line = await line_with(process, lambda t: "DISCORD_TOKEN=" in t)
        address = (await line_with(process, lambda t: t.startswith("Open http://"))).split()[1]
    env, *words = shlex.split(line)
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert (env, words[len(given) :]) == ("env", [sys.executable, "-m", "bot"])
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.discord_api_base == f"{address}/api/v10"
    assert settings.clip_model == "bundled", "the default is 600 MB large and knows photographs"
    assert settings.cdn_hosts == ("127.0.0.1",), "pictures from elsewhere are ignored"
    assert settings.database_path.is_absolute(), "the default is where one in production may lie"


async def test_a_port_in_use_is_one_clear_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with started("--no-bot", "--port", str(port)) as process:
            async with asyncio.timeout(60):
                output, errors = await process.communicate()
    assert process.returncode == 2 and output == b""
    assert errors.decode().count("\n") == 1
    assert f"Port {port} on 127.0.0.1 is in use" in errors.decode()


@pytest.mark.parametrize("port", ["65536", "-1"])
async def test_a_port_that_does_not_exist_is_one_clear_sentence(port: str) -> None:
    async with started("--no-bot", "--port", port) as process, asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 2 and output == b""
    assert errors.decode().count("\n") == 1
    assert f"There is no port {port}; choose one from 1 to 65535" in errors.decode()


async def test_listening_beyond_loopback_is_refused() -> None:
    async with started("--no-bot", "--host", "0.0.0.0") as process, asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 2 and b"--bind-beyond-loopback" in errors


async def test_a_bot_that_cannot_start_is_said_so() -> None:
    async with started("--port", "0", LOG_LEVEL="nonsense") as process, asyncio.timeout(100):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"LOG_LEVEL" in errors
    assert errors.decode().startswith("The bot has ended by itself (exit code 2): ")


def test_of_a_bot_in_production_only_settings_reach_the_one_on_trial_that_say_how_fast_and_how_to_watch() -> None:
    names = [name.upper() for name in Settings.model_fields]
    environment = dict.fromkeys([*names, *map(str.lower, names), "PATH", "HOME", "HTTPS_PROXY"], "x")
    kept = {name.upper() for name in without_bot_settings(environment)} - {"PATH", "HOME", "HTTPS_PROXY"}
    assert kept == {
        *("CLIP_BACKEND", "CLIP_DEVICE", "CLIP_PRECISION", "DECODE_WORKERS", "DOWNLOAD_CONCURRENCY"),
        *("INDEX_DEVICE", "INDEX_MEMORY_MIB", "LOG_FORMAT", "LOG_LEVEL", "STATUS_HOST", "STATUS_PORT"),
    }
    assert {"PATH", "HOME", "HTTPS_PROXY", "status_port"} <= set(without_bot_settings(environment))


@pytest.mark.parametrize("page", ["README.md", "sandbox/README.md"])
def test_the_pages_say_which_settings_reach_a_bot_on_trial(page: str) -> None:
    paragraphs = (REPOSITORY / page).read_text("utf-8").split("\n\n")
    told = next(each for each in paragraphs if "`STATUS_PORT=9464 make run`" in each)
    assert set(re.findall(r"`([A-Z_]+)`", told)) == HARMLESS_SETTINGS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends a child with its parent")
async def test_the_bot_does_not_outlive_a_sandbox_that_was_killed() -> None:
    async with started("--port", "0") as process:
        await line_with(process, lambda t: t.startswith("Starting the bot"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        await until(lambda: bool(children.read_text()))
        child = Path("/proc", children.read_text().strip())  # noqa: ASYNC240 - the kernel answers at once
        process.kill()
        await process.wait()
        await until(lambda: not child.exists())
