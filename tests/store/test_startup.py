from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.store.database import Database
from bot.store.images import ImageStore
from bot.store.schema import TOMBSTONE_LIFETIME
from tests.store.samples import NOON, ref


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_file_and_its_directory_are_readable_by_the_owner_only(tmp_path):
    path = tmp_path / "new" / "nested" / "magpie.db"
    async with await Database.open(path) as database:
        await ImageStore(database).accept([ref()])
        assert mode(path) == 0o600
        assert mode(path.parent) == 0o700
        assert mode(path.with_name("magpie.db-wal")) == 0o600


async def test_the_path_may_contain_special_characters(tmp_path):
    path = tmp_path / "100% magpie? #1 &c" / "mag:pie.db"
    async with await Database.open(path) as database:
        await ImageStore(database).accept([ref()])
    assert path.is_file()


@pytest.mark.parametrize("place", ["below a file", "a directory", "not writable"])
async def test_a_path_that_cannot_be_written_ends_with_one_sentence(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    path = {
        "below a file": tmp_path / "file" / "magpie.db",
        "a directory": tmp_path,
        "not writable": Path("/proc/magpie/magpie.db"),
    }[place]
    with pytest.raises(StartupError, match="cannot be written: give the bot write access"):
        await Database.open(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only file")
async def test_a_read_only_file_ends_with_one_sentence(path):
    await (await Database.open(path)).close()
    path.chmod(0o400)
    with pytest.raises(StartupError, match="cannot be written"):
        await Database.open(path)


async def test_a_file_that_is_no_database_is_refused_and_unchanged(path):
    path.write_bytes(b"a shopping list, and surely no database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StartupError, match="is not a SQLite database"):
        await Database.open(path)
    assert path.read_bytes() == before


async def test_a_damaged_database_is_refused(path):
    await (await Database.open(path)).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xa5" * 3996
    path.write_bytes(content)
    with pytest.raises(StartupError, match="is damaged"):
        await Database.open(path)


async def test_another_programs_database_is_refused_and_unchanged(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER)")
    connection.close()
    with pytest.raises(StartupError, match="belongs to another program"):
        await Database.open(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]
    connection.close()


async def test_a_database_newer_than_the_code_is_refused(path):
    await (await Database.open(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StartupError, match="newer version of Magpie: install that version"):
        await Database.open(path)


async def test_a_database_that_another_process_locks_is_refused_after_the_busy_timeout(path):
    await (await Database.open(path)).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StartupError, match="locked by another process"):
        await Database.open(path, busy_timeout=0.1)
    connection.close()


async def test_an_empty_file_becomes_a_database(path):
    path.touch()
    async with await Database.open(path) as database:
        assert len(await ImageStore(database).accept([ref()])) == 1


async def test_closing_twice_is_allowed_and_a_closed_database_says_so(path):
    database = await Database.open(path)
    await database.close()
    await database.close()
    with pytest.raises(Exception, match="The database is closed"):
        await ImageStore(database).accept([ref()])
    assert [file.name for file in path.parent.iterdir()] == ["magpie.db"]


async def test_expired_tombstones_are_deleted_at_startup(path):
    async with await Database.open(path) as database:
        long_ago = ImageStore(database, clock=lambda: NOON - TOMBSTONE_LIFETIME - timedelta(days=3650))
        await long_ago.forget_messages([10])
    async with await Database.open(path) as database:
        assert len(await ImageStore(database).accept([ref(10)])) == 1


def test_a_migration_prints_nothing_in_another_directory(tmp_path):
    code = "import asyncio, bot.store.database as d; asyncio.run((lambda: d.Database.open('sub/magpie.db'))())"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert (tmp_path / "sub" / "magpie.db").is_file()
