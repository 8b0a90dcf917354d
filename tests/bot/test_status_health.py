"""Each check of /healthz, made to fail for real and to recover."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.monitoring.health import DeviceProbe, GatewayMonitor, Health, LoopLag, StoreProbe, check_device, check_loop
from bot.store.database import Database
from bot.store.images import ImageStore
from clipcore.engine.engine import ClipEngine
from clipcore.errors import EncodingFailed
from tests.clipcore.fakes import POISON, FakeEncoder, square
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


async def test_the_status_is_starting_before_serve_and_closing_after_close() -> None:
    async def fine() -> None:
        return None

    health = Health()
    assert (await health.report()).status == "starting"
    health.serve({"part": fine})
    assert (await health.report()).status == "ok"
    health.close()
    assert (await health.report()).status == "closing"


async def test_a_bot_that_closes_while_the_checks_run_is_closing() -> None:
    health = Health()

    async def ends_meanwhile() -> None:
        health.close()

    health.serve({"part": ends_meanwhile})
    assert (await health.report()).status == "closing"


async def test_a_failing_check_is_reported_beside_those_that_pass() -> None:
    async def fine() -> None:
        return None

    async def broken() -> str:
        return "It is broken."

    health = Health()
    health.serve({"one": fine, "other": broken})
    report = await health.report()
    assert (report.status, dict(report.checks)) == ("failing", {"one": "ok", "other": "It is broken."})


async def test_failing_and_recovering_are_logged_once_with_what_is_wrong(
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
    assert caplog.messages == ["health checks failing"]
    assert [caplog.records[0].one, caplog.records[0].other] == [wrong, wrong]  # type: ignore[attr-defined]
    wrong = None
    await health.report()
    await health.report()
    assert caplog.messages == ["health checks failing", "health checks recovered"]


async def test_a_gateway_that_has_not_connected_yet_is_starting_and_any_other_failure_is_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starting, full = True, False

    async def unconnected() -> str:
        return "It is not connected."

    async def store() -> str | None:
        return "It is full." if full else None

    health = Health()
    health.serve({"gateway": unconnected, "store": store}, starting=lambda: starting)
    report = await health.report()
    assert report.status == "starting"
    assert report.checks == {"gateway": "It is not connected.", "store": "ok"}
    assert caplog.messages == []
    full = True
    assert (await health.report()).status == "failing"
    full, starting = False, False
    assert (await health.report()).status == "failing"


class Shards:
    """The part of an AutoShardedBot that the monitor reads."""

    latency = 0.1

    def __init__(self, count: int) -> None:
        self.shard_count = count
        self.closed: set[int] = set()

    @property
    def shards(self) -> dict[int, Any]:
        return {id_: SimpleNamespace(is_closed=lambda id_=id_: id_ in self.closed) for id_ in range(self.shard_count)}


async def test_the_gateway_is_connected_while_every_shard_is() -> None:
    shards = Shards(2)
    monitor = GatewayMonitor(cast(Any, shards))
    await monitor.on_shard_ready(0)
    assert "on 1 of 2 shards" in str(await monitor.check())
    assert not monitor.has_connected
    await monitor.on_shard_ready(1)
    assert await monitor.check() is None
    assert monitor.has_connected
    shards.closed = {0}  # Discord no longer answers, and discord.py has begun to close the connection
    assert monitor.disconnected_shards() == [0]
    shards.closed = set()
    await monitor.on_shard_disconnect(1)
    assert "on 1 of 2 shards" in str(await monitor.check())
    await monitor.on_shard_resumed(1)
    assert await monitor.check() is None
    assert monitor.has_connected


async def test_a_single_connection_is_described_without_shards() -> None:
    assert "gateway is not connected" in str(await GatewayMonitor(cast(Any, Shards(1))).check())


async def test_a_database_locked_by_another_process_fails_the_check_until_it_is_released(
    database: Database,
) -> None:
    clock = Clock()
    probe = StoreProbe(database.prove_writable, timeout=5, ttl=2, clock=clock)
    assert await probe.check() is None
    with held_by_another_process(database.path):
        clock.now += 3
        assert "locked by another process" in str(await probe.check())
    clock.now += 3
    assert await probe.check() is None


async def test_a_slow_write_fails_the_check_before_it_ends_and_no_second_one_is_started(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "magpie.sqlite3", busy_timeout=30) as database:
        probe = StoreProbe(database.prove_writable, timeout=0.05)
        with held_by_another_process(database.path):
            assert "has not finished for" in str(await probe.check())
            assert "has not finished for" in str(await probe.check())
            assert len(database._transactions) == 1
        await probe.close()
        assert await probe.check() is None


async def test_a_full_disk_is_noticed_though_nothing_else_is_written(database: Database) -> None:
    clock = Clock()
    probe = StoreProbe(database.prove_writable, clock=clock)
    assert await probe.check() is None
    log = database.path.with_name("magpie.sqlite3-wal")
    with disk_full_at(log.stat().st_size):
        clock.now += 3
        assert "disk" in str(await probe.check())
    clock.now += 3
    assert await probe.check() is None


async def test_a_read_only_database_is_noticed(database: Database) -> None:
    clock = Clock()
    probe = StoreProbe(database.prove_writable, clock=clock)
    assert await probe.check() is None
    await database.write(lambda connection: connection.exec_driver_sql("PRAGMA query_only = ON"))
    clock.now += 3
    assert "read-only" in str(await probe.check())


async def test_many_checks_at_once_write_once(database: Database) -> None:
    log = database.path.with_name("magpie.sqlite3-wal")
    probe = StoreProbe(database.prove_writable, ttl=60)
    await probe.check()
    size = log.stat().st_size
    assert size
    assert await asyncio.gather(*(probe.check() for _ in range(500))) == [None] * 500
    assert log.stat().st_size == size


async def test_a_probe_leaves_the_database_as_it_was(database: Database) -> None:
    await ImageStore(database).accept([ref(1)])
    before = dump(database.path)
    assert await StoreProbe(database.prove_writable).check() is None
    assert dump(database.path) == before


async def test_a_closed_database_is_not_writable(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "magpie.sqlite3")
    await database.close()
    assert "closed" in str(await StoreProbe(database.prove_writable).check())


async def test_a_hanging_device_fails_the_check_until_it_answers() -> None:
    encoder = FakeEncoder()
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    assert await check_device(engine, limit_s=0.0) is None
    encoder.hold()
    asking = asyncio.create_task(engine.encode_texts(["a cat"]))
    assert await asyncio.to_thread(encoder.busy.wait, 10)
    assert await check_device(engine) is None
    await asyncio.sleep(0.06)
    assert "has not finished a batch" in str(await check_device(engine, limit_s=0.05))
    encoder.gate.set()
    await asking
    await engine.encode_texts(["another"])
    assert await check_device(engine, limit_s=5) is None
    await engine.close()


async def test_a_crashed_inference_thread_fails_the_check_for_the_rest_of_the_process() -> None:
    """Only a bug can end the thread: a watch that fails in its midst is one."""
    engine = ClipEngine(FakeEncoder)
    await engine.start()
    engine.executor._sizers = None  # type: ignore[assignment]
    await asyncio.gather(engine.encode_texts(["a cat"]), return_exceptions=True)
    await asyncio.wait_for(engine.executor.crashed(), 10)
    assert "thread has ended" in str(await check_device(engine))
    await engine.close()


async def test_a_blocked_event_loop_fails_the_check_until_the_lag_is_forgotten() -> None:
    late: list[float] = []
    lag = LoopLag(late.append, interval=0.001)
    await asyncio.sleep(0.02)
    time.sleep(0.1)  # noqa: ASYNC251 - what the check is there for
    await asyncio.sleep(0.02)
    assert lag.worst > 0.09
    assert "was blocked" in str(await check_loop(lag, limit_s=0.05))
    async with asyncio.timeout(30):
        while await check_loop(lag, limit_s=0.05):  # noqa: ASYNC110 - time must pass
            await asyncio.sleep(0.01)
    lag.close()


async def test_a_long_stall_weighs_as_much_as_it_lasted() -> None:
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


class Device(FakeEncoder):
    lost: tuple[str, ...] = ()  # what it fails to encode

    def _encode(self, kind: str, values: list[int]) -> Any:
        if kind in self.lost:
            raise RuntimeError("the device is lost")
        return super()._encode(kind, values)


Probed = tuple[Device, ClipEngine, DeviceProbe]


@pytest.fixture
async def probed() -> AsyncIterator[Probed]:
    encoder = Device()
    engine = ClipEngine(lambda: encoder)
    await engine.start()
    probe = DeviceProbe(engine)
    yield encoder, engine, probe
    await probe.close()
    await engine.close()


async def test_a_device_that_fails_every_batch_fails_the_check_until_it_encodes_again(probed: Probed) -> None:
    encoder, engine, probe = probed
    encoder.lost = ("image", "text")
    for _ in range(2):
        await asyncio.gather(engine.encode_texts(["a cat"]), return_exceptions=True)
    assert await probe.check() is None
    await asyncio.gather(engine.encode_texts(["a cat"]), return_exceptions=True)
    assert "failed on each of the last" in str(await probe.check())
    encoder.lost = ()
    assert await probe.check() is None


async def test_images_that_fail_one_after_the_other_are_not_blamed_on_the_device(probed: Probed) -> None:
    _, engine, probe = probed
    for _ in range(5):
        with pytest.raises(EncodingFailed):
            await engine.encode_pixels(square(POISON))
    assert await probe.check() is None


async def test_a_device_that_fails_images_only_is_noticed_beside_texts_that_succeed(probed: Probed) -> None:
    encoder, engine, probe = probed
    encoder.lost = ("image",)
    for _ in range(3):
        with pytest.raises(EncodingFailed):
            await engine.encode_pixels(square(1))
        await engine.encode_texts(["a cat"])
    assert "failed on each of the last" in str(await probe.check())
