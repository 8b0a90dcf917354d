"""Reads /metrics and /healthz of a bot, as a scraper and a prober do."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bot.settings import Settings
from sandbox.server import Sandbox


@dataclass(frozen=True)
class Answer:
    """code: the HTTP status."""

    code: int
    status: str
    checks: dict[str, str]


async def health(url: str) -> Answer:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
        told = await response.json()
        return Answer(response.status, told["status"], told["checks"])


async def page(url: str, path: str = "/metrics", **headers: str) -> str:
    """/healthz may fail on a busy machine: event_loop counts every standstill."""
    async with aiohttp.ClientSession() as session, session.get(url + path, headers=headers) as response:
        assert response.status == 200 or path == "/healthz"
        return await response.text()


async def scrape(url: str) -> dict[str, float]:
    """Each sample by its name and labels, as `name{label="value"}`."""
    return samples(await page(url))


def samples(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: Any = listener.getsockname()[1]
        return int(port)


def settings_for(sandbox: Sandbox, directory: Path, **more: object) -> Settings:
    mine = {name.lower(): value for name, value in sandbox.bot_settings.items()}
    return Settings.model_validate({"database_url": str(directory / "magpie.sqlite3"), **mine, **more})
