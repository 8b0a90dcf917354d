"""Each check of /healthz, made to fail for real and to recover."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bot.monitoring.health import Health, LoopLag, StoreProbe
from bot.monitoring.status import device_problem, loop_problem
from bot.store.database import Database
from bot.store.images import ImageStore
from clipcore.engine.engine import ClipEngine
from tests.clipcore.fakes import FakeEncoder
from tests.empty_database import empty_database
from tests.store.samples import ref
from tests.training.full_disk import disk_full_at


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(empty_database(tmp_path / "magpie.sqlite3"), busy_timeout=0.3) as opened:
        yield opened


@contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_nothing_is_well_while_the_bot_starts_or_ends() -> None:
    async def fine() -> None:
        return None

    health = Health()
    assert (await health.report()).status == "starting"
    health.serve({"part": fine})
    assert (await health.report()).ok
    health.close()
    report = await health.report()
    assert (report.ok, report.status) == (False, "closing")


async def test_a_bot_that_ends_while_its_parts_are_asked_is_closing() -> None:
    health = Health()

    async def ends_meanwhile() -> None:
        health.close()

    health.serve({"part": ends_meanwhile})
    assert (await health.report()).status == "closing"


async def test_one_part_that_fails_is_named_beside_those_that_do_not() -> None:
    async def fine() -> None:
        return None

    async def broken() -> str:
        return "It is broken."

    health = Health()
    health.serve({"one": fine, "other": broken})
    report = await health.report()
    assert (report.status, dict(report.checks)) == ("failing", {"one": "ok", "other": "It is broken."})


async def test_a_verdict_that_turns_is_logged_once_with_the_names_of_the_parts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "bot.monitoring.health")
    wrong: str | None = None

    async def part() -> str | None:
        return wrong

    health = Health()
    health.serve({"one": part, "other": part})
    await health.report()
    assert caplog.messages == []
    wrong = "It is broken."
    await health.report()
    await health.report()
    assert caplog.messages == ["no longer well: one, other"]
    wrong = None
    await health.report()
    await health.report()
    assert caplog.messages == ["no longer well: one, other", "all is well again"]


async def test_what_is_only_awaited_is_starting_and_no_failure_but_anything_else_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    awaited, full = ["gateway"], False

    async def unconnected() -> str:
        return "It is not connected."

    async def store() -> str | None:
        return "It is full." if full else None

    health = Health()
    health.serve({"gateway": unconnected, "store": store}, awaited=lambda: awaited)
    report = await health.report()
    assert (report.ok, report.status, dict(report.checks)) == (
        False,
        "starting",
        {"gateway": "It is not connected.", "store": "ok"},
    )
    assert caplog.messages == []
    full = True
    assert (await health.report()).status == "failing"
    full = False
    awaited.clear()
    assert (await health.report()).status == "failing"


async def test_a_database_that_another_process_holds_is_not_writable_until_it_lets_go(database: Database) -> None:
    clock = Clock()
    probe = StoreProbe(database, patience=5, kept=2, clock=clock)
    assert await probe.problem() is None
    with held_by_another_process(database.path):
        clock.now += 3
        assert "locked by another process" in str(await probe.problem())
    clock.now += 3
    assert await probe.problem() is None


async def test_a_write_that_takes_long_is_a_problem_before_it_ends_and_none_is_begun_beside_it(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "magpie.sqlite3", busy_timeout=30) as database:
        probe = StoreProbe(database, patience=0.05)
        with held_by_another_process(database.path):
            assert "not taken a write" in str(await probe.problem())
            assert "not taken a write" in str(await probe.problem())
            assert len(database._transactions) == 1
        await probe.close()
        assert await probe.problem() is None


async def test_a_full_disk_is_noticed_though_nothing_else_is_written(database: Database) -> None:
    clock = Clock()
    probe = StoreProbe(database, clock=clock)
    assert await probe.problem() is None
    log = database.path.with_name("magpie.sqlite3-wal")
    with disk_full_at(log.stat().st_size):
        clock.now += 3
        assert "disk" in str(await probe.problem())
    clock.now += 3
    assert await probe.problem() is None


async def test_a_read_only_database_is_noticed(database: Database) -> None:
    clock = Clock()
    probe = StoreProbe(database, clock=clock)
    assert await probe.problem() is None
    await database.write(lambda connection: connection.exec_driver_sql("PRAGMA query_only = ON"))
    clock.now += 3
    assert "read-only" in str(await probe.problem())


async def test_a_storm_of_questions_writes_once(database: Database) -> None:
    log = database.path.with_name("magpie.sqlite3-wal")
    probe = StoreProbe(database, kept=60)
    await probe.problem()
    size = log.stat().st_size
    assert size
    assert await asyncio.gather(*(probe.problem() for _ in range(500))) == [None] * 500
    assert log.stat().st_size == size


async def test_a_probe_leaves_the_database_as_it_was(database: Database) -> None:
    await ImageStore(database).accept([ref(1)])
    before = dump(database.path)
    assert await StoreProbe(database).problem() is None
    assert dump(database.path) == before


async def test_a_closed_database_is_not_writable(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "magpie.sqlite3")
    await database.close()
    assert "closed" in str(await StoreProbe(database).problem())


async def test_a_device_that_hangs_is_a_problem_until_it_answers() -> None:
    encoder = FakeEncoder()
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    assert await device_problem(engine, patience=0.0) is None
    encoder.hold()
    asking = asyncio.create_task(engine.encode_texts(["a cat"]))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    assert await device_problem(engine) is None
    await asyncio.sleep(0.06)
    assert "has not answered" in str(await device_problem(engine, patience=0.05))
    encoder.gate.set()
    await asking
    await engine.encode_texts(["another"])
    assert await device_problem(engine, patience=5) is None
    await engine.close()


async def test_a_device_whose_thread_has_died_is_a_problem_for_good() -> None:
    """Only a bug can end the thread: a watch that fails in its midst is one."""
    engine = ClipEngine(FakeEncoder)
    await engine.start()
    engine._executor._sizers = None  # type: ignore[assignment]
    await asyncio.gather(engine.encode_texts(["a cat"]), return_exceptions=True)
    await asyncio.wait_for(engine.crashed(), 60)
    assert "thread has ended" in str(await device_problem(engine))
    await engine.close()


async def test_a_loop_that_stood_still_is_a_problem_for_a_while() -> None:
    late: list[float] = []
    lag = LoopLag(late.append, interval=0.001)
    began = time.monotonic()
    await asyncio.sleep(0.02)
    time.sleep(0.1)  # noqa: ASYNC251 - what the check is there for
    await asyncio.sleep(0.02)
    assert 0.09 < lag.worst < time.monotonic() - began
    assert "stood still" in str(await loop_problem(lag, longest=0.05))
    async with asyncio.timeout(60):
        while await loop_problem(lag, longest=0.05):  # noqa: ASYNC110 - time must pass
            await asyncio.sleep(0.01)
    lag.close()


async def test_a_long_standstill_weighs_as_much_as_it_lasted() -> None:
    late: list[float] = []
    lag = LoopLag(late.append, interval=0.01)
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - what is measured
    await asyncio.sleep(0.02)
    lag.close()
    told = len(late)
    assert sum(one > 0.05 for one in late) >= 10
    await asyncio.sleep(0.03)
    assert len(late) == told


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump(), str(connection.execute("PRAGMA user_version").fetchone())]
