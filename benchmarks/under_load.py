"""`/find` and the event loop while a backfill saturates the machine.

`UNDER_LOAD_SECONDS` in the environment sets how long questions are asked: 600 for the ten minutes of the promise.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks.bot_in_town import BotInTown, bot_in
from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.loop_lag import Heartbeats, counted_heartbeats, measured_lag
from benchmarks.material import NO_PHOTOS, ordinary_jpegs, write_vit_b32
from benchmarks.measure import percentile
from benchmarks.million import GUILD
from benchmarks.scale import Scale
from benchmarks.stages import WHOLE
from benchmarks.town import open_town
from benchmarks.town_server import Post
from bot.models import ChannelRef, ImageRef, Source
from clipcore.engine.executor import BatchReport
from clipcore.types import Lane

LAG_S = 0.030
SLOWER = 3.0

_PLANTED = 500
_EVERY_S = 0.5
_HEARTBEAT_S = 5.0
"""Discord asks for one every 41 seconds; more of them are a finer net."""
_DOWNLOADS = 64
"""As many at once as the bot's settings allow: the device should never wait for an image."""
_IMAGES_A_SECOND = 150
"""More than any machine without a GPU reads: the backfill must not run dry."""


@dataclass(slots=True)
class Found:
    """Seconds, and images a second."""

    unloaded: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    rate_alone: float = 0.0
    rate_with_questions: float = 0.0
    heartbeats: Heartbeats = field(default_factory=Heartbeats)


def run(scale: Scale) -> Outcome:
    if not ordinary_jpegs(1):
        return Outcome(skipped=NO_PHOTOS)
    seconds = float(os.environ.get("UNDER_LOAD_SECONDS", scale.of(60, 2)))
    with tempfile.TemporaryDirectory(prefix="magpie-under-load-") as folder:
        found = asyncio.run(_measure(scale, seconds, Path(folder)))
    return outcome(found, seconds)


async def _measure(scale: Scale, seconds: float, directory: Path) -> Found:
    channels, settling = scale.of(500, 20), float(scale.of(10, 1))
    model = await asyncio.to_thread(write_vit_b32, directory / "model")
    waiting = int((seconds + 2 * settling + 5) * _IMAGES_A_SECOND)
    async with (
        open_town(channels=channels, posts=_PLANTED + waiting, heartbeat_s=_HEARTBEAT_S) as town,
        bot_in(
            town,
            directory,
            model,
            images=scale.of(1_000_000, 1_000),
            channels=channels,
            planted=town.facts.posts[:_PLANTED],
            device=scale.device,
            downloads=_DOWNLOADS,
        ) as bot,
    ):
        return await _under_load(bot, town.facts.posts[_PLANTED:], scale, seconds, settling)


async def _under_load(bot: BotInTown, posts: list[Post], scale: Scale, seconds: float, settling: float) -> Found:
    found = Found()
    for number in range(5):
        await bot.ask(number)
    found.unloaded = await _asked(bot, scale.of(30, 4) * _EVERY_S)
    bot.engine.executor.on_batch = lambda report: _note(found, report)
    finished = _count_finished(bot)
    await bot.bot.services.indexer.accept([_ref(post) for post in posts])
    while not finished:  # noqa: ASYNC110 - the labels are encoded first, and nothing tells when that is done
        await asyncio.sleep(0.05)
    await asyncio.sleep(settling)  # batches grow to their size
    async with _rate(finished) as alone:
        await asyncio.sleep(settling)
    found.batches.clear()
    async with (
        measured_lag() as found.lag,
        counted_heartbeats(bot.bot, _HEARTBEAT_S) as found.heartbeats,
        _rate(finished) as with_questions,
    ):
        found.loaded = await _asked(bot, seconds)
    found.rate_alone, found.rate_with_questions = alone[0], with_questions[0]
    return found


async def _asked(bot: BotInTown, seconds: float) -> list[float]:
    """Asks every half second, whether or not the last answer is there. Gives the bot-side seconds of each."""
    bot.stages.seconds.clear()
    asking = []
    for number in range(max(1, round(seconds / _EVERY_S))):
        asking.append(asyncio.create_task(bot.ask(number)))
        await asyncio.sleep(_EVERY_S)
    await asyncio.gather(*asking)
    return list(bot.stages.seconds[WHOLE])


def _note(found: Found, report: BatchReport) -> None:
    if report.lane is Lane.BACKGROUND:
        found.batches.append(report.seconds)


def _count_finished(bot: BotInTown) -> list[int]:
    """Images committed, one number for each transaction."""
    store, counts = bot.bot.services.images, list[int]()
    finish = store.finish

    async def counted(*args: object) -> set[int]:
        ready: set[int] = await finish(*args)  # type: ignore[arg-type]
        counts.append(len(ready))
        return ready

    setattr(store, "finish", counted)  # noqa: B010 - a method is covered for this one object
    return counts


@asynccontextmanager
async def _rate(finished: list[int]) -> AsyncIterator[list[float]]:
    """Images a second while the block runs."""
    rate = [0.0]
    began, before = perf_counter(), sum(finished)
    yield rate
    rate[0] = (sum(finished) - before) / (perf_counter() - began)


def _ref(post: Post) -> ImageRef:
    place = ChannelRef(GUILD, post.channel_id)
    return ImageRef(place, post.message_id, post.attachment_id, Source.ATTACHMENT, post.author_id)


def outcome(found: Found, seconds: float) -> Outcome:
    usual, batch = percentile(found.unloaded, 0.5), percentile(found.batches, 0.5)
    late, beats = percentile(found.lag, 0.99), found.heartbeats
    allowed = SLOWER * usual + batch
    return Outcome(
        [
            Figure(
                "event-loop lag, p99",
                _milliseconds(late),
                "ms",
                (Against("what nobody notices", 1000 * LAG_S, at_most=1.0),),
                note=f"{len(found.lag)} samples in {seconds:g} s, p50 {1000 * percentile(found.lag, 0.5):.1f} ms, "
                f"longest {1000 * max(found.lag):.0f} ms",
            ),
            Figure(
                "/find under load, p99",
                _milliseconds(percentile(found.loaded, 0.99)),
                "ms",
                (Against("3 × unloaded p50 + one background batch", 1000 * allowed, at_most=1.0),),
                note=f"{len(found.loaded)} questions; a batch takes {1000 * batch:.0f} ms",
            ),
            Figure(
                "/find under load, p50",
                _milliseconds(percentile(found.loaded, 0.5)),
                "ms",
                (Against("unloaded p50", 1000 * usual),),
            ),
            Figure(
                "heartbeats acknowledged",
                Spread((float(len(beats.round_trips)),)),
                "of them",
                (Against("heartbeats due", float(max(1, beats.due)), at_least=1.0),),
                note=f"slowest {1000 * max(beats.round_trips, default=0.0):.0f} ms, {beats.warnings} warnings",
            ),
            Figure(
                "backfill while questions are asked",
                Spread((found.rate_with_questions,)),
                "images/s",
                (Against("backfill alone", found.rate_alone),),
                note="downloads from the local Discord included, which takes its share of the same machine",
            ),
        ]
    )


def _milliseconds(seconds: float) -> Spread:
    return Spread((1000 * seconds,))
