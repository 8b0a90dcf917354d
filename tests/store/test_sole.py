"""One bot for each database, for as long as its process lives."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.store.sole import sole_bot

HOLD = """
import sys, pathlib
from bot.store.sole import sole_bot
with sole_bot(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_database_is_one_bots_until_its_process_is_killed(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(StartupError, match=r"^Another bot is running with the database [^\n]*: end it first"),
            sole_bot(path),
        ):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with sole_bot(path):
            pass
    with sole_bot(path):
        assert stat.S_IMODE(path.with_name("magpie.db.lock").stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_ends_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StartupError, match="cannot be written: let the bot write"),
        sole_bot(tmp_path / "file" / "magpie.db"),
    ):
        pass
