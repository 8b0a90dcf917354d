"""Options that the tests take."""

from __future__ import annotations

from pathlib import Path

import pytest


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
