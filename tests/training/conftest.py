from __future__ import annotations

from pathlib import Path

import pytest

from clipcore.model import ClipModel
from tests.clipcore.tiny import write_tiny_clip
from tests.training.world import load


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tiny(tiny_directory: Path) -> ClipModel:
    """A fresh one for each test: training changes it."""
    return load(tiny_directory)
