"""`python -m sandbox` and `make run`: real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from bot.settings import Settings, load_settings
from sandbox.__main__ import REPOSITORY, TRIAL_SETTINGS, trial_environment


@asynccontextmanager
async def started(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        *arguments,
        env={name: value for name, value in os.environ.items() if name != "CLIP_MODEL"} | environment,
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
    """Polls for up to a minute: other processes send no event."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_its_address_serves_and_stops_on_a_signal(number: signal.Signals) -> None:
    async with started("--no-bot", "--port", "0") as process:
        line = await line_with(process, lambda t: t.startswith("Open http://127.0.0.1:"))
        url = line.split()[1]
        async with aiohttp.ClientSession() as http, http.get(url + "/sandbox/world") as response:
            assert response.status == 200
        process.send_signal(number)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


async def settings_of_no_bot(*arguments: str, **environment: str) -> tuple[dict[str, str], str]:
    """The bot's settings in the command that --no-bot prints, and the page's address."""
    async with started("--no-bot", "--port", "0", *arguments, **environment) as process:
        line = await line_with(process, lambda t: "DISCORD_TOKEN=" in t)
        address = (await line_with(process, lambda t: t.startswith("Open http://"))).split()[1]
        async with aiohttp.ClientSession() as http, http.get(address + "/sandbox/world") as response:
            world = await response.json()
    env, *words = shlex.split(line)
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    assert (env, words[len(settings) :]) == ("env", [sys.executable, "-m", "bot"])
    assert world["bot_model"] == settings["CLIP_MODEL"]
    return settings, address


async def test_no_bot_prints_a_command_that_connects_a_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    printed, address = await settings_of_no_bot()
    for name, value in printed.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.discord_api_base == f"{address}/api/v10"
    assert settings.clip_model == "bundled", "the default model is a download of 1.5 GB"
    assert settings.cdn_hosts == ("127.0.0.1",), "images from other hosts are ignored"
    assert Path(settings.database_url).is_absolute(), "the default path may hold a production database"


@pytest.mark.parametrize(
    ("arguments", "environment", "model"),
    [
        ((), {"CLIP_MODEL": " openai/clip-vit-base-patch32 "}, "openai/clip-vit-base-patch32"),
        ((), {"CLIP_MODEL": ""}, "bundled"),
        ((), {"clip_model": "some/model"}, "some/model"),
        (("--model", "other/model"), {"CLIP_MODEL": "some/model"}, "other/model"),
        ((), {"CLIP_MODEL": "sandbox"}, str(REPOSITORY / "sandbox")),  # any existing directory
    ],
)
async def test_the_bot_gets_the_chosen_model(
    arguments: tuple[str, ...], environment: dict[str, str], model: str
) -> None:
    settings, _ = await settings_of_no_bot(*arguments, **environment)
    assert settings["CLIP_MODEL"] == model


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_run_passes_the_model_and_the_other_settings_of_a_trial(tmp_path: Path) -> None:
    """With the real Makefile, and a script that prints its arguments in place of Python."""
    (tmp_path / "clipcore" / "index").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "setup.py", "clipcore/index/_scan.c"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    shutil.copytree(REPOSITORY / "requirements", tmp_path / "requirements")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" "$CLIP_MODEL" "$CLIP_DEVICE"\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / ".venv" / ".created").touch()
    (tmp_path / ".venv" / ".installed").touch()
    run = subprocess.run(
        ["make", "run", "PORT=1234", "CLIP_MODEL=some/model"],  # noqa: S607
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "CLIP_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "-m sandbox --port 1234 some/model cpu\n"


@pytest.mark.parametrize(("arguments", "members"), [((), 7), (("--empty",), 5)])
async def test_the_world_is_the_larger_one_unless_it_is_to_be_empty(arguments: tuple[str, ...], members: int) -> None:
    async with started("--no-bot", "--port", "0", *arguments) as process:
        url = (await line_with(process, lambda t: t.startswith("Open http://"))).split()[1]
        async with aiohttp.ClientSession() as http, http.get(url + "/sandbox/world") as response:
            world = await response.json()
    assert len(world["members"]) == members


async def test_a_port_in_use_is_explained_in_one_sentence() -> None:
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
async def test_a_port_out_of_range_is_explained_in_one_sentence(port: str) -> None:
    async with started("--no-bot", "--port", port) as process, asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 2 and output == b""
    assert errors.decode().count("\n") == 1
    assert f"There is no port {port}; choose one from 1 to 65535" in errors.decode()


async def test_listening_beyond_loopback_is_refused() -> None:
    async with started("--no-bot", "--host", "0.0.0.0") as process, asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 2 and b"--bind-beyond-loopback" in errors


async def test_a_bot_that_fails_to_start_is_reported() -> None:
    async with started("--port", "0", LOG_LEVEL="nonsense") as process, asyncio.timeout(100):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"LOG_LEVEL" in errors
    assert errors.decode().startswith("The bot has ended (exit code 2): ")


def test_a_production_bots_settings_do_not_reach_the_trial() -> None:
    names = [name.upper() for name in Settings.model_fields]
    environment = dict.fromkeys([*names, *map(str.lower, names), "PATH", "HOME", "HTTPS_PROXY"], "x")
    kept = {name.upper() for name in trial_environment(environment)} - {"PATH", "HOME", "HTTPS_PROXY"}
    assert kept == {
        *("CLIP_BACKEND", "CLIP_DEVICE", "CLIP_PRECISION", "DECODE_WORKERS", "DOWNLOAD_CONCURRENCY"),
        *("INDEX_MEMORY_MIB", "LOG_FORMAT", "LOG_LEVEL", "STATUS_HOST", "STATUS_PORT"),
    }
    assert {"PATH", "HOME", "HTTPS_PROXY", "status_port"} <= set(trial_environment(environment))


@pytest.mark.parametrize("page", ["README.md", "sandbox/README.md"])
def test_the_documents_list_the_settings_of_a_trial(page: str) -> None:
    paragraphs = (REPOSITORY / page).read_text("utf-8").split("\n\n")
    listing = next(each for each in paragraphs if "`STATUS_PORT=9464 make run`" in each)
    assert set(re.findall(r"`([A-Z_]+)`", listing)) == TRIAL_SETTINGS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a child with its parent")
async def test_the_bot_ends_when_the_sandbox_is_killed() -> None:
    async with started("--port", "0") as process:
        await line_with(process, lambda t: t.startswith("Starting the bot"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        await until(lambda: bool(children.read_text()))
        child = Path("/proc", children.read_text().strip())  # noqa: ASYNC240 - the kernel answers at once
        process.kill()
        await process.wait()
        await until(lambda: not child.exists())
