"""docs/operating.md names every metric that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from bot.monitoring.live import Live
from bot.monitoring.metrics import Metrics
from bot.search.vector_cache import Held
from clipcore.engine.watching import CacheCounts, DeviceState

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")


class Idle:
    """Any part of a bot that has nothing to do."""

    connected = False
    in_hand = 0
    latency = worst = 0.0
    path = Path("nowhere")

    def held(self) -> Held:
        return Held(0, 0, 0)

    def device(self) -> DeviceState:
        return DeviceState(True, 0.0)

    def prompt_cache(self) -> CacheCounts:
        return CacheCounts(0, 0, 0)

    def waiting(self, lane: object) -> int:
        return 0

    def __getattr__(self, part: str) -> Idle:
        return self


def names(registry: CollectorRegistry) -> dict[str, str]:
    """Each of our metrics as it is called on the page, with its type."""
    found = {}
    for family in registry.collect():
        if family.name.startswith("magpie_"):
            found[family.name + ("_total" if family.type == "counter" else "")] = family.type
    return found


def test_the_page_names_every_metric_with_its_type() -> None:
    metrics, idle = Metrics(), cast(Any, Idle())
    live: Collector = Live(idle, idle, idle)
    metrics.registry.register(live)
    documented = {}
    for row in re.findall(r"^\| (`magpie_.*?) \| (\w+) \|", PAGE, re.MULTILINE):
        documented.update(dict.fromkeys(re.findall(r"`(magpie_\w+)", row[0]), row[1]))
    assert documented == names(metrics.registry)


def test_the_examples_ask_for_metrics_that_there_are() -> None:
    metrics, idle = Metrics(), cast(Any, Idle())
    metrics.registry.register(Live(idle, idle, idle))
    known = names(metrics.registry)
    for block in re.findall(r"```(?:promql|yaml)\n(.*?)```", PAGE, re.DOTALL):
        for asked in re.findall(r"\bmagpie_\w+", block):
            assert re.sub(r"_(bucket|sum|count)$", "", asked) in known, asked
