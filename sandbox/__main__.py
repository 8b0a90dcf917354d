"""`python -m sandbox`: the small Discord and, beside it, the real bot; one address to open, one Ctrl-C to end both."""

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
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.server import RefusedAddress, Sandbox

REPOSITORY = Path(__file__).resolve().parent.parent
BOT_COMMAND = (sys.executable, "-m", "bot")
STOP_WITHIN_S = 15.0
BOT_SETTINGS = (
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
"""How settings of a bot in production begin, which must not reach the one on trial."""
HARMLESS_SETTINGS = frozenset(
    {
        "CLIP_BACKEND",
        "CLIP_DEVICE",
        "CLIP_PRECISION",
        "DECODE_WORKERS",
        "DOWNLOAD_CONCURRENCY",
        "INDEX_DEVICE",
        "INDEX_MEMORY_MIB",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "STATUS_HOST",
        "STATUS_PORT",
    }
)
"""But these may: they say only how fast the bot is and how to watch it."""


def main(arguments: list[str] | None = None) -> int:
    """0: ended as asked. 1: the bot ended by itself. 2: could not start; the reason is printed."""
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
        return _fail(_why_not(error, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A small local Discord with the real bot.")
    parser.add_argument("--port", type=int, default=8765, help="where the page is (default 8765; 0: any free port)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--bind-beyond-loopback", action="store_true", help="allow a --host that other machines reach")
    parser.add_argument("--no-bot", action="store_true", help="the sandbox alone; start a bot yourself")
    parser.add_argument("--model", default="bundled", help="the bot's CLIP_MODEL (default: bundled)")
    return parser


async def _serve(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    with _stopping(stop):
        async with Sandbox.serve(
            options.port, host=options.host, beyond_loopback=options.bind_beyond_loopback
        ) as sandbox:
            # A bot that somebody else started may still be writing there.
            with tempfile.TemporaryDirectory(prefix="magpie-sandbox-", ignore_cleanup_errors=True) as folder:
                settings = _bot_settings(sandbox, options.model, Path(folder))
                if not options.no_bot:
                    return await _run_with_bot(sandbox, settings, Path(folder), stop)
                _say("The bot is yours to start:")
                _say(shlex.join(["env", *(f"{name}={value}" for name, value in settings.items()), *BOT_COMMAND]))
                _invite(sandbox)
                await stop.wait()
                return 0


def _bot_settings(sandbox: Sandbox, model: str, folder: Path) -> dict[str, str]:
    """What a bot needs to live in this sandbox, and to keep out of the way of one in production."""
    return {
        "DISCORD_TOKEN": sandbox.bot_token,
        "DISCORD_API_BASE": f"{sandbox.url}/api/v10",
        "DISCORD_GATEWAY": sandbox.gateway_url,
        "CDN_HOSTS": urlsplit(sandbox.url).hostname or "127.0.0.1",
        "DATABASE_PATH": str(folder / "magpie.sqlite3"),
        "CLIP_MODEL": model,
    }


async def _run_with_bot(sandbox: Sandbox, settings: dict[str, str], folder: Path, stop: asyncio.Event) -> int:
    _say("Starting the bot; it loads its model first ...")
    bot = await _start_bot(settings, folder)
    last_lines: deque[str] = deque(maxlen=5)
    echo = asyncio.create_task(_echo(bot, last_lines))
    try:
        return await _watch(sandbox, bot, echo, stop, last_lines)
    finally:
        await _end(bot, echo)


async def _start_bot(settings: dict[str, str], folder: Path) -> asyncio.subprocess.Process:
    """In an empty folder, where no .env for production is found, and out of reach of the terminal's Ctrl-C."""
    environment = without_bot_settings(os.environ)
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


def without_bot_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """In whatever case they are written: the bot reads them in any."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in HARMLESS_SETTINGS or not name.upper().startswith(BOT_SETTINGS)
    }


def _end_with_parent() -> None:
    """In the child: the kernel is to end it when the sandbox is gone, also by kill -9, which nobody can catch."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


async def _watch(
    sandbox: Sandbox,
    bot: asyncio.subprocess.Process,
    echo: asyncio.Task[None],
    stop: asyncio.Event,
    last_lines: deque[str],
) -> int:
    """Tells when the bot is there, then waits until it ends or somebody ends us."""
    connected = asyncio.create_task(sandbox.bot_connected(timeout_s=24 * 3600))
    ended, stopped = asyncio.create_task(bot.wait()), asyncio.create_task(stop.wait())
    waiting = {connected, ended, stopped}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if connected.done() and not ended.done():
            _invite(sandbox)
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            _say("Ending ...")
            return 0
        await asyncio.wait({echo}, timeout=5)
        said = next((line for line in reversed(last_lines) if line.strip()), "it said nothing")
        print(f"The bot has ended by itself (exit code {bot.returncode}): {said}", file=sys.stderr, flush=True)
        return 1
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def _echo(bot: asyncio.subprocess.Process, last_lines: deque[str]) -> None:
    """The bot's log, line by line, told apart from our own words."""
    assert bot.stdout is not None  # noqa: S101 - asked for above
    while True:
        try:
            line = await bot.stdout.readline()
        except ValueError:
            continue  # a line longer than the reader's buffer: let it go, keep the rest
        if not line:
            return
        text = line.decode(errors="replace").rstrip()
        last_lines.append(text)
        print(f"bot | {text}", flush=True)


async def _end(bot: asyncio.subprocess.Process, echo: asyncio.Task[None]) -> None:
    if bot.returncode is None:
        bot.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await bot.wait()
        except TimeoutError:
            bot.kill()
            await bot.wait()
    await asyncio.wait({echo}, timeout=2)
    echo.cancel()
    await asyncio.wait({echo})


@contextlib.contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C, a polite kill and a closed terminal all mean: end everything that was started."""
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


def _invite(sandbox: Sandbox) -> None:
    _say(f"Open {sandbox.url} in your browser. Ctrl-C ends everything; what is posted there is gone then.")


def _why_not(error: OSError, options: argparse.Namespace) -> str:
    if error.errno == errno.EADDRINUSE:
        other = options.port + 1 if options.port < 65535 else 8765
        return (
            f"Port {options.port} on {options.host} is in use by another program; "
            f"choose another: python -m sandbox --port {other} (or make run PORT={other})."
        )
    return f"The sandbox cannot listen on {options.host} port {options.port}: {error.strerror or error}."


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 2


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
