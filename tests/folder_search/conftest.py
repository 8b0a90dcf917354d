from __future__ import annotations

from pathlib import Path

import pytest

from tests.folder_search.support import Indexed


@pytest.fixture
def indexed(tmp_path: Path) -> Indexed:
    folder = tmp_path / "images"
    folder.mkdir()
    return Indexed(folder, tmp_path / "index.sqlite3")
