"""A stopwatch at the stages of a question, put around the bot's own methods from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

import discord

from benchmarks.measure import percentile
from bot.discord_io.client import MagpieBot
from bot.discord_io.permissions import MemberAudience
from bot.features import paging
from clipcore.engine.engine import ClipEngine

P = ParamSpec("P")
T = TypeVar("T")

WHOLE, TEXT, SEARCH = "whole", "text encoding", "search step"


@dataclass(slots=True)
class Stages:
    """Seconds that each stage took, by its name, in the order in which they ended."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def middle(self, name: str) -> float:
        return percentile(self.seconds[name], 0.5)

    def around(self, name: str, work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
        async def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.timing(name):
                return await work(*args, **kwargs)

        return timed

    def around_plain(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.timing(name):
                return work(*args, **kwargs)

        return timed

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self.seconds[name].append(perf_counter() - began)


@contextmanager
def watched(bot: MagpieBot, engine: ClipEngine, stages: Stages) -> Iterator[None]:
    """What belongs to this bot goes with it; what belongs to discord.py is put back at the end.

    The whole begins when the interaction's event is parsed, and ends when Discord has acknowledged the answer.
    """
    search: Any = bot.services.search
    for owner, method, name in (
        (engine, "encode_query", TEXT),
        (search._index, "search", SEARCH),
        (search._store, "searchable_channels", "channels"),
        (search._store, "get", "rows"),
        (search, "_look_up", "look-up of a message"),
    ):
        setattr(owner, method, stages.around(name, getattr(owner, method)))
    begun: dict[int, float] = {}
    _note_arrivals(bot, begun)
    module: Any = paging
    edit = discord.Interaction.edit_original_response
    shared: tuple[tuple[Any, str, Callable[..., object]], ...] = (
        (MemberAudience, "readable", stages.around_plain("visibility", MemberAudience.readable)),
        (discord.InteractionResponse, "defer", stages.around("deferral", discord.InteractionResponse.defer)),
        (discord.Interaction, "edit_original_response", _ending(stages, edit, begun)),
        (module, "page_view", stages.around_plain("view", module.page_view)),
    )
    before = [getattr(owner, name) for owner, name, _ in shared]
    try:
        for owner, name, timed in shared:
            setattr(owner, name, timed)
        yield
    finally:
        for (owner, name, _), own in zip(shared, before, strict=True):
            setattr(owner, name, own)


def _note_arrivals(bot: MagpieBot, begun: dict[int, float]) -> None:
    parsers: dict[str, Any] = bot._connection.parsers
    parse = parsers["INTERACTION_CREATE"]

    def received(data: dict[str, str]) -> None:
        begun[int(data["id"])] = perf_counter()
        parse(data)

    parsers["INTERACTION_CREATE"] = received


def _ending(stages: Stages, edit: Callable[..., Awaitable[T]], begun: dict[int, float]) -> Callable[..., object]:
    timed = stages.around("answer's request", edit)

    async def sent(interaction: discord.Interaction, view: discord.ui.LayoutView) -> T:
        result = await timed(interaction, view=view)
        stages.seconds[WHOLE].append(perf_counter() - begun.pop(interaction.id))
        return result

    return sent
