"""docs/operating.md names every metric of a running bot, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bot.app import create_bot, log_in
from bot.discord_io.client import use_endpoint
from clipcore.engine.engine import ClipEngine
from sandbox.server import Sandbox
from tests.bot.status_pages import free_port, page, settings_for
from tests.clipcore.fakes import FakeEncoder

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")


@pytest.fixture
async def served(tmp_path: Path) -> dict[str, str]:
    """Magpie's metrics as a running bot serves them, with their types."""
    port = free_port()
    async with Sandbox.serve() as sandbox:
        urls = sandbox.bot_settings
        use_endpoint(urls["DISCORD_API_BASE"], urls["DISCORD_GATEWAY"], urls["DISCORD_CDN"])
        settings = settings_for(sandbox, tmp_path, status_port=port)
        async with create_bot(settings, ClipEngine(FakeEncoder)) as bot:
            await log_in(bot, settings)
            text = await page(f"http://127.0.0.1:{port}", Accept="application/openmetrics-text; version=1.0.0")
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("magpie_")]
    return {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}


def test_the_page_names_every_metric_with_its_type(served: dict[str, str]) -> None:
    documented = {}
    for row in re.findall(r"^\| (`magpie_.*?) \| (\w+) \|", PAGE, re.MULTILINE):
        documented.update(dict.fromkeys(re.findall(r"`(magpie_\w+)", row[0]), row[1]))
    assert documented == served


def test_the_examples_only_use_metrics_that_exist(served: dict[str, str]) -> None:
    for block in re.findall(r"```(?:promql|yaml)\n(.*?)```", PAGE, re.DOTALL):
        for name in re.findall(r"\bmagpie_\w+", block):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in served, name
