"""The two pages over real sockets: what they answer, and where they cannot be served."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from bot.app import create_bot, log_in
from bot.errors import StartupError
from bot.monitoring import metrics
from bot.monitoring.health import Status
from bot.monitoring.http import serve_status
from clipcore.engine.engine import ClipEngine
from clipcore.engine.executor import BatchReport
from clipcore.types import Encoder, Lane
from sandbox.server import Sandbox
from tests.bot.status_pages import Answer, free_port, health, page, samples, scrape, settings_for
from tests.clipcore.fakes import FakeEncoder


@asynccontextmanager
async def served(host: str = "127.0.0.1") -> AsyncIterator[str]:
    async with serve_status(host, 0, Status()) as url:
        yield url


async def test_metrics_are_served_in_either_format_from_zero_on() -> None:
    async with served() as url:
        before = await scrape(url)
        metrics.IMAGES_ACCEPTED.inc(3)
        metrics.ANSWER_SECONDS.labels("words").observe(0.2)
        metrics.observe_batch(BatchReport("image", Lane.BACKGROUND, 16, 0.25))
        after = await scrape(url)
        modern = await page(url, Accept="application/openmetrics-text; version=1.0.0")

    def counted(name: str) -> float:
        return after[name] - before[name]

    assert counted("magpie_images_accepted_total") == 3
    assert counted('magpie_answer_seconds_bucket{asked="words",le="0.15"}') == 0
    assert counted('magpie_answer_seconds_bucket{asked="words",le="0.25"}') == 1
    assert counted('magpie_inference_batch_size_sum{kind="image",lane="background"}') == 16
    for labels in ('outcome="parked"', 'outcome="finished"', 'outcome="gone"'):
        assert f"magpie_image_attempts_total{{{labels}}}" in before
    assert before["process_resident_memory_bytes"] > 1e6
    assert "magpie_images_accepted" in {family.name for family in open_metrics(modern)}


async def test_every_batch_has_prepared_labels() -> None:
    """A label that is missing would only appear with the first batch of its kind, and rates would miss that batch."""
    async with served() as url:
        found = await scrape(url)
    for lane in Lane:
        for kind in ("image", "text"):
            assert f'magpie_inference_batch_size_sum{{kind="{kind}",lane="{lane.name.lower()}"}}' in found


async def test_other_pages_and_methods_are_refused() -> None:
    async with served() as url, aiohttp.ClientSession() as session:
        for method, path, code in (
            ("GET", "/", 404),
            ("GET", "/metrics/../.env", 404),
            ("POST", "/metrics", 405),
            ("DELETE", "/healthz", 405),
            ("HEAD", "/metrics", 200),
            ("HEAD", "/healthz", 503),
        ):
            async with session.request(method, url + path) as response:
                assert response.status == code, (method, path)


async def test_a_page_of_a_foreign_name_cannot_read_the_figures() -> None:
    async with served() as url, aiohttp.ClientSession() as session:
        for host, status in (("evil.example", 403), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:9", 200)):
            async with session.get(f"{url}/metrics", headers={"Host": host}) as answer:
                assert answer.status == status, host


async def test_a_taken_port_ends_the_start_with_one_sentence(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(sandbox, tmp_path, status_port=port)
        with pytest.raises(StartupError, match=rf"^STATUS_PORT {port} is taken by another program: [^\n]*$"):
            async with create_bot(settings, ClipEngine(FakeEncoder)):
                pass
    assert not (tmp_path / "magpie.sqlite3").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_another_machines_address_ends_the_start_with_one_sentence(
    sandbox: Sandbox, tmp_path: Path, host: str
) -> None:
    settings = settings_for(sandbox, tmp_path, status_port=free_port(), status_host=host)
    with pytest.raises(StartupError, match=r"^STATUS_HOST is not an address of this machine: [^\n]*$"):
        async with create_bot(settings, ClipEngine(FakeEncoder)):
            pass


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)])
async def test_an_address_that_others_can_reach_is_allowed_with_a_warning(
    caplog: pytest.LogCaptureFixture, host: str, warns: bool
) -> None:
    caplog.set_level(logging.INFO, "bot")
    async with served(host) as url:
        assert (await health(url.replace("0.0.0.0", "127.0.0.1"))).code == 503
    assert ("unauthenticated" in caplog.text) is warns


async def test_the_status_is_starting_while_the_model_loads_and_closing_while_the_bot_stops(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    encoder = FakeEncoder()
    loading, closing = Held(), Held()

    def load() -> Encoder:
        loading.wait()
        return encoder

    class SlowToClose(ClipEngine):
        async def close(self) -> None:
            await asyncio.to_thread(closing.wait)
            await super().close()

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    leave = asyncio.Event()

    async def life() -> None:
        settings = settings_for(sandbox, tmp_path, status_port=port)
        async with create_bot(settings, SlowToClose(load)) as bot:
            await log_in(bot, settings)
            await leave.wait()

    alive = asyncio.create_task(life())
    await asyncio.to_thread(loading.reached.wait, 30)
    assert await health(url) == Answer(503, "starting", {})
    assert "magpie_images_accepted_total" in await scrape(url)
    loading.go_on.set()
    found = await until(url, lambda told: bool(told.checks))
    assert found.status == "starting"  # it has not been connected yet
    assert found.checks["device"] == found.checks["store"] == found.checks["event_loop"] == "ok"
    assert "not connected" in found.checks["gateway"]

    leave.set()
    await asyncio.to_thread(closing.reached.wait, 30)
    assert await health(url) == Answer(503, "closing", {})
    assert samples(await page(url))["magpie_images_pending"] != 0  # not a number: the database is closed by now
    closing.go_on.set()
    await alive
    with pytest.raises(aiohttp.ClientConnectorError):
        await health(url)


async def test_a_failing_database_costs_one_number_and_not_the_page(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = settings_for(sandbox, tmp_path, status_port=port)
    async with create_bot(settings, ClipEngine(FakeEncoder)) as bot:
        await log_in(bot, settings)
        assert (await scrape(url))["magpie_images_pending"] == 0
        await asyncio.to_thread(rename_images, tmp_path / "magpie.sqlite3", "images", "away")
        for _ in range(2):
            found = await scrape(url)
            assert math.isnan(found["magpie_images_pending"])
            assert found["magpie_images_in_hand"] == 0
        assert caplog.messages.count("could not count pending images") == 1
        await asyncio.to_thread(rename_images, tmp_path / "magpie.sqlite3", "away", "images")
        assert (await scrape(url))["magpie_images_pending"] == 0


async def test_without_a_port_nothing_is_served_and_no_batch_observed(sandbox: Sandbox, tmp_path: Path) -> None:
    engine = ClipEngine(FakeEncoder)
    settings = settings_for(sandbox, tmp_path)
    async with create_bot(settings, engine) as bot:
        await log_in(bot, settings)
        assert engine.executor.on_batch is None
        assert bot.get_cog("status") is None


def rename_images(path: Path, name: str, to: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
        other.execute(f"ALTER TABLE {name} RENAME TO {to}")


class Held:
    """A place in a thread's work where a test lets it wait."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.go_on.wait(60)


async def until(url: str, condition: Callable[[Answer], bool]) -> Answer:
    async with asyncio.timeout(60):
        while not condition(found := await health(url)):  # noqa: ASYNC110 - asked over a socket
            await asyncio.sleep(0.01)
    return found
