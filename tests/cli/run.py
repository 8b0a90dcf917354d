"""Runs `clipcore …` in this process, as the console script does, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcore.cli.app import run

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def clipcore(*arguments: str | Path) -> Ended:
    """In this process: what has been imported and loaded stays, so it is quick."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


def start_clipcore(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """In a process of its own, for what needs signals, pipes or a clean start. The caller waits for it."""
    command = [sys.executable, "-c", "from clipcore.cli import main; main()", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    return subprocess.Popen(command, **(pipes | options))


_PRESSING_CTRL_C = """
import os, signal, sys
from clipcore.cli import main

name = sys.argv.pop(1)

def press(event, arguments):
    if event == "open" and str(arguments[0]).endswith(name):
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(press)
main()
"""


def clipcore_until_ctrl_c(name: str, *arguments: str | Path) -> Ended:
    """In a process of its own, where Ctrl-C comes as soon as a file whose path ends so is opened."""
    command = [sys.executable, "-c", _PRESSING_CTRL_C, name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)
