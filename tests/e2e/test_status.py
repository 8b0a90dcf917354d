"""What an operator sees of the real bot at work: counters that move, health that is honest, and nobody's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any, cast

import pytest

from bot.i18n import ENGLISH
from tests.bot.status_pages import Answer, free_port, health, page, samples, scrape
from tests.e2e.harness import House, captions, sample, until
from tests.store.damage import damage_a_page

WRITTEN, SOUGHT, LABELLED, FILE = "marzipan", "tangerine", "gooseberry", "persimmon"


async def test_metrics_count_an_upload_and_a_search(home: House) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with home.bot(STATUS_PORT=port) as bot:
        await well(url)
        before = await scrape(url)
        assert before["magpie_gateway_connected"] == 1
        assert before['magpie_gateway_connections_total{kind="new"}'] >= 1

        posted = await bob.post(images, sample("panda"))
        again = await bob.post(images, sample("panda"))
        await home.indexed(posted, again)
        found = await bob.find(home.nest, images, captions("panda")[0])
        assert found.hits
        await bob.similar_to_link(home.nest, images, "no link")
        await command_counted(url, "similar")
        after = await scrape(url)
        await bot.services.registry.forget_messages([int(again["id"])])
        forgotten = await scrape(url)

    def moved(name: str, **labels: str) -> float:
        inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        key = f"{name}{{{inside}}}" if labels else name
        return after[key] - before.get(key, 0.0)

    assert moved("magpie_images_accepted_total") == 2
    assert moved("magpie_image_attempts_total", outcome="finished") == 2
    assert moved("magpie_image_contents_total", source="model") == 1  # the second was the same file
    assert moved("magpie_inference_batch_size_sum", kind="image", lane="background") == 1
    assert moved("magpie_inference_batch_seconds_count", kind="text", lane="interactive") >= 1
    assert after['magpie_prompt_vectors_total{source="model"}'] > 0
    assert moved("magpie_store_write_seconds_count") > 0
    assert moved("magpie_index_load_seconds_count") == 1
    assert moved("magpie_index_search_seconds_count") == 1
    assert moved("magpie_answers_total", asked="words", result="answered") == 1
    assert moved("magpie_answer_seconds_count", asked="words") == 1
    assert moved("magpie_command_seconds_count", command="find") == 1
    assert 0 < after['magpie_command_seconds_sum{command="find"}'] < 60
    assert moved("magpie_event_loop_lag_seconds_count") > 0
    assert after["magpie_images_pending"] == after["magpie_images_in_hand"] == 0
    assert (after["magpie_index_servers"], after["magpie_index_rows"]) == (1, 2)
    assert after["magpie_index_bytes"] > 0
    assert after['magpie_inference_queue_length{lane="background"}'] == 0
    assert forgotten["magpie_images_forgotten_total"] - after["magpie_images_forgotten_total"] == 1
    assert forgotten["magpie_index_rows"] == 1


async def test_metrics_and_health_contain_no_ids_and_nothing_that_people_write(home: House) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with home.bot(STATUS_PORT=port) as bot:
        upload = await bob.upload(images, sample("panda"), f"{FILE}.png")
        posted = await bob.say(images, WRITTEN, attachments=[upload])
        await home.indexed(posted)
        await bob.find(home.nest, images, SOUGHT)
        await bob.subcommand(home.nest, images, "labels", "add", label=LABELLED)
        bot.services.search = cast(Any, None)  # a failure that nobody foresaw
        assert (await bob.find(home.nest, images, SOUGHT)).words.startswith(ENGLISH.errors.failed.split("{")[0])
        await until(lambda: counted(url, 'magpie_commands_failed_total{command="find"}'), "the failure is counted")
        shown = await page(url) + await page(url, "/healthz")
    words = (WRITTEN, SOUGHT, LABELLED, FILE, "bob", "panda", "Nest", home.sandbox.bot_token)
    assert [word for word in words if word in shown] == []
    ids = (home.nest, images, bob.id, posted["id"], home.sandbox.application_id, bot.own_id)
    assert [one for one in ids if str(one) in shown] == []


async def test_a_lost_gateway_fails_the_health_check_until_it_is_back(home: House) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with home.bot(STATUS_PORT=port):
        await well(url)
        entrance = home.sandbox.limits
        entrance.heartbeat_interval_s, usual = 0.001, entrance.heartbeat_interval_s  # turned away before it can speak
        await home.sandbox.drop_gateway()
        told = await failing(url, "gateway")
        assert told.checks["gateway"].startswith("Discord's gateway is not connected")
        await until(lambda: shows(url, "magpie_gateway_connected", 0), "the gauge falls")  # it may rise for a moment
        entrance.heartbeat_interval_s = usual
        await well(url)
        after = await scrape(url)
        assert after["magpie_gateway_disconnects_total"] >= 1
        assert after['magpie_gateway_connections_total{kind="resumed"}'] >= 1


async def test_a_gateway_that_no_longer_answers_heartbeats_fails_the_health_check(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays open, but nothing arrives any more."""
    monkeypatch.setattr("bot.discord_io.client.HEARTBEAT_TIMEOUT_S", 3.0)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    home.sandbox.limits.heartbeat_interval_s = 1.0
    async with swallowing(home) as (gateway, swallow), home.bot(STATUS_PORT=port, DISCORD_GATEWAY=gateway):
        await well(url)
        await asyncio.sleep(4)  # longer than the timeout
        assert (await health(url)).checks["gateway"] == "ok"
        swallow.set()
        told = await failing(url, "gateway")
        assert "not connected" in told.checks["gateway"]


@asynccontextmanager
async def swallowing(home: House) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to the sandbox's gateway on which, once the event is set, nothing arrives any more."""
    swallow = asyncio.Event()
    host, port = home.sandbox.url.removeprefix("http://").split(":")
    at_work: set[asyncio.Task[None]] = set()

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with closing(target):
            while data := await source.read(65536):
                if not swallow.is_set():
                    target.write(data)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        at_work.update(map(asyncio.create_task, (carry(reader, back), carry(there, writer))))

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/gateway", swallow
    finally:
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)
        server.close()


async def well(url: str) -> None:
    await until(lambda: tells(url, lambda told: (told.code, told.status) == (200, "ok")), "all is well")


async def failing(url: str, part: str) -> Answer:
    """The answer that says so: the next one may say that the part has recovered."""
    seen: list[Answer] = []

    async def fails() -> bool:
        seen.append(await health(url))
        return seen[-1].checks.get(part, "ok") != "ok"

    await until(fails, f"{part} fails")
    assert (seen[-1].code, seen[-1].status) == (503, "failing")
    return seen[-1]


async def tells(url: str, condition: Callable[[Answer], bool]) -> bool:
    return condition(await health(url))


async def command_counted(url: str, command: str) -> None:
    name = f'magpie_command_seconds_count{{command="{command}"}}'
    await until(lambda: counted(url, name), f"{command} is counted")


async def shows(url: str, name: str, value: float) -> bool:
    return (await scrape(url))[name] == value


async def counted(url: str, name: str) -> bool:
    return samples(await page(url)).get(name, 0.0) > 0


async def test_a_damaged_page_fails_the_health_check_though_nothing_reads_it(home: House) -> None:
    async with home.bot():
        pass
    damage_a_page(home.directory / "magpie.sqlite3", "author_cutoffs")
    port = free_port()
    async with home.bot(STATUS_PORT=port):
        told = await failing(f"http://127.0.0.1:{port}", "store")
        assert "is damaged: stop the bot and restore" in told.checks["store"]


async def test_a_device_that_fails_every_batch_fails_the_health_check_until_it_is_back(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, images, port = await home.member("ann"), home.channel("pictures"), free_port()
    url = f"http://127.0.0.1:{port}"

    def lost(_: object) -> Any:
        raise RuntimeError("the device is lost")

    async with home.bot(STATUS_PORT=port):
        await well(url)
        with monkeypatch.context() as patched:
            patched.setattr(home.encoder, "encode_prepared", lost)
            for name in ("panda", "rocket", "octopus"):
                posted = await ann.post(images, sample(name))
            told = await failing(url, "device")
            assert "failed on each of the last" in told.checks["device"]
            assert (await scrape(url))['magpie_inference_failed_batches{kind="image"}'] >= 3
        await well(url)
        await home.indexed(posted)
