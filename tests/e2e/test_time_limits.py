"""Every command, button and mention ends by itself, whatever it waits for, and says so to the member."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from sandbox.faults import Fault
from tests.e2e.harness import House, captions, sample, until
from tests.e2e.member import STRING, Reply, button
from tests.metric_values import values


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same paths, in less time than a minute."""
    for module in ("bot.discord_io.answers", "bot.features.mentions"):
        monkeypatch.setattr(f"{module}.LONGEST_ANSWER_S", 1.0)
    monkeypatch.setattr("bot.discord_io.client.LONGEST_SUGGESTION_S", 0.2)


@contextmanager
def hung_engine(bot: MagpieBot) -> Iterator[None]:
    """The device's thread is stuck in a batch."""
    executor = cast(Any, bot.services.engine.executor)
    stuck, done = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        stuck.set()
        done.wait(120)

    executor.on_batch, before = hang, executor.on_batch
    try:
        yield
    finally:
        executor.on_batch = before
        done.set()


@contextmanager
def hung_store(bot: MagpieBot) -> Iterator[None]:
    """Every connection of the store is stuck in a statement that does not return, as on a disk that hangs."""
    backend = cast(Any, bot.services.images._database)._backend
    done = threading.Event()
    engines = (*[backend.readers] * 4, backend.writer)

    async def hang(engine: Any) -> None:
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            await driver._execute(lambda: done.wait(120))

    stuck = [asyncio.ensure_future(hang(engine)) for engine in engines]
    try:
        yield
    finally:
        done.set()
        assert len(stuck) == 5


def excuse(answer: Reply) -> bool:
    assert not answer.hits
    return answer.words in (ENGLISH.errors.took_too_long, CHINESE.errors.took_too_long)


async def test_a_hung_device_ends_every_question_with_a_sentence_and_leaves_nothing_behind(
    home: House, bot: MagpieBot
) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    panda = await ann.post(images, sample("panda"))
    await home.indexed(panda)
    words = captions("panda")[0]
    with hung_engine(bot):
        assert excuse(await ann.find(home.nest, images, words))
        assert excuse(await ann.similar_to_file(home.nest, images, sample("rocket")))
        unread = await ann.post(images, sample("rocket"))  # it waits for the device, too
        assert excuse(await ann.similar_by_menu(home.nest, unread))
        assert excuse(await ann.ask_in_public(home.sandbox.application_id, unread, "similar please"))
        assert values()['magpie_commands_failed_total{command="find"}'] >= 1
    await home.indexed(unread)
    assert (await ann.find(home.nest, images, words)).ids[0] == panda["id"]


async def test_a_hung_store_ends_commands_buttons_and_suggestions(home: House, bot: MagpieBot) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    panda = await ann.post(images, sample("panda"))
    await home.indexed(panda)
    found = await ann.find(home.nest, images, captions("panda")[0])
    asked = await ann.ask_to_be_forgotten(home.nest, images)
    home.sandbox.limits.interaction_deadline_s = 0.9  # shorter than the wait, as Discord's three seconds are
    with hung_store(bot):
        assert excuse(await ann.find(home.nest, images, "a panda"))
        assert excuse(await ann.press(home.nest, found.message, found.hits[0].more))
        assert excuse(await ann.subcommand(home.nest, images, "labels", "list"))
        assert excuse(await ann.subcommand(home.nest, images, "labels", "add", label="owl"))
        mode = {"type": STRING, "name": "mode", "value": "silent"}
        assert excuse(await ann.use(home.nest, images, "tagging", [mode]))
        assert await ann.offered(home.nest, images, "labels", "remove", label="c") == []
        assert excuse(await ann.press(home.nest, asked.message, button(asked.message, "magpie:forget:")))
    await home.forgotten(panda)  # what the member asked for is done all the same


async def test_a_mention_that_fails_is_answered_with_the_id_that_the_log_has(
    home: House, bot: MagpieBot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bot.services.search, "ask", broken)
    ann, images = await home.member("ann"), home.channel("pictures")
    panda = await ann.post(images, sample("panda"))
    answer = await ann.ask_in_public(home.sandbox.application_id, panda, "similar please")
    asked = answer.message["message_reference"]["message_id"]
    assert asked in answer.words
    [logged] = [record for record in caplog.records if record.message == "command failed"]
    assert str(vars(logged)["request_id"]) == asked


@pytest.mark.parametrize(
    "fault",
    [
        Fault("delay", method="GET", path="/channels/*", times=None, seconds=60.0),
        Fault("rate_limit", method="GET", path="/channels/*", times=None, seconds=60.0),
    ],
    ids=["silent", "limits the rate"],
)
async def test_a_discord_that_does_not_answer_ends_a_search_with_a_sentence(
    home: House, bot: MagpieBot, fault: Fault
) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    panda = await ann.post(images, sample("panda"))
    await home.indexed(panda)
    armed = home.sandbox.faults.add(fault)
    assert excuse(await ann.find(home.nest, images, captions("panda")[0]))
    assert armed.triggered > 0


async def test_a_download_that_stalls_ends_a_comparison(home: House, bot: MagpieBot) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    home.sandbox.faults.add(Fault("delay", path="/*attachments/*", times=None, seconds=60.0, bots_only=False))
    assert excuse(await ann.similar_to_file(home.nest, images, sample("rocket")))


async def test_an_answer_that_discord_does_not_take_is_given_up(
    home: House, bot: MagpieBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.discord_io.answers.EXCUSE_S", 0.5)
    ann, images = await home.member("ann"), home.channel("pictures")
    home.sandbox.faults.add(Fault("delay", path="/interactions/*", times=None, seconds=60.0, bots_only=False))

    def at_work() -> bool:
        return any(task.get_name() == "CommandTree-invoker" for task in asyncio.all_tasks())

    async def begun() -> bool:
        return at_work()

    async def ended() -> bool:
        return not at_work()

    asking = asyncio.create_task(ann.find(home.nest, images, "a panda"))
    await until(begun, "the command has arrived")
    await until(ended, "the command has ended")
    asking.cancel()
