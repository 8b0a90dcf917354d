"""Backups: consistent, private, without erased data, and made beside a bot that writes."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.store.backup import back_up
from bot.store.migrate import migrate
from tests.store.samples import ref
from tests.store.test_erasure import SECRETS, remember_secret

ROOT = Path(__file__).parents[2]


def query(file: Path, statement: str) -> list[tuple]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


async def test_a_backup_beside_a_bot_that_writes_is_one_consistent_state(path, tmp_path):
    command = [sys.executable, "-m", "tests.store.busy_writer", str(path), "1"]
    writer = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said: dict[str, set[int]] = {"open": set(), "accepted": set(), "finished": set(), "forgot": set()}

    async def listen() -> None:
        while line := (await writer.stdout.readline()).split():
            said[line[0].decode()].update(map(int, line[1:]))

    listening = asyncio.create_task(listen())
    try:
        for number in range(3):
            async with asyncio.timeout(60):
                while len(said["forgot"]) < 20 * (number + 1):  # noqa: ASYNC110 - another process works
                    await asyncio.sleep(0.01)
            before = {name: set(ids) for name, ids in said.items()}
            copy = tmp_path / f"{number}.backup"
            await asyncio.to_thread(back_up, path, copy)
            assert query(copy, "PRAGMA integrity_check") == [("ok",)]
            assert query(copy, "PRAGMA foreign_key_check") == []
            held = {message for (message,) in query(copy, "SELECT message_id FROM images")}
            ready = {message for (message,) in query(copy, "SELECT message_id FROM images WHERE state = 'ready'")}
            assert not before["forgot"] & held
            about_to_be_forgotten = {message for message in before["accepted"] if message % 8 == 2}
            assert before["accepted"] - about_to_be_forgotten <= held
            assert before["finished"] - about_to_be_forgotten <= ready
            assert ready == {
                m for (m,) in query(copy, "SELECT message_id FROM images JOIN embeddings ON image_id = id")
            }
    finally:
        writer.kill()
        await writer.wait()
        await listening


async def test_a_backup_holds_nothing_that_was_erased_and_is_readable_by_its_owner_only(images, path, tmp_path):
    await remember_secret(images)
    await images.forget_messages([10])
    copy = tmp_path / "copy"
    sentence = back_up(path, copy)
    content = copy.read_bytes()
    assert not [secret for secret in SECRETS if secret in content]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert re.search(
        r"copy \(\d+\.\d MiB\) holds 200 images as of 20\d\d-\d\d-\d\d .* UTC\. Delete it within 30 days", sentence
    )
    assert sorted(file.name for file in tmp_path.iterdir() if "magpie" not in file.name) == ["copy"]


async def test_a_backup_overwrites_nothing(database, path, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(StartupError, match="exists: name a new file"):
        back_up(path, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"


def test_without_a_database_none_is_made(path, tmp_path):
    with pytest.raises(StartupError, match=r"^There is no database .*: set DATABASE_URL"):
        back_up(path, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_of_an_earlier_version_is_backed_up_as_it_is(images, database, path, tmp_path):
    await images.accept([ref(10)])
    await database.close()
    await migrate(database._backend, "0003")
    assert "holds 1 images" in back_up(path, tmp_path / "copy")


async def test_a_damaged_database_gives_a_sentence_and_no_backup(database, path, tmp_path):
    await database.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StartupError, match=r"^No backup was made \(.*\): check the database"):
        back_up(path, tmp_path / "copy")
    assert [file.name for file in tmp_path.iterdir()] == ["magpie.db"]


async def test_a_second_name_of_the_database_is_not_backed_up(database, path, tmp_path):
    other = tmp_path / "other"
    other.hardlink_to(path)  # SQLite would look for the newest changes in the log of this name
    for name in (path, other):
        with pytest.raises(StartupError, match=r"has a second name"):
            back_up(name, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*")) and not list(tmp_path.glob("other-*"))


async def test_a_damaged_schema_is_not_blamed_on_the_target(database, path, tmp_path):
    await database.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = 'nonsense' WHERE name = 'images'")
    with pytest.raises(StartupError, match=r"^No backup was made \(malformed database schema"):
        back_up(path, tmp_path / "copy")


async def test_another_programs_database_gives_a_sentence_and_no_backup(path, tmp_path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER)")
    with pytest.raises(StartupError, match=r"^No backup was made \(no such table"):
        back_up(path, tmp_path / "copy")
    assert [file.name for file in tmp_path.iterdir()] == ["magpie.db"]


async def test_a_directory_that_cannot_be_written_gives_a_sentence(database, path, tmp_path):
    with pytest.raises(StartupError, match="No backup was made .*: check the database"):
        back_up(path, tmp_path / "nowhere" / "copy")


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m bot` with these arguments, and no token."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": "magpie.db", **settings}
    command = [sys.executable, "-m", "bot", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120)


async def test_the_command_makes_a_backup_without_a_token_and_says_so(images, path, tmp_path):
    await images.accept([ref(10)])
    made = run(tmp_path, "backup", "copy")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("copy (")
    again = run(tmp_path, "backup", "copy")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "copy exists: name a new file, since a backup overwrites nothing.\n"


def test_the_commands_explain_themselves(tmp_path):
    shown = run(tmp_path, "--help")
    assert shown.returncode == 0
    assert "backup" in shown.stdout
    assert "a file that does not exist yet" in run(tmp_path, "backup", "--help").stdout
    assert run(tmp_path, "back-up").returncode == 2
