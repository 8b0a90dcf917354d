from __future__ import annotations

from tests.indexing.conftest import channels, database, labels, pipeline, store  # noqa: F401 - fixtures
