"""kill -9 at any moment: what was committed is kept, nothing is duplicated, and the next start continues."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from bot.models import ImageState
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.busy_writer import BATCH
from tests.store.samples import CARD, NOON, due, finished

ROOT = Path(__file__).parents[2]


async def run_and_kill(path: Path, round_: int, lines: int, pause: float) -> dict[str, list[int]]:
    """What the process printed before it was killed, a little after so many lines."""
    command = [sys.executable, "-m", "tests.store.busy_writer", str(path), str(round_)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed = [await process.stdout.readline() for _ in range(lines)]
    await asyncio.sleep(pause)  # not for luck: the kill is to fall at any point of a transaction
    process.kill()
    printed += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    reported: dict[str, list[int]] = defaultdict(list)
    for line in printed:
        if line.endswith(b"\n"):
            word, *messages = line.decode().split()
            reported[word] += map(int, messages)
    return reported


def check_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    doubled = "SELECT 1 FROM images GROUP BY message_id, attachment_id, source HAVING count(*) > 1"
    assert connection.execute(doubled).fetchall() == []
    torn = """
        SELECT 1 FROM images i LEFT JOIN embeddings e ON e.image_id = i.id
        WHERE (i.state = 'ready') <> (e.embedding IS NOT NULL)
    """
    assert connection.execute(torn).fetchall() == []
    connection.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_killed_process_loses_and_duplicates_nothing(path, seed):
    chance = random.Random(seed)
    reported: dict[str, set[int]] = defaultdict(set)
    for round_ in range(2):
        printed = await run_and_kill(path, round_, chance.randrange(3, 25), chance.uniform(0, 0.01))
        for word, messages in printed.items():
            reported[word].update(messages)
        check_file(path)

    async with await Database.open(path) as database:
        images = ImageStore(database)
        states = {}
        for message in reported["accepted"]:
            for image in await images.by_message(message):
                states[message] = image.state
        kept = reported["accepted"] - reported["forgot"]
        # In each of the two rounds one deletion may have been committed without a word of it.
        assert len(kept - states.keys()) <= 2
        assert not reported["forgot"] & states.keys()
        assert all(states[message] is ImageState.READY for message in reported["finished"] & states.keys())

        left = await due(images, 10_000, NOON.replace(year=2100))
        done = await images.finish([finished(image.id) for image in left], CARD)
        assert done == {image.id for image in left}
        assert len(left) >= len(reported["accepted"]) // BATCH
        assert await due(images, 10, NOON.replace(year=2100)) == []


async def test_a_database_can_be_opened_after_its_migration_was_killed(path):
    command = [sys.executable, "-m", "tests.store.busy_writer", str(path), "0"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110  # a file on disk rings no bell
            await asyncio.sleep(0.001)
    process.kill()
    await process.communicate()
    async with await Database.open(path) as database:
        assert await ImageStore(database).guild_ids() in ([], [1])
