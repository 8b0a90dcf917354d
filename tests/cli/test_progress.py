from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.run import ROOT

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

COUNTS = """
from clipcore.cli.output import tracked
for number in tracked(range(3), "counting", 3):
    print("result", number)
"""


def test_results_printed_beside_a_bar_go_where_results_go():
    """A bar is drawn on a terminal while the results are piped away, as in `clipcore … > results`."""
    terminal, screen = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTS],
            stdout=subprocess.PIPE,
            stderr=screen,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(screen)
        results, _ = process.communicate(timeout=60)
        drawn = os.read(terminal, 65536)
    finally:
        os.close(terminal)
    assert results.split() == b"result 0 result 1 result 2".split()
    assert b"counting" in drawn
    assert b"result" not in drawn
