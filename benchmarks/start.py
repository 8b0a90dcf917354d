"""How long the bot takes from its start until it answers, and what of that the database costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.measure import seconds, taking_turns
from benchmarks.million import CARD, CHANNELS, database_of
from benchmarks.scale import Scale
from benchmarks.town import Town, open_town

IMPORT_S = 0.5
READY_S = 3.0
_ROOT = Path(__file__).parent.parent
# What `python -m bot` has imported when it reads its settings; everything else comes after.
_IMPORT = "import bot, bot.__main__, bot.settings, sys; assert 'torch' not in sys.modules"
_LOAD = "import clipcore; print(clipcore.ClipModel.load('bundled').card.key)"


def run(scale: Scale) -> Outcome:
    importing = taking_turns({"bot": lambda: _python(_IMPORT), "nothing": lambda: _python("pass")}, runs=scale.runs)
    imported = Figure(
        "import bot",
        importing["bot"],
        "s",
        (Against("wanted", IMPORT_S, at_most=1.0), Against("the interpreter alone", importing["nothing"].median)),
        "a process that imports what runs before the model is loaded, without torch",
    )
    return Outcome([imported, *asyncio.run(_starts(scale))])


async def _starts(scale: Scale) -> list[Figure]:
    images, runs = scale.of(1_000_000, 5_000), scale.of(3, 1)
    full, empty, loads = [], [], []
    key = _python(_LOAD).strip()  # also what else would be read from the disk only the first time
    async with open_town(channels=CHANNELS, posts=CHANNELS) as town:
        with _of_model(database_of(images), key) as path, _of_model(database_of(0), key) as nothing:
            for _ in range(runs):
                loads.append(seconds(lambda: _python(_LOAD)))
                empty.append(await _until_ready(town, nothing))
                full.append(await _until_ready(town, path))
    beyond = Spread(tuple(max(0.0, ours - load) for ours, load in zip(full, loads, strict=True)))
    note = f"process start to the gateway's readiness, a server with {CHANNELS} channels, the bundled model"
    return [
        Figure(
            f"ready on {images:,} images, less the model's load",
            beyond,
            "s",
            (Against("wanted", READY_S, at_most=1.0),),
            note,
        ),
        Figure(
            f"ready on {images:,} images",
            Spread(tuple(full)),
            "s",
            (Against("on none", Spread(tuple(empty)).median), Against("model's load", Spread(tuple(loads)).median)),
            note,
        ),
    ]


def _python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own code


@contextmanager
def _of_model(path: Path, key: str) -> Iterator[Path]:
    """The database as if this model had read it: nothing is to be read again at the start."""
    _rename_model(path, CARD.key, key)
    try:
        yield path
    finally:
        _rename_model(path, key, CARD.key)


def _rename_model(path: Path, old: str, new: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE models SET key = ? WHERE key = ?", (new, old))


async def _until_ready(town: Town, database: Path) -> float:
    """Seconds from the process's start to the line in its log that says so."""
    with tempfile.TemporaryDirectory() as directory:
        began = perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bot"),
            cwd=directory,
            env=_environment(town, database),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            return await _said_ready(process, began)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


async def _said_ready(process: asyncio.subprocess.Process, began: float) -> float:
    said = b""
    assert process.stderr is not None  # noqa: S101 - asked for by the caller
    while line := await process.stderr.readline():
        if b": ready in " in line:
            return perf_counter() - began
        said += line
    raise RuntimeError(f"the bot did not start: {said.decode()[-500:]}")


def _environment(town: Town, database: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "DISCORD_TOKEN": town.facts.token,
        "DISCORD_API_BASE": town.facts.api,
        "DISCORD_GATEWAY": town.facts.gateway,
        "CDN_HOSTS": "127.0.0.1",
        "DATABASE_URL": str(database),
        "CLIP_MODEL": "bundled",
        "LOG_FORMAT": "text",
        "LOG_LEVEL": "INFO",
    }
