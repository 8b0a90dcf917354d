"""`python -m bot`: the production start. What the person at the terminal can mend ends with one sentence and code 2."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from typing import NoReturn

from bot.errors import StartupError
from bot.settings import load_settings


def main() -> int:
    try:
        settings = load_settings()
        # Imported only now: the model's libraries take seconds to load, and a missing token should be told at once.
        from bot.app import run
        from bot.logging import configure_logging

        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(run(settings))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def end(code: int) -> NoReturn:
    """Ends the process, also while a model is still being loaded on a thread that was left to itself.

    Everything is closed by then, but the interpreter's own end could wait for a lock that such a thread holds, in the
    middle of torch's import, and never get it.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    end(main())
