"""DATABASE_URL: which database it names, and which it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.store.backend import open_backend


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("magpie.sqlite3", "magpie.sqlite3"),
        ("/var/lib/magpie.db", "/var/lib/magpie.db"),
        (Path("/var/lib/magpie.db"), "/var/lib/magpie.db"),
        ("sqlite+aiosqlite:///magpie.sqlite3", "magpie.sqlite3"),
        ("sqlite+aiosqlite:////var/lib/magpie.db", "/var/lib/magpie.db"),
        ("sqlite:///magpie.sqlite3", "magpie.sqlite3"),
    ],
)
async def test_a_url_or_a_path_names_the_file(url, path):
    assert open_backend(url, 1.0).path == Path(path)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "postgresql+asyncpg://me:secret@localhost/magpie",
            "names a postgresql database, .* in SQLite only",
        ),
        ("mysql://me:secret@localhost/magpie", "names a mysql database, .* in SQLite only: set it to"),
        ("sqlite+aiosqlite://", "must name a file and nothing else, such as"),
        ("sqlite+aiosqlite:///:memory:", "must name a file and nothing else, such as"),
        ("sqlite+aiosqlite:///magpie.db?mode=ro", "must name a file and nothing else, such as"),
        ("sqlite+aiosqlite://magpie.db", "must name a file and nothing else, such as"),
        ("://secret", "is not a URL: it must be like"),
    ],
)
async def test_other_urls_are_refused_in_one_sentence_without_secrets(url, sentence):
    with pytest.raises(StartupError, match=sentence) as refused:
        open_backend(url, 1.0)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
