"""A bad disk, and people who delete or link the database's files: the store notices, and says what to do."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import StartupError, StoreUnusable
from bot.store.backend import open_backend
from bot.store.database import Database
from bot.store.images import ImageStore
from tests.metric_values import counting
from tests.store.damage import damage_a_page
from tests.store.samples import CARD, finished, ref
from tests.training.full_disk import disk_full_at

ROOT = Path(__file__).parents[2]


async def fill(path):
    async with await Database.open(path) as database:
        images = ImageStore(database)
        added = await images.accept([ref(message) for message in range(10, 60)])
        await images.finish([finished(image.id) for image in added], CARD)


async def looked(database: Database) -> None:
    """Until every page has been read."""
    database.look_for_damage()
    async with asyncio.timeout(60):
        while database._transactions:
            await asyncio.wait(database._transactions)


async def test_a_damaged_page_that_nothing_touches_is_found_in_the_background(path):
    await fill(path)
    damage_a_page(path, "tags")
    async with await Database.open(path) as database:
        await database.prove_writable()
        await looked(database)
        with pytest.raises(StoreUnusable, match="is damaged: stop the bot and restore"):
            await database.prove_writable()


async def test_a_sound_database_is_found_sound_while_others_write(path):
    await fill(path)
    async with await Database.open(path) as database:
        database.look_for_damage()
        await ImageStore(database).accept([ref(99)])
        await looked(database)
        await database.prove_writable()


async def test_damage_that_a_transaction_meets_is_told_until_the_next_start(path):
    await fill(path)
    sound = path.read_bytes()
    damage_a_page(path, "tags")
    async with await Database.open(path) as database:
        images = ImageStore(database)
        with counting() as counted, pytest.raises(StoreUnusable, match="is damaged"):
            await images.by_message(10)
        assert counted['magpie_store_failures_total{reason="unusable"}'] == 1
        with pytest.raises(StoreUnusable, match="is damaged"):
            await database.prove_writable()
    path.write_bytes(sound)
    async with await Database.open(path) as database:
        await database.prove_writable()


async def test_closing_does_not_wait_for_the_look_at_every_page(path):
    await fill(path)
    database = await Database.open(path)
    database.look_for_damage()
    await asyncio.wait_for(database.close(), 60)


@pytest.mark.parametrize("deleted", ["-wal", "-shm"])
async def test_a_log_that_is_deleted_under_a_running_bot_is_noticed_and_an_orderly_end_saves_what_it_holds(
    path, deleted
):
    await fill(path)
    database = await Database.open(path)
    await database.prove_writable()
    await database.prove_writable()
    path.with_name(path.name + deleted).unlink()
    await ImageStore(database).accept([ref(99)])
    with pytest.raises(
        StoreUnusable, match="log .* was deleted or replaced while the bot runs: stop the bot by SIGTERM"
    ):
        await database.prove_writable()
    await database.close()
    async with await Database.open(path) as database:
        assert await ImageStore(database).by_message(99)


async def test_a_second_name_of_the_database_is_refused_wherever_it_is(path, tmp_path):
    await fill(path)
    second = tmp_path / "elsewhere" / "copy.db"
    second.parent.mkdir()
    async with await Database.open(path, exclusive=True) as first:
        os.link(path, second)
        with pytest.raises(StartupError, match=r"has a second name \(a hard link\).*delete the other name"):
            await Database.open(second, exclusive=True)
        assert list(second.parent.iterdir()) in ([second], [second, second.with_name("copy.db.lock")])
        await ImageStore(first).accept([ref(99)])
    second.unlink()
    async with await Database.open(path, exclusive=True) as first:
        assert await ImageStore(first).by_message(99)


async def test_a_disk_that_fails_at_the_start_is_told_as_such(path):
    with disk_full_at(8192), pytest.raises(StartupError, match="cannot be read or written: check its disk"):
        await Database.open(path)  # this system calls it an I/O error where a file may not grow
    await Database.open(path)


FULL = """
import asyncio, os, sys
from pathlib import Path
from bot.errors import StartupError
from bot.store.database import Database

directory = Path(sys.argv[1])
for left in range(0, 60, 4):  # KiB that are free: the start fails at one step after the other
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - left * 1024))
    try:
        asyncio.run(Database.open(directory / "new" / "magpie.db", exclusive=True))
        print("opened")
    except StartupError as error:
        print(error)
    filler.unlink()
    for file in (directory / "new").glob("*"):
        file.unlink()
"""


def test_a_start_on_a_disk_that_is_really_full_is_told_as_such(tmp_path):
    mount = f'mount -t tmpfs -o size=512k none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, FULL],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    if "permitted" in ran.stderr or "permission" in ran.stderr.lower():
        pytest.skip("no file system may be mounted here")
    said = ran.stdout.splitlines()
    assert ran.stderr == ""
    assert len(said) == 15
    assert {line for line in said if "is on a full disk: free some space" not in line} <= {"opened"}
    assert said[0] != "opened"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_file_that_cannot_be_created_on_a_full_disk_is_told_as_such(path, code):
    error = open_backend(path, 1.0).startup_error(OSError(code, os.strerror(code)))
    assert "is on a full disk: free some space" in str(error)
