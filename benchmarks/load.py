"""A busy server: images arrive and are deleted in 200 channels while members search; then a thousand ask at once.

The bot is a process of its own, so that its memory and file handles are its alone. `LOAD_SECONDS` in the environment
sets how long images arrive.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.measure import percentile
from benchmarks.scale import Scale
from benchmarks.town import Town, open_town
from benchmarks.town_server import Seen

IMAGES_A_SECOND = 50
DELETIONS_A_SECOND = 5
QUESTIONS = ("a panda", "a rocket", "an octopus", "a bicycle", "a sailboat")
_STARTING_S = 120.0


@dataclass(slots=True)
class Found:
    """indexed: images ready at each look; memory: bytes, of the bot and its decode processes; handles: their files.

    seconds: from a question to its answer. crowd: those of all who asked at once. unanswered: questions of both.
    """

    indexed: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    crowd: list[float] = field(default_factory=list)
    unanswered: int = 0
    posted: int = 0


def run(scale: Scale) -> Outcome:
    seconds = float(os.environ.get("LOAD_SECONDS", scale.of(300, 4)))
    with tempfile.TemporaryDirectory(prefix="magpie-load-") as folder:
        found = asyncio.run(_measure(Path(folder), seconds, channels=scale.of(200, 10), crowd=scale.of(1000, 20)))
    return outcome(found, seconds)


async def _measure(directory: Path, seconds: float, *, channels: int, crowd: int) -> Found:
    found = Found()
    async with open_town(channels=channels, posts=0, askers=crowd) as town, _bot(town, directory) as process:
        database = directory / "magpie.sqlite3"
        await town.post(channels)
        await _until_ready(database, channels)
        watching = asyncio.create_task(_watch(process, database, found))
        asking = asyncio.create_task(_ask(town, found))
        for _ in range(round(seconds)):
            await asyncio.gather(asyncio.sleep(1.0), _post(town, found))
        asking.cancel()
        await _until_ready(database, channels + found.posted - round(seconds) * DELETIONS_A_SECOND)
        watching.cancel()
        await asyncio.gather(asking, watching, return_exceptions=True)
        answers = await asyncio.gather(
            *(town.ask(QUESTIONS[at % len(QUESTIONS)]) for at in range(crowd)), return_exceptions=True
        )
        found.crowd = [answer.seconds for answer in answers if isinstance(answer, Seen)]
        found.unanswered += crowd - len(found.crowd)
    return found


@asynccontextmanager
async def _bot(town: Town, directory: Path) -> AsyncIterator[psutil.Process]:
    facts = town.facts
    settings = {"DISCORD_TOKEN": facts.token, "DISCORD_API_BASE": facts.api, "DISCORD_GATEWAY": facts.gateway}
    settings |= {"CDN_HOSTS": "127.0.0.1", "CLIP_MODEL": "bundled", "DATABASE_URL": str(directory / "magpie.sqlite3")}
    root = Path(__file__).parent.parent
    with (directory / "bot.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot",
            env={**os.environ, **settings, "PYTHONPATH": str(root)},
            cwd=directory,
            stderr=log,
        )
    try:
        async with asyncio.timeout(_STARTING_S):
            while b"guilds=" not in (directory / "bot.log").read_bytes():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _post(town: Town, found: Found) -> None:
    """One second's worth, in ten parts."""
    for _ in range(10):
        await town.post(IMAGES_A_SECOND // 10, delete=0)
        found.posted += IMAGES_A_SECOND // 10
        await asyncio.sleep(0.08)
    await town.post(0, delete=DELETIONS_A_SECOND)


async def _ask(town: Town, found: Found) -> None:
    """Twice a second, whether or not the last answer is there."""
    asked: set[asyncio.Task[Seen]] = set()
    number = 0
    try:
        while True:
            task = asyncio.create_task(town.ask(QUESTIONS[number % len(QUESTIONS)]))
            asked.add(task)
            number += 1
            await asyncio.sleep(0.5)
    finally:
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found.seconds = [answer.seconds for answer in answers if isinstance(answer, Seen)]
        found.unanswered += len(answers) - len(found.seconds)


async def _watch(process: psutil.Process, database: Path, found: Found) -> None:
    while True:
        processes = [process, *process.children(recursive=True)]
        found.memory.append(sum(one.memory_info().rss for one in processes))
        found.handles.append(sum(one.num_fds() for one in processes))
        found.indexed.append(_ready(database))
        await asyncio.sleep(1.0)


async def _until_ready(database: Path, images: int) -> None:
    """Until so many images are ready: those posted less those deleted."""
    async with asyncio.timeout(_STARTING_S):
        while _ready(database) != images:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.2)


def _ready(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        [[count]] = connection.execute("SELECT count(*) FROM images WHERE state = 'ready'")
    return int(count)


def outcome(found: Found, seconds: float) -> Outcome:
    settled = len(found.memory) // 3  # by then caches and buffers have their size
    slope = np.polyfit(found.indexed[settled:], found.memory[settled:], 1)[0]
    return Outcome(
        [
            Figure(
                "memory for each image indexed",
                Spread((float(slope),)),
                "bytes",
                (Against("what the index and SQLite's cache may take", 4096.0, at_most=1.0),),
                note=f"after the first third of {seconds:g} s; {max(found.indexed):,} images, "
                f"{found.memory[settled] >> 20} to {found.memory[-1] >> 20} MiB",
            ),
            Figure(
                "open files, at most",
                Spread((float(max(found.handles[settled:])),)),
                "",
                (Against("at the least", float(min(found.handles[settled:])), at_most=1.5),),
            ),
            Figure(
                "/find while images arrive, p99",
                Spread((1000 * percentile(found.seconds, 0.99),)),
                "ms",
                note=f"{len(found.seconds)} questions, p50 {1000 * percentile(found.seconds, 0.5):.0f} ms",
            ),
            Figure(
                "questions answered, those of the crowd included",
                Spread((float(len(found.seconds) + len(found.crowd)),)),
                "of them",
                (Against("asked", float(len(found.seconds) + len(found.crowd) + found.unanswered), at_least=1.0),),
                note=f"{len(found.crowd)} at once: p50 {percentile(found.crowd, 0.5):.1f} s, "
                f"slowest {max(found.crowd):.1f} s",
            ),
        ]
    )
