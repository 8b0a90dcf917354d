from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clipcore.tiny import write_tiny_clip

if TYPE_CHECKING:
    from clipcore.model import ClipModel


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete CLIP checkpoint with random weights."""
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_directory: Path) -> Iterator[ClipModel]:
    from clipcore.model import ClipModel

    yield ClipModel.load(str(tiny_directory), device="cpu", precision="fp32", local_only=True)
