"""`/find` as a member feels it: the real bot over real sockets, from the event's arrival to the answer's being sent."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks.bot_in_town import bot_in
from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.material import write_vit_b32
from benchmarks.measure import percentile
from benchmarks.scale import Scale
from benchmarks.stages import SEARCH, TEXT, WHOLE, Stages
from benchmarks.town import open_town

OVERHEAD_S = 0.025
"""What all but searching and reading the words may take: rights, rows, messages looked up, the answer made and sent."""

_POSTS = 500
_WARMING = 5
_BETWEEN_S = 0.05


def run(scale: Scale) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="magpie-find-") as folder:
        stages, asked = asyncio.run(_measure(scale, Path(folder)))
    return outcome(stages, asked, scale)


async def _measure(scale: Scale, directory: Path) -> tuple[Stages, list[float]]:
    channels, questions = scale.of(500, 20), scale.of(100, 5)
    model = await asyncio.to_thread(write_vit_b32, directory / "model")
    async with (
        open_town(channels=channels, posts=_POSTS) as town,
        bot_in(
            town,
            directory,
            model,
            images=scale.of(1_000_000, 1_000),
            channels=channels,
            planted=town.facts.posts,
            device=scale.device,
        ) as bot,
    ):
        for number in range(_WARMING):
            await bot.ask(number)
        bot.stages.seconds.clear()
        asked = []
        for number in range(_WARMING, _WARMING + questions):
            await asyncio.sleep(_BETWEEN_S)
            asked.append(await bot.ask(number))
        return bot.stages, asked


def outcome(stages: Stages, asked: list[float], scale: Scale) -> Outcome:
    """asked: seconds at the asker's end, one for each question."""
    allowed = stages.middle(SEARCH) + stages.middle(TEXT) + OVERHEAD_S
    images = f"{scale.of(1_000_000, 1_000):,} images, half of {scale.of(500, 20)} channels readable"
    whole = stages.seconds[WHOLE]
    figures = [
        Figure(
            "/find, event received to answer sent, p50",
            _milliseconds([stages.middle(WHOLE)]),
            "ms",
            (Against("search step + text encoding + 25 ms", 1000 * allowed, at_most=1.0),),
            note=f"{images}, {len(whole)} questions; sent: acknowledged by a local Discord in another process",
        ),
        Figure("/find, event received to answer sent, p99", _milliseconds([percentile(whole, 0.99)]), "ms"),
        Figure("/find, at the asker's end, p50", _milliseconds([percentile(asked, 0.5)]), "ms"),
        *(
            Figure(f"stage: {name}", _milliseconds(seconds), "ms", note=_NOTES.get(name, ""))
            for name, seconds in stages.seconds.items()
            if name != WHOLE
        ),
    ]
    return Outcome(figures)


_NOTES = {
    "visibility": "asked twice for each question: for all channels, then for those of the images to be shown",
    "look-up of a message": "five for each question, all at once",
    "deferral": "beside everything up to the search step",
}


def _milliseconds(seconds: list[float]) -> Spread:
    return Spread(tuple(1000 * one for one in seconds))
