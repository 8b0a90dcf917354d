"""One bot for each database, for as long as its process lives."""

from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.store.database import Database

HOLD = """
import asyncio, sys
from bot.store.database import Database

async def hold():
    async with await Database.open(sys.argv[1], exclusive=True):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


async def test_no_second_bot_opens_a_database_until_the_first_process_is_killed(path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(path)]
    other = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert await other.stdout.readline() == b"held\n"
    with pytest.raises(StartupError, match=r"^Another bot is running with the database [^\n]*: end it first"):
        await Database.open(path, exclusive=True)
    other.kill()
    await other.communicate()
    for _ in range(2):  # closing releases the lock
        async with await Database.open(path, exclusive=True):
            assert stat.S_IMODE(path.with_name("magpie.db.lock").stat().st_mode) == 0o600


async def test_a_directory_that_cannot_be_written_ends_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot be written: give the bot write access"):
        await Database.open(tmp_path / "file" / "magpie.db", exclusive=True)
