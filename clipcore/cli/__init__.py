"""`clipcore …`: the library on the command line. Starting it loads neither torch nor transformers."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import NoReturn

from clipcore.runtime.cores import let_idle_threads_sleep


def main() -> NoReturn:
    """The console script. Whatever a person can act on is one line on stderr; bugs keep their traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What the terminal's encoding does not have, such as some files' names, is escaped, as it is on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    let_idle_threads_sleep()
    try:
        from clipcore.cli.app import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # among the imports, or between what `run` does
        sys.exit(130)
