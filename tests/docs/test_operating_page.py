"""docs/operating.md names every metric that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

import bot.monitoring.metrics  # noqa: F401 - registers the metrics
from bot.monitoring.live import Live
from bot.search.vector_cache import Held
from clipcore.engine.engine import PromptCacheCounts
from clipcore.engine.executor import DeviceState

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

    def prompt_cache(self) -> PromptCacheCounts:
        return PromptCacheCounts(0, 0, 0)

    def waiting(self, lane: object) -> int:
        return 0

    def __getattr__(self, part: str) -> Idle:
        return self


def names() -> dict[str, str]:
    """Each of our metrics as it is called on the page, with its type."""
    idle = cast(Any, Idle())
    live: Collector = Live(idle, idle, idle)
    found = {}
    for family in (*REGISTRY.collect(), *live.collect()):
        if family.name.startswith("magpie_"):
            found[family.name + ("_total" if family.type == "counter" else "")] = family.type
    return found


def test_the_page_names_every_metric_with_its_type() -> None:
    documented = {}
    for row in re.findall(r"^\| (`magpie_.*?) \| (\w+) \|", PAGE, re.MULTILINE):
        documented.update(dict.fromkeys(re.findall(r"`(magpie_\w+)", row[0]), row[1]))
    assert documented == names()


def test_the_examples_ask_for_metrics_that_there_are() -> None:
    known = names()
    for block in re.findall(r"```(?:promql|yaml)\n(.*?)```", PAGE, re.DOTALL):
        for asked in re.findall(r"\bmagpie_\w+", block):
            assert re.sub(r"_(bucket|sum|count)$", "", asked) in known, asked
