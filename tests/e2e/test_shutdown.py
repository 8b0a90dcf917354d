"""SIGTERM ends the bot within ten seconds, whatever hangs; nothing is lost, and no process is left behind."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic

from bot.models import ImageState
from sandbox.faults import Fault
from tests.bot.status_pages import free_port, scrape
from tests.e2e.harness import House, reading, sample, until
from tests.e2e.test_durability import states, until_connected_and_marked

QUICKLY_S = 10.0


async def terminated(home: House, process: asyncio.subprocess.Process) -> str:
    """The end of the log."""
    began = monotonic()
    process.send_signal(signal.SIGTERM)
    await process.wait()
    assert monotonic() - began < QUICKLY_S
    await until(lambda: nothing_left_of(process.pid), "its processes have ended")
    return (home.directory / "bot.log").read_text().splitlines()[-1]


async def nothing_left_of(session: int) -> bool:
    return not await asyncio.to_thread(processes_of, session)


def processes_of(session: int) -> list[str]:
    """Its live processes, on a system that tells."""
    alive = []
    for found in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = found.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z":
            alive.append(found.parent.name)
    return alive


async def test_a_download_in_progress_is_released_at_no_cost(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot_process() as process:
        await until_connected_and_marked(home)
        stuck = home.sandbox.faults.add(Fault("delay", path="/attachments/*", times=None, seconds=60, bots_only=False))
        posted = await ann.post(images, sample("panda"))
        await until(lambda: triggered(stuck), "the download is under way")
        assert "stopped" in await terminated(home, process)
        assert process.returncode == 0
    async with reading(home.directory) as store:
        [image] = await store.by_message(int(posted["id"]))
    assert (image.state, image.attempts) == (ImageState.PENDING, 0)


async def triggered(fault: Fault) -> bool:
    return fault.triggered > 0


async def test_a_database_that_another_process_locks_does_not_hold_up_the_end(home: House) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot_process() as process:
        await until_connected_and_marked(home)
        stuck = home.sandbox.faults.add(Fault("delay", path="/attachments/*", times=None, seconds=60, bots_only=False))
        posted = await ann.post(images, sample("panda"))
        await until(lambda: triggered(stuck), "the download is under way")
        with closing(sqlite3.connect(home.directory / "magpie.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            unheard = [await ann.post(images, sample("rocket"), text=str(number)) for number in range(5)]
            await terminated(home, process)
    home.sandbox.faults.clear()
    async with home.bot_process():
        await until(lambda: all_ready(home, posted, *unheard), "all are indexed after the next start")


async def all_ready(home: House, *posted: dict[str, object]) -> bool:
    return await states(home, list(posted)) == [[ImageState.READY]] * len(posted)


async def test_a_hung_device_does_not_hold_up_the_end(home: House) -> None:
    ann, images, port = await home.member("ann"), home.channel("pictures"), free_port()

    async def busy() -> bool:
        return (await scrape(f"http://127.0.0.1:{port}"))["magpie_inference_busy_seconds"] > 0.5

    async with home.bot_process("tests.e2e.hung_device", STATUS_PORT=str(port)) as process:
        await until_connected_and_marked(home)
        posted = await ann.post(images, sample("panda"))
        await until(busy, "the device hangs")
        await terminated(home, process)
    async with home.bot_process():
        await until(lambda: all_ready(home, posted), "the image is indexed after the next start")
