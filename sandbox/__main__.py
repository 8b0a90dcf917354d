"""`python -m sandbox`: starts the sandbox and the real bot. Ctrl-C ends both."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import shlex
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.server import RefusedAddress, Sandbox

REPOSITORY = Path(__file__).resolve().parent.parent
BOT_COMMAND = (sys.executable, "-m", "bot")
STOP_TIMEOUT_S = 15.0
QUIET_S = 4.0
SCREEN_LINES = 20
SETTING_PREFIXES = (
    "DISCORD_",
    "CDN_",
    "DATABASE_",
    "CLIP_",
    "MAX_",
    "DOWNLOAD_",
    "DECODE_",
    "INDEX_",
    "RESULTS_",
    "LOG_",
    "STATUS_",
)
"""The bot's settings. Those of a production bot in the environment must not reach the bot on trial."""
TRIAL_SETTINGS = frozenset(
    {
        "CLIP_BACKEND",
        "CLIP_DEVICE",
        "CLIP_MODEL",
        "CLIP_PRECISION",
        "DECODE_WORKERS",
        "DOWNLOAD_CONCURRENCY",
        "INDEX_MEMORY_MIB",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "STATUS_HOST",
        "STATUS_PORT",
    }
)
"""The settings that the bot on trial does take from the environment: model, speed, logs and monitoring."""


@dataclass(slots=True)
class _Log:
    """What the bot has printed."""

    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    lines: int = 0


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal, 1 the bot ended, 2 could not start (the reason is printed)."""
    options = _parser().parse_args(arguments)
    if not 0 <= options.port <= 65535:
        return _fail(
            f"There is no port {options.port}; choose one from 1 to 65535, or 0 for any free one: "
            "python -m sandbox --port 8765 (or make run PORT=8765)."
        )
    logging.basicConfig(level=logging.WARNING, format="sandbox: %(message)s")
    try:
        return asyncio.run(_serve(options))
    except RefusedAddress as refused:
        return _fail(str(refused))
    except OSError as error:
        return _fail(_listen_error(error, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A local Discord server with the real bot.")
    parser.add_argument("--port", type=int, default=8765, help="port of the page (default 8765; 0: any free port)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--bind-beyond-loopback", action="store_true", help="allow a --host that others can reach")
    parser.add_argument("--no-bot", action="store_true", help="print the bot's command instead of starting it")
    parser.add_argument("--empty", action="store_true", help="begin without the demo's posts")
    parser.add_argument("--model", help="the bot's CLIP_MODEL (default: the variable CLIP_MODEL, or bundled)")
    return parser


async def _serve(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    model = _model(options.model, os.environ)
    with _stop_on_signals(stop):
        async with Sandbox.serve(
            options.port,
            host=options.host,
            beyond_loopback=options.bind_beyond_loopback,
            bot_model=model,
            larger_world=not options.empty,
        ) as sandbox:
            # ignore_cleanup_errors: a bot that was started by hand may still write there.
            with tempfile.TemporaryDirectory(prefix="magpie-sandbox-", ignore_cleanup_errors=True) as folder:
                settings = sandbox.bot_settings | {
                    "DATABASE_URL": str(Path(folder) / "magpie.sqlite3"),
                    "CLIP_MODEL": model,
                }
                if not options.no_bot:
                    return await _run_with_bot(sandbox, settings, Path(folder), stop)
                print("Start the bot with:", flush=True)
                variables = (f"{name}={value}" for name, value in settings.items())
                print(shlex.join(["env", *variables, *BOT_COMMAND]), flush=True)
                _print_address(sandbox)
                await stop.wait()
                return 0


def _model(option: str | None, environment: Mapping[str, str]) -> str:
    """The bot's CLIP_MODEL. Directories become absolute, because the bot runs in another directory."""
    set_in_environment = (value for name, value in environment.items() if name.upper() == "CLIP_MODEL")
    model = (option or next(set_in_environment, "")).strip() or "bundled"
    directory = Path(model).expanduser()
    return str(directory.resolve()) if model != "bundled" and directory.exists() else model


async def _run_with_bot(sandbox: Sandbox, settings: dict[str, str], folder: Path, stop: asyncio.Event) -> int:
    print("Starting the bot; it loads its model first ...", flush=True)
    bot = await _start_bot(settings, folder)
    log = _Log()
    echo = asyncio.create_task(_echo(bot, log))
    try:
        return await _watch(sandbox, bot, echo, stop, log)
    finally:
        await _stop_bot(bot, echo)


async def _start_bot(settings: dict[str, str], folder: Path) -> asyncio.subprocess.Process:
    """In an empty folder, without a production .env, and in a session of its own: Ctrl-C only reaches the sandbox."""
    environment = trial_environment(os.environ)
    search_path = [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= settings | {"PYTHONPATH": os.pathsep.join(search_path), "PYTHONUNBUFFERED": "1"}
    return await asyncio.create_subprocess_exec(
        *BOT_COMMAND,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def trial_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the bot's settings, in any case (the bot ignores it), apart from those allowed for a trial.

    CLIP_MODEL is left out too: `_serve` sets it.
    """
    passed = TRIAL_SETTINGS - {"CLIP_MODEL"}
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in passed or not name.upper().startswith(SETTING_PREFIXES)
    }


def _end_with_parent() -> None:
    """Runs in the child: has the kernel end it when the sandbox ends, even by kill -9."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


async def _watch(
    sandbox: Sandbox,
    bot: asyncio.subprocess.Process,
    echo: asyncio.Task[None],
    stop: asyncio.Event,
    log: _Log,
) -> int:
    """Prints the address when the bot has connected; returns when the bot has ended or `stop` is set."""
    connected = asyncio.create_task(_connected(sandbox))
    ended, stopped = asyncio.create_task(bot.wait()), asyncio.create_task(stop.wait())
    waiting = {connected, ended, stopped}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if connected.done() and not ended.done():
            _print_address(sandbox)
            again = asyncio.create_task(_print_address_again(sandbox, log))
            waiting.add(again)
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            print("Stopping ...", flush=True)
            return 0
        await asyncio.wait({echo}, timeout=5)
        last_line = next((line for line in reversed(log.last_lines) if line.strip()), "it printed nothing")
        print(f"The bot has ended (exit code {bot.returncode}): {last_line}", file=sys.stderr, flush=True)
        return 1
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def _print_address_again(sandbox: Sandbox, log: _Log) -> None:
    """Once the bot's log is quiet, if it has pushed the address off the screen: it tells of each demo post."""
    lines = log.lines
    seen = -1
    while seen != log.lines:
        seen = log.lines
        await asyncio.sleep(QUIET_S)
    if log.lines - lines > SCREEN_LINES:
        _print_address(sandbox)


async def _connected(sandbox: Sandbox) -> None:
    await sandbox.bot_connected(timeout_s=24 * 3600)
    await sandbox.world_filled.wait()


async def _echo(bot: asyncio.subprocess.Process, log: _Log) -> None:
    """Prints the bot's log, each line with a prefix."""
    assert bot.stdout is not None  # noqa: S101 - a pipe, see above
    while True:
        try:
            line = await bot.stdout.readline()
        except ValueError:
            continue  # a line longer than the reader's buffer: skip it
        if not line:
            return
        text = line.decode(errors="replace").rstrip()
        log.last_lines.append(text)
        log.lines += 1
        print(f"bot | {text}", flush=True)


async def _stop_bot(bot: asyncio.subprocess.Process, echo: asyncio.Task[None]) -> None:
    if bot.returncode is None:
        bot.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await bot.wait()
        except TimeoutError:
            bot.kill()
            await bot.wait()
    await asyncio.wait({echo}, timeout=2)
    echo.cancel()
    await asyncio.wait({echo})


@contextlib.contextmanager
def _stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal set `stop`."""
    loop = asyncio.get_running_loop()
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _print_address(sandbox: Sandbox) -> None:
    print(f"Open {sandbox.url} in your browser. Ctrl-C stops everything and deletes what was posted.", flush=True)


def _listen_error(error: OSError, options: argparse.Namespace) -> str:
    if error.errno == errno.EADDRINUSE:
        other = options.port + 1 if options.port < 65535 else 8765
        return (
            f"Port {options.port} on {options.host} is in use by another program; "
            f"choose another: python -m sandbox --port {other} (or make run PORT={other})."
        )
    return f"The sandbox cannot listen on {options.host} port {options.port}: {error.strerror or error}."


def _fail(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
