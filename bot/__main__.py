"""`python -m bot`. A problem that the operator can solve is printed as one sentence, and the exit code is 2."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn

from bot.errors import StartupError
from bot.settings import ENV_FILE, load_settings


def main() -> int:
    try:
        settings = load_settings()
        # Imported only now: discord.py and SQLAlchemy take a second to load, and a missing token is reported before.
        from bot.app import run
        from bot.logging import configure_logging, get_logger

        configure_logging(settings.log_level, settings.log_format)
        if is_readable_by_others(ENV_FILE):
            get_logger(__name__).warning("other users of this machine can read .env: run chmod 600 .env")
        asyncio.run(run(settings))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def is_readable_by_others(path: Path) -> bool:
    """False where there is no such file, and on systems without POSIX's permissions."""
    try:
        return os.name == "posix" and path.stat().st_mode & 0o077 != 0
    except OSError:
        return False


def exit_process(code: int) -> NoReturn:
    """Ends the process, also while an abandoned thread is still loading a model.

    Everything is closed by then, but the interpreter's own shutdown could deadlock on a lock that such a thread holds
    while it imports torch.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    exit_process(main())
