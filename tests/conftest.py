"""Options that the tests take, and the environment they run in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read when torch is imported. Test processes share the cores, where idle OpenMP threads that spin cost a third of the
# CPU time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
