"""Options that the tests take, and the environment they run in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from clipcore.runtime.cores import let_idle_threads_sleep

let_idle_threads_sleep()  # test processes share the cores


# `--hypothesis-profile=thorough`, on demand: minutes to hours.
settings.register_profile("thorough", max_examples=10_000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clipcore")
    group.addoption(
        "--weights",
        metavar="ID_OR_DIR",
        help="hold these real weights to what is published about them (tests/clipcore/test_golden_weights.py)",
    )
    group.addoption(
        "--diagram",
        metavar="PATH",
        type=Path,
        help="the diagram of the CLIP paper: CLIP.png of https://github.com/openai/CLIP",
    )
    soak = parser.getgroup("soak", "tests/e2e/test_soak.py")
    soak.addoption("--rounds", type=int, default=3, help="how often the bot is killed")
    soak.addoption("--seed", type=int, default=1, help="what everything is chosen by")
