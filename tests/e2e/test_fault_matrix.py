"""What people and the operator see while something fails, as a table; and that afterwards nothing is lost or left over.

In every row a picture is posted, another is deleted and a member searches while the fault lasts. The deleted picture is
never shown, and once the fault is over the new one is found, the deleted one is gone from the database, and /healthz is
well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import ENGLISH
from bot.models import ImageState
from clipcore.types import Encoder, Pixels, Vectors
from sandbox.faults import Fault
from tests.bot.status_pages import free_port
from tests.e2e.harness import House, sample, until
from tests.e2e.member import Reply
from tests.e2e.test_status import failing, well
from tests.training.full_disk import disk_full_at


class When(Enum):
    """NOW: while the fault lasts. LATER: when it is over."""

    NOW = auto()
    LATER = auto()


class Answered(Enum):
    """FOUND: the picture that is there. SAID: a sentence that says why not. UNASKED: nobody can ask meanwhile."""

    FOUND = auto()
    SAID = auto()
    UNASKED = auto()


@dataclass
class FaultyModel:
    """A model whose device fails so many times; None: until it is mended."""

    model: Encoder
    failures: int | None = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_prepared(self, batch: Pixels) -> Vectors:
        self._fail()
        return self.model.encode_prepared(batch)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self._fail()
        return self.model.encode_texts(texts)

    def _fail(self) -> None:
        if self.failures is None or self.failures > 0:
            self.failures = self.failures and self.failures - 1
            raise RuntimeError("device lost")


Cause = Callable[[House], AbstractAsyncContextManager[None]]


def discord(kind: Any, **which: Any) -> Cause:
    @asynccontextmanager
    async def cause(home: House) -> AsyncIterator[None]:
        home.sandbox.faults.add(Fault(kind, **{"times": None, "seconds": 1.0, **which}))
        yield
        home.sandbox.faults.clear()

    return cause


@asynccontextmanager
async def lost_events(home: House) -> AsyncIterator[None]:
    """Until Discord begins a new session; a session that is resumed has lost nothing."""
    async with discord("lost_event", event="MESSAGE_*")(home):
        yield
    await home.sandbox.invalidate_session()


@asynccontextmanager
async def broken_connection(home: House) -> AsyncIterator[None]:
    await home.sandbox.drop_gateway()
    yield


@asynccontextmanager
async def outage(home: House) -> AsyncIterator[None]:
    guild = home.sandbox.guild("The Nest")
    home.sandbox.outage(guild)
    yield
    home.sandbox.outage(guild, over=True)


@asynccontextmanager
async def locked_database(home: House) -> AsyncIterator[None]:
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def full_disk(home: House) -> AsyncIterator[None]:
    with disk_full_at(0):
        yield


def device(failures: int | None) -> Cause:
    @asynccontextmanager
    async def cause(home: House) -> AsyncIterator[None]:
        model: Any = home.encoder
        model.failures = failures
        yield
        model.failures = 0

    return cause


@dataclass(frozen=True)
class Row:
    """picture, deletion: when the new one is indexed, and the data of the deleted one gone. health: what fails."""

    name: str
    cause: Cause
    picture: When
    deletion: When
    search: Answered
    health: str | None = None


CDN: dict[str, Any] = {"path": "/attachments/*", "bots_only": False}
MESSAGES: dict[str, Any] = {"method": "GET", "path": "/channels/*/messages/*"}
NOW, LATER = When.NOW, When.LATER
FOUND, SAID, UNASKED = Answered.FOUND, Answered.SAID, Answered.UNASKED

MATRIX = (
    # the fault                                                               picture deletion search  /healthz
    Row("Discord says 429 three times", discord("rate_limit", **MESSAGES, times=3), NOW, NOW, FOUND),
    Row("Discord says 429 for all", discord("rate_limit", **MESSAGES, is_global=True, times=2), NOW, NOW, FOUND),
    Row("Discord says 502 to look-ups", discord("server_error", **MESSAGES, status=502), NOW, NOW, SAID),
    Row("Discord drops look-ups", discord("drop", **MESSAGES), NOW, NOW, SAID),
    Row("the CDN says 503", discord("server_error", **CDN, status=503), LATER, NOW, FOUND),
    Row("the CDN drops downloads", discord("drop", **CDN), LATER, NOW, FOUND),
    Row("the CDN sends half a file", discord("half", **CDN), LATER, NOW, FOUND),
    Row("the CDN sends a page", discord("html", **CDN), LATER, NOW, FOUND),
    Row("the CDN stalls", discord("delay", **CDN, seconds=600.0), LATER, NOW, FOUND),
    Row("events are late", discord("late_event", event="MESSAGE_*"), NOW, NOW, FOUND),
    Row("events come twice", discord("double_event", event="MESSAGE_*"), NOW, NOW, FOUND),
    Row("events are lost", lost_events, LATER, LATER, FOUND),
    Row("the connection breaks", broken_connection, NOW, NOW, FOUND),
    Row("the server has an outage", outage, NOW, NOW, UNASKED),
    Row("the database is locked", locked_database, LATER, LATER, FOUND, "store"),
    Row("the disk is full", full_disk, LATER, LATER, FOUND, "store"),
    Row("the device fails once", device(1), NOW, NOW, FOUND),
    Row("the device fails always", device(None), LATER, NOW, SAID, "device"),
)


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.name)
async def test_a_fault_costs_what_the_table_says_and_leaves_nothing_behind(home: House, row: Row) -> None:
    home.encoder = FaultyModel(home.encoder)  # type: ignore[assignment]
    port = free_port()
    cem, images = await home.member("cem"), home.channel("pictures")
    async with home.bot(STATUS_PORT=port, DOWNLOAD_TIMEOUT_SECONDS=5) as bot:
        old, deleted = await cem.post(images, sample("rocket")), await cem.post(images, sample("panda"))
        await home.indexed(old, deleted)
        async with row.cause(home):
            new = await cem.post(images, sample("octopus"))
            await cem.remove(deleted)
            if row.search is not UNASKED:
                assert (await cem.find(home.nest, images, "a panda")).ids == []
                assert answered(await cem.find(home.nest, images, "a rocket"), old["id"]) is row.search
            if row.picture is NOW:
                await home.indexed(new)
            if row.deletion is NOW:
                await home.forgotten(deleted)
            if row.health is not None:
                await failing(f"http://127.0.0.1:{port}", row.health)
            elif row.picture is LATER and row.deletion is NOW:  # the bot has heard of it, and fails at it
                await until(lambda: tried(bot, new["id"]), "the new picture is tried")
            assert [one.state for one in await bot.services.images.by_message(int(new["id"]))] in (
                [[ImageState.READY]] if row.picture is NOW else [[], [ImageState.PENDING]]
            )
        await home.indexed(old, new)
        await home.forgotten(deleted)
        await until_found(home, new["id"])
        assert (await cem.find(home.nest, images, "a panda")).ids == []
        await well(f"http://127.0.0.1:{port}")


def answered(reply: Reply, wanted: str) -> Answered:
    if wanted in reply.ids:
        return FOUND
    said = (
        ENGLISH.search.matches_unreachable,
        ENGLISH.errors.busy,
        ENGLISH.errors.store_failed,
        ENGLISH.query_image.unusable,
    )
    assert any(line.startswith(said) for line in reply.words.splitlines()), reply.words
    return SAID


async def tried(bot: MagpieBot, message_id: str) -> bool:
    return any(image.attempts for image in await bot.services.images.by_message(int(message_id)))


async def until_found(home: House, message_id: str) -> None:
    cem, images = await home.member("cem"), home.channel("pictures")

    async def found() -> bool:
        return message_id in (await cem.find(home.nest, images, "an octopus")).ids

    await until(found, "the new picture is found")
